"""Bad days of an SSH host: each is one error that says what to do, or nothing that anybody notices."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.agentbox import until
from tests.awsworld import Client
from tests.conftest import Result, World
from tests.lineproxy import line_to
from tests.sshbox import SshBox, ssh_box

from runctl.sandbox import sshd

COUNTS = """\
import sys, time
for step in range(int(sys.argv[1])):
    print("step", step)
    time.sleep(0.02)
"""


@pytest.fixture
def there(tmp_path: Path) -> Path:
    folder = tmp_path / "there"
    folder.mkdir()
    return folder


@pytest.fixture
def host(world: World, tmp_path: Path, there: Path) -> Iterator[SshBox]:
    with ssh_box(tmp_path / "box", env={"HOME": str(there)}) as box:
        world.env["RUNCTL_SSH_CONFIG"] = str(box.config)
        yield box


@pytest.fixture
def project(world: World) -> Path:
    return world.project({"train.py": COUNTS, ".runctl.toml": 'target = "ssh://box"\n'})


def train(world: World, project: Path, *options: str, steps: int = 1) -> Result:
    return world.runctl("train", "train.py", *options, "--", str(steps), cwd=project)


def steps(count: int) -> list[str]:
    return [f"step {n}" for n in range(count)]


# --- a link that breaks


def test_a_host_that_is_away_for_a_while_costs_no_line(world: World, host: SshBox, project: Path) -> None:
    client = Client.start(world, "train", "train.py", "--", "300", cwd=project)
    client.see("step 5\n")
    host.stop()
    client.see("asking again")
    host.start()
    got = client.result()
    assert got.code == 0, got.out
    assert [line for line in got.out.splitlines() if line.startswith("step ")] == steps(300)


def test_connections_that_are_cut_again_and_again_cost_no_line(
    world: World, host: SshBox, project: Path
) -> None:
    client = Client.start(world, "train", "train.py", "--", "400", cwd=project)
    for seen in ("step 5\n", "step 60\n", "step 200\n"):
        client.see(seen)
        host.cut()
    got = client.result()
    assert got.code == 0, got.out
    assert [line for line in got.out.splitlines() if line.startswith("step ")] == steps(400)


def test_a_link_that_falls_silent_is_given_up_and_made_again(
    world: World, host: SshBox, project: Path
) -> None:
    with line_to(host.port) as line:
        host.knows(host.host_key.public, port=line.port)
        host.configure(port=line.port)
        client = Client.start(world, "train", "train.py", "--", "100", cwd=project)
        client.see("step 5\n")
        with line.silence():
            client.see("asking again")
        got = client.result()
        assert got.code == 0, got.out
        assert [each for each in got.out.splitlines() if each.startswith("step ")] == steps(100)


def test_a_master_that_was_killed_leaves_no_obstacle(world: World, host: SshBox, project: Path) -> None:
    assert train(world, project).code == 0
    masters = [
        int(name)
        for name in filter(str.isdigit, os.listdir("/proc"))
        if str(host.config).encode() in _command_line(name)
    ]
    assert len(masters) == 1
    os.kill(masters[0], signal.SIGKILL)
    until(lambda: str(host.config).encode() not in _command_line(str(masters[0])), "it is gone")
    assert train(world, project).code == 0
    assert len(host.connections()) == 1


def _command_line(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


# --- a host that cannot be reached, or not entered


def test_a_host_key_that_changed_stops_everything(
    world: World, host: SshBox, project: Path, there: Path
) -> None:
    host.knows(sshd.make_key("another").public)
    got = train(world, project)
    assert got.code == 3
    assert "error[ssh-host-key-changed]" in got.err
    assert f"ssh-keygen -R [127.0.0.1]:{host.port}" in got.err
    assert list(there.iterdir()) == []


def test_a_key_that_nobody_knows_is_not_accepted(world: World, host: SshBox, project: Path) -> None:
    host.known_hosts.write_text("")
    got = train(world, project)
    assert (got.code, "error[ssh-host-key-unknown]" in got.err) == (3, True), got.err
    assert host.known_hosts.read_text() == ""


def test_a_login_that_is_refused(world: World, host: SshBox, project: Path) -> None:
    (host.folder / "authorized_keys").write_text("")
    got = train(world, project)
    assert (got.code, "error[ssh-denied]" in got.err) == (3, True), got.err
    assert f"ssh -v -F {host.config} box true" in got.err


def test_nothing_listens(world: World, host: SshBox, project: Path) -> None:
    host.stop()
    got = train(world, project)
    assert (got.code, "error[ssh-refused]" in got.err) == (5, True), got.err


def test_a_name_that_nobody_knows(world: World, host: SshBox, project: Path) -> None:
    got = train(world, project, "--on", "ssh://nowhere.invalid")
    assert (got.code, "error[ssh-name-unknown]" in got.err) == (5, True), got.err


def test_a_key_that_may_only_run_something_else(world: World, host: SshBox, project: Path) -> None:
    host.stop()
    host.start("ForceCommand echo 'This account does something else.'")
    got = train(world, project)
    assert (got.code, "error[ssh-no-shell]" in got.err) == (3, True), got.err
    assert "This account does something else." in got.err


def test_an_interpreter_that_is_not_there(world: World, host: SshBox, project: Path) -> None:
    got = train(world, project, "--on", "ssh://box?python=/no/such/python3")
    assert (got.code, "error[ssh-no-python]" in got.err) == (2, True), got.err


def test_no_ssh_on_this_computer(world: World, host: SshBox, project: Path) -> None:
    got = world.runctl("train", "train.py", "--", "1", cwd=project, PATH="/nowhere")
    assert (got.code, "error[ssh-not-installed]" in got.err) == (2, True), got.err


# --- hosts that are not quite as one expects


def test_a_start_up_file_that_prints_is_not_taken_for_output(
    world: World, host: SshBox, project: Path, there: Path
) -> None:
    (there / ".bashrc").write_text("echo welcome to the machine\necho have a nice day >&2\n")
    got = train(world, project, steps=3)
    assert got.code == 0, got.err
    assert got.out.splitlines() == steps(3)


def test_a_server_that_allows_one_session_a_connection(world: World, host: SshBox, project: Path) -> None:
    host.stop()
    host.start("MaxSessions 1")
    client = Client.start(world, "train", "train.py", "--", "300", cwd=project)
    client.see("step 5\n")
    assert "step 2\n" in world.runctl("logs", "latest").out  # beside the one that follows
    assert client.result().code == 0


def test_what_hurts_in_a_users_configuration_is_left_out(world: World, host: SshBox, project: Path) -> None:
    host.configure(
        "RemoteCommand tmux attach", "RequestTTY force", f"LocalForward 127.0.0.1:{host.port} 127.0.0.1:9",
        "ExitOnForwardFailure yes", "PermitLocalCommand yes", "LocalCommand echo hello",
    )  # fmt: skip
    got = train(world, project, steps=3)
    assert got.code == 0, got.err
    assert got.out.splitlines() == steps(3)


def test_a_jump_host_of_the_users_configuration_is_used(world: World, host: SshBox, project: Path) -> None:
    host.stop()
    host.start()
    host.configure(f"ProxyCommand ssh -F {host.config} -W 127.0.0.1:{host.port} jump")
    with host.config.open("a") as file:
        file.write(
            f"Host jump\n HostName 127.0.0.1\n Port {host.port}\n IdentityFile {host.folder}/id\n"
            f" UserKnownHostsFile {host.known_hosts}\n"
        )
    assert train(world, project).code == 0
    assert len(host.connections()) == 2
