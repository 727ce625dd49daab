"""kill -9, Ctrl+C and a closed terminal for `runctl train`, at every step; then the same command again."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest
from tests import worstday
from tests.agentbox import until
from tests.conftest import World
from tests.worstday import PATIENCE, WAITS, Clients, Held, processes_of, runs

ANSWERED_WITHIN = 3.0  # seconds; the promise is 2, the test machine may be busy
At = Callable[[Clients, Path], Held]


@pytest.fixture
def project(world: World) -> Path:
    return world.project({"t.py": "print(1)", "lib.py": "x = 1", ".runctl.toml": ""})


def wait_for_the_end(world: World) -> None:
    until(lambda: all(run["state"] in ("ended", "lost") for run in runs(world)), "every run has ended")


def converges(world: World, project: Path) -> None:
    """The same command sends just what is not there yet, runs, and leaves nothing half."""
    blobs = world.machine / "blobs"
    have = {path.name for path in blobs.glob("??/*")}
    dry = world.runctl("train", "t.py", "-n", "--json", cwd=project)
    (code,) = [event["plan"]["code"] for event in dry.events() if event["kind"] == "run.planned"]
    assert code["send_files"] == code["files"] - len(have)
    done = world.runctl("train", "t.py", cwd=project)
    assert done.code == 0, done.err
    assert os.listdir(blobs / "incoming") == []
    there = set(os.listdir(world.machine / "runs"))
    for run in runs(world):
        assert (run["state"], run["outcome"]) == (
            ("ended", "succeeded") if run["id"] in there else ("lost", None)
        )
    lost = [run["name"] for run in runs(world) if run["state"] == "lost"]
    if lost:
        assert world.runctl("rm", "--yes", *lost).code == 0
    assert {run["id"] for run in runs(world)} == there
    assert not processes_of(world)


@pytest.mark.parametrize("at", worstday.BEFORE_THE_MACHINE_HAS_IT + worstday.ONCE_THE_MACHINE_HAS_IT)
def test_kill_minus_nine_and_the_same_command_again(
    world: World, clients: Clients, project: Path, at: At
) -> None:
    client, let_go = at(clients, project)
    os.killpg(client.pid, signal.SIGKILL)
    client.wait()
    before = runs(world)
    let_go()
    if at in worstday.ONCE_THE_MACHINE_HAS_IT:
        assert [run["state"] for run in before] == ["running" if at is worstday.in_run else "preparing"]
    if at is worstday.in_sync:
        assert [run["state"] for run in before] == ["lost"]
    until(lambda: not processes_of(world), "nothing but the run goes on, and that ends")
    wait_for_the_end(world)
    converges(world, project)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("at", worstday.BEFORE_THE_MACHINE_HAS_IT)
def test_a_signal_before_the_machine_has_it_leaves_nothing(
    world: World, clients: Clients, project: Path, at: At, number: signal.Signals
) -> None:
    client, let_go = at(clients, project)
    begun = time.monotonic()
    client.send_signal(number)
    assert client.wait(PATIENCE) == 130
    assert time.monotonic() - begun < ANSWERED_WITHIN
    let_go()
    assert client.stderr is not None
    assert "error[cancelled]" in client.stderr.read().decode()
    until(lambda: not processes_of(world), "no process is left")
    assert runs(world) == []
    if number == signal.SIGINT:
        converges(world, project)


@pytest.mark.parametrize("at", worstday.ONCE_THE_MACHINE_HAS_IT)
def test_ctrl_c_once_the_machine_has_it_says_how_to_come_back(
    world: World, clients: Clients, project: Path, at: At
) -> None:
    client, let_go = at(clients, project)
    begun = time.monotonic()
    client.send_signal(signal.SIGINT)
    assert client.wait(PATIENCE) == 130
    assert time.monotonic() - begun < ANSWERED_WITHIN
    (run,) = runs(world)
    assert run["state"] in ("preparing", "running")
    assert client.stderr is not None
    assert f"runctl attach {run['name']}" in client.stderr.read().decode()
    let_go()
    attached = world.runctl("attach", run["name"])
    assert attached.code == 0, attached.err


@pytest.mark.parametrize("args", [("attach",), ("logs", "-f"), ("logs",), ("attach", "--json")])
def test_ctrl_c_is_answered_while_nobody_takes_the_output(
    world: World, clients: Clients, args: tuple[str, ...]
) -> None:
    flood = "import time\nfor _ in range(4000): print('ready', 'x' * 1000, flush=True)\ntime.sleep(600)"
    project = world.project({"flood.py": flood})
    name, _ = clients.detached(project, "flood.py")
    client = clients.start(*args, name)
    assert client.stdout is not None
    pipe = client.stdout.fileno()
    # 64 KiB of room, pages that are partly used counted whole: with half of it in use the next write of 4 MB stands.
    until(lambda: _unread(pipe) > 32768, "the pipe is full")
    begun = time.monotonic()
    client.send_signal(signal.SIGINT)
    assert client.wait(PATIENCE) == (0 if "-f" in args else 130)
    assert time.monotonic() - begun < ANSWERED_WITHIN
    assert [run["state"] for run in runs(world)] == ["running"]


def _unread(fd: int) -> int:
    import fcntl
    import struct
    import termios

    return int(struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, b"\0" * 4))[0])


def test_ctrl_c_while_cancelling_says_that_the_run_may_still_be_ending(
    world: World, clients: Clients
) -> None:
    stubborn = "import signal\nsignal.signal(15, signal.SIG_IGN)\n" + WAITS
    project = world.project({"t.py": stubborn})
    name, _ = clients.detached(project, "t.py", str(world.root / "never"))
    client = clients.start("cancel", name, "--grace", "300")
    assert client.stderr is not None
    assert client.stderr.readline().startswith(b"ending")
    client.send_signal(signal.SIGINT)
    assert client.wait(PATIENCE) == 130
    assert f"runctl cancel {name} --grace 0" in client.stderr.read().decode()
    done = world.runctl("cancel", name, "--grace", "0")
    assert done.code == 0, done.err
    assert runs(world)[0]["outcome"] == "cancelled"


def test_a_client_that_was_stopped_for_a_while_loses_nothing(world: World, clients: Clients) -> None:
    project = world.project({"t.py": WAITS + "print('x' * 50_000_000)\nprint('last')"})
    gate = world.root / "gate"
    with (world.root / "seen").open("wb") as file:
        client = clients.start("train", "t.py", "--", str(gate), cwd=project, stdout=file)
        until(lambda: (world.root / "seen").read_bytes() == b"ready\n", "it follows")
        client.send_signal(signal.SIGSTOP)
        gate.touch()
        folder = next((world.machine / "runs").iterdir())
        until(lambda: worstday.status_of(folder)["state"] == "ended", "the run ends meanwhile")
        client.send_signal(signal.SIGCONT)
        assert client.wait(PATIENCE) == 0
    assert (world.root / "seen").read_bytes() == (folder / "output.log").read_bytes()


def test_a_terminal_that_is_closed_leaves_the_run(world: World, clients: Clients) -> None:
    project = world.project({"t.py": WAITS})
    gate = world.root / "gate"
    argv = world.argv("train", "t.py", "--", str(gate))
    child = pexpect.spawn(argv[0], argv[1:], cwd=str(project), env=dict(world.env), timeout=PATIENCE)
    child.expect("ready")
    os.close(child.child_fd)
    until(lambda: not any("train" in command for command in processes_of(world).values()), "it leaves")
    child.closed = True
    child.wait()
    (run,) = runs(world)
    assert run["state"] == "running"
    gate.touch()
    assert world.runctl("attach", run["name"]).out == "ready\ndone\n"


def test_ten_at_once_of_one_project(world: World, clients: Clients) -> None:
    project = world.project({"t.py": "import os\nprint(os.environ['RUNCTL_RUN_NAME'])", "data": "x" * 9})
    started = [clients.start("train", "t.py", "--json", cwd=project) for _ in range(10)]
    names = []
    for client in started:
        out, err = client.communicate(timeout=2 * PATIENCE)
        assert client.returncode == 0, err
        names += [event["run"] for event in map(json.loads, out.splitlines()) if event["kind"] == "run.ended"]
    assert len(set(names)) == 10
    assert sorted(run["name"] for run in runs(world)) == sorted(names)
    assert {run["outcome"] for run in runs(world)} == {"succeeded"}
