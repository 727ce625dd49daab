"""runs, show, logs, attach, cancel, rm and stats, on real runs of this machine."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import World

from runctl.core.model import Outcome, Run, RunState
from runctl.engine import folders
from runctl.engine.index import Index

PATIENCE = 30.0  # seconds a condition may take on a loaded machine
SCRIPT = """\
import sys, time
out = sys.stdout.buffer
for n in range(3):
    out.write(b"line %d\\n" % n)
out.write(b"\\xff\\x00 50%\\r100%")
out.flush()
if sys.argv[1:] == ["wait"]:
    time.sleep(600)
sys.exit(int(sys.argv[1]) if sys.argv[1:] else 0)
"""
WRITTEN = b"line 0\nline 1\nline 2\n\xff\x00 50%\r100%"


def until(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"did not happen in {PATIENCE} s: {what}")


@pytest.fixture
def start(world: World) -> Iterator[Callable[..., str]]:
    """Starts a run and gives its name; ends every run at the end of the test."""
    project = world.project({"train.py": SCRIPT}, name="digits")

    def begin(*args: str) -> str:
        done = world.runctl("train", "train.py", "--deps", "skip", "--detach", "--", *args, cwd=project)
        assert done.code == 0, done.err
        return done.out.strip()

    yield begin
    for run in world.runctl("runs", "--json", "--state", "active").json():
        world.runctl("cancel", run["name"], "--grace", "0")


def shown(world: World, name: str) -> dict[str, Any]:
    done = world.runctl("show", name, "--json")
    assert done.code == 0, done.err
    found: dict[str, Any] = done.json()
    return found


def ended(world: World, name: str) -> dict[str, Any]:
    found: dict[str, Any] = until(
        lambda: (run := shown(world, name))["state"] == "ended" and run, f"{name} ends"
    )
    return found


def raw(world: World, *args: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(world.argv(*args), env=world.env, capture_output=True, timeout=60, check=False)


def output_there(world: World, name: str) -> None:
    path = Path(shown(world, name)["paths"]["output"])
    until(lambda: path.exists() and path.read_bytes() == WRITTEN, "the script has written")


def background(world: World, *args: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        world.argv(*args),
        env=world.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )


def test_nothing_recorded_is_said_and_nothing_is_made(world: World) -> None:
    for command in ("runs", "stats"):
        done = world.runctl(command)
        assert (done.code, done.out) == (0, ""), done.err
        assert "no runs" in done.err
    assert world.runctl("runs", "--json").json() == []
    assert not (world.home / ".local").exists()


def test_the_list_and_the_page_of_a_run_that_ended(world: World, start: Callable[..., str]) -> None:
    good, bad = start(), start("3")
    ended(world, good)
    ended(world, bad)
    listed = world.runctl("runs", "--json").json()
    assert [(run["name"], run["outcome"], run["exit_code"]) for run in listed] == [
        (bad, "failed", 3),
        (good, "succeeded", 0),
    ]
    assert {"name", "id", "state", "outcome", "exit_code", "started_at"} <= set(listed[0])
    header, first, second = world.runctl("runs").out.splitlines()
    assert header.split() == ["NAME", "STATE", "EXIT", "STARTED", "TIME", "SCRIPT", "MACHINE"]
    assert first.split()[:3] == [bad, "failed", "3"]
    assert second.split()[:3] == [good, "succeeded", "0"]
    assert [run["name"] for run in world.runctl("runs", "--json", "--state", "failed").json()] == [bad]
    assert [run["name"] for run in world.runctl("runs", "--json", "--limit", "1").json()] == [bad]
    page = world.runctl("show", bad[:-2]).out
    for text in (bad, "failed, exit 3", "train.py 3", "launch", f"runctl train train.py --resume {bad}"):
        assert text in page
    found = shown(world, "latest")
    assert found["name"] == bad
    assert {step["step"] for step in found["steps"]} >= {"launch", "start"}
    assert {step["where"] for step in found["steps"]} == {"here", "machine"}
    assert Path(found["paths"]["output"]).read_bytes() == WRITTEN
    assert found["command"][-2:] == ["train.py", "3"]


def test_ended_runs_are_listed_without_asking_the_machine(world: World, start: Callable[..., str]) -> None:
    name = start()
    ended(world, name)
    world.machine.rename(world.home / "gone")
    assert world.runctl("runs", "--json").json()[0]["outcome"] == "succeeded"
    assert not world.machine.exists()
    gone = world.runctl("logs", name)
    assert gone.code == 2
    assert "error[run-unknown]" in gone.err


def test_logs_are_the_bytes_of_the_script(world: World, start: Callable[..., str]) -> None:
    name = start()
    ended(world, name)
    assert raw(world, "logs", name).stdout == WRITTEN
    assert raw(world, "logs", name, "--tail", "2").stdout == WRITTEN[14:]
    assert raw(world, "logs", name, "--tail", "0").stdout == b""
    assert raw(world, "logs", name, "--since", "1h").stdout == WRITTEN
    assert raw(world, "logs", "-f", name).stdout == WRITTEN
    events = [json.loads(line) for line in raw(world, "logs", name, "--json").stdout.splitlines()]
    pieces = [event for event in events if event["kind"] == "output"]
    told = [p["text"].encode() if "text" in p else base64.b64decode(p["base64"]) for p in pieces]
    assert b"".join(told) == WRITTEN
    assert pieces[0]["offset"] == 0
    assert pieces[0]["run"] == name
    for words in (["--tail", "-1"], ["--tail", "x"], ["--since", "yesterday"], ["--since", "5y"]):
        assert world.runctl("logs", name, *words).code == 2


@pytest.mark.parametrize(("command", "status"), [(("logs", "-f"), 0), (("attach",), 130)])
def test_ctrl_c_leaves_the_run_alone(
    world: World, start: Callable[..., str], command: tuple[str, ...], status: int
) -> None:
    name = start("wait")
    process = background(world, *command, name)
    assert process.stdout is not None
    got = b""
    while len(got) < len(WRITTEN):
        got += os.read(process.stdout.fileno(), 1000)
    assert got == WRITTEN
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == status, err
    assert time.monotonic() - begun < 5
    if command == ("attach",):
        assert f"runctl attach {name}" in err.decode()
        assert f"runctl cancel {name}" in err.decode()
    assert shown(world, name)["state"] == "running"


@pytest.mark.parametrize(("args", "status"), [((), 0), (("3",), 1)])
def test_attach_ends_with_the_runs_own_outcome(
    world: World, start: Callable[..., str], args: tuple[str, ...], status: int
) -> None:
    name = start(*args)
    done = raw(world, "attach", name)
    assert (done.returncode, done.stdout) == (status, WRITTEN), done.stderr
    assert raw(world, "attach", "--new", name).returncode == status


def test_cancel_ends_the_run_and_says_so_once_and_again(world: World, start: Callable[..., str]) -> None:
    name = start("wait")
    output_there(world, name)
    done = world.runctl("cancel", name, "--grace", "5")
    assert done.code == 0, done.err
    assert f"{name} was cancelled" in done.err
    assert shown(world, name)["outcome"] == "cancelled"
    again = world.runctl("cancel", name)
    assert again.code == 0
    assert "had already ended: cancelled" in again.err
    attached = raw(world, "attach", name)
    assert (attached.returncode, attached.stdout) == (130, WRITTEN)
    assert world.runctl("cancel", name, "--grace", "-1").code == 2


def test_cancel_names_the_processes_that_did_not_go_by_themselves(
    world: World, start: Callable[..., str]
) -> None:
    stubborn = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up', flush=True)\ntime.sleep(600)"
    (world.root / "digits" / "train.py").write_text(stubborn)
    name = start()
    path = Path(shown(world, name)["paths"]["output"])
    until(lambda: path.exists() and path.read_bytes() == b"up\n", "the script ignores TERM")
    done = world.runctl("cancel", name, "--grace", "0.2", "--json")
    assert done.code == 0, done.err
    assert done.json()["outcome"] == "cancelled"
    assert ["train.py" in process["command"] for process in done.json()["killed"]] == [True]


def test_rm_refuses_what_runs_asks_and_forces(world: World, start: Callable[..., str]) -> None:
    running, done = start("wait"), start()
    found = ended(world, done)
    refused = world.runctl("rm", "--yes", done, running)
    assert refused.code == 2
    assert f"error[run-active]: {running}" in refused.err
    assert f"runctl cancel {running}" in refused.err
    unasked = world.runctl("rm", done)
    assert unasked.code == 2
    assert "--yes" in unasked.err
    assert Path(found["paths"]["output"]).exists(), "one refusal refuses all, and nothing was confirmed"
    removed = world.runctl("rm", "--yes", "--all-ended", "--json")
    assert [run["name"] for run in removed.json()] == [done]
    assert not Path(found["paths"]["output"]).exists()
    assert not Path(found["paths"]["record"]).exists()
    forced = world.runctl("rm", "--yes", "--force", running)
    assert forced.code == 0, forced.err
    assert world.runctl("runs", "--json").json() == []
    assert world.runctl("rm", "--yes").code == world.runctl("rm", "--yes", "--all-ended", "x").code == 2
    assert world.runctl("rm", "--yes", done).code == 2


def test_a_run_whose_client_died_before_the_machine_had_it_can_be_deleted(
    world: World, start: Callable[..., str]
) -> None:
    name = start()
    ended(world, name)
    state = world.home / ".local" / "state" / "runctl"
    with Index(state) as index:
        run = index.get(name)
        lost = replace(
            run, id="01m84wyntz32gb6yfwp1v8zzzz", name="lost-owl-zzzz", state=RunState.PENDING, outcome=None
        )
        index.add(replace(lost, ended_at=None, started_at=None, exit_code=None))
    (seen,) = [run for run in world.runctl("runs", "--json").json() if run["name"] == "lost-owl-zzzz"]
    assert (seen["state"], seen["outcome"]) == ("lost", None)
    held = folders.hold(folders.RunFolder(state, lost.id))  # a client is handing it over
    with Index(state) as index:
        index.update(replace(index.get(lost.id), state=RunState.PENDING))
    assert world.runctl("rm", "--yes", "lost-owl-zzzz").code == 2
    os.close(held)
    done = world.runctl("rm", "--yes", "lost-owl-zzzz")
    assert done.code == 0, done.err
    assert [run["name"] for run in world.runctl("runs", "--json").json()] == [name]


def test_stats_count_what_happened(world: World, start: Callable[..., str]) -> None:
    for args in ((), ("3",)):
        ended(world, start(*args))
    figures = world.runctl("stats", "--json").json()
    assert figures["outcomes"] == {"succeeded": 1, "failed": 1, "preempted": 0, "cancelled": 0}
    assert figures["success_rate"] == 0.5
    launch = next(step for step in figures["steps"] if step["step"] == "launch")
    assert launch["count"] == 2
    assert 0 < launch["p50"] <= launch["p95"]
    assert "2 runs: 1 succeeded, 1 failed" in world.runctl("stats").out
    assert world.runctl("stats", "--project", "digits", "--json").json()["runs"] == 2
    assert world.runctl("stats", "--project", "other", "--json").json()["runs"] == 0
    assert world.runctl("stats", "--since", "2099-01-01", "--json").json()["runs"] == 0
    text = world.runctl("stats", "--openmetrics").out
    assert text.endswith("\n# EOF\n")
    assert 'runctl_step_seconds_count{step="launch",where="here"} 2' in text


def test_a_damaged_index_is_a_warning_and_not_the_end(world: World, start: Callable[..., str]) -> None:
    name = start()
    ended(world, name)
    file = world.home / ".local" / "state" / "runctl" / "index.sqlite"
    file.write_bytes(b"damaged " * 1000)
    done = world.runctl("runs", "--json")
    assert done.code == 0
    assert [run["name"] for run in done.json()] == [name]
    assert "made again" in done.err
    missing = world.runctl("show", name + "x")
    assert missing.code == 2
    assert f"did you mean {name}?" in missing.err


def test_the_table_is_short_and_says_what_it_leaves_out(world: World) -> None:
    with Index(world.home / ".local" / "state" / "runctl") as index:
        for day in range(1, 31):
            moment = f"2026-11-{day:02}T10:00:00.000Z"
            ended_run = Run(f"{day:026}", f"run-{day}", RunState.ENDED, moment, outcome=Outcome.SUCCEEDED)
            index.add(ended_run)
    done = world.runctl("runs")
    assert len(done.out.splitlines()) == 21
    assert "20 of 30 runs; all: runctl runs --all" in done.err
    assert len(world.runctl("runs", "--all").out.splitlines()) == 31
    assert len(world.runctl("runs", "--json").json()) == 30
    assert len(world.runctl("runs", "--limit", "5").out.splitlines()) == 6
    assert world.runctl("runs", "--limit", "0").code == 2
    assert world.runctl("runs", "--state", "odd").code == 2
