"""exec, shell, port-forward and ssh-config, on this computer and on an instance without any open port."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pytest
from tests.conftest import World
from tests.sshbox import ssh_box
from tests.ssmworld import SsmWorld, ssm_world
from tests.unit.sandbox.cloud_world import until

BYTES = bytes(range(256)) * 40


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SsmWorld]:
    with ssm_world(tmp_path_factory.mktemp("machine-commands")) as cloud:
        cloud.boot()
        yield cloud


@pytest.fixture(params=["local", "instance", "host"])
def machine(request: pytest.FixtureRequest, world: World) -> str:
    """A machine's name on the command line; the instance was made by somebody else."""
    if request.param == "local":
        return "local"
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def host(world: World, tmp_path: Path) -> Iterator[str]:
    """A machine that ssh reaches."""
    with ssh_box(tmp_path / "box", env={"HOME": str(tmp_path)}) as box:
        world.env["RUNCTL_SSH_CONFIG"] = str(box.config)
        yield "ssh://box"


@pytest.fixture
def instance(cloud: SsmWorld, world: World) -> str:
    cloud.blow("clear")
    world.env.update(cloud.box.values)
    return cloud.only()


def test_streams_and_status_are_the_commands_own(world: World, machine: str) -> None:
    done = world.runctl("exec", machine, "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.code, done.out, done.err) == (7, "out\n", "err\n")


def test_the_group_of_the_cloud_has_the_same_verbs(world: World, instance: str) -> None:
    done = world.runctl("aws", "exec", instance, "--", "sh", "-c", "echo out; exit 7")
    assert (done.code, done.out) == (7, "out\n")
    block = world.runctl("aws", "ssh-config", instance)
    assert block.out.startswith(f"Host {instance}\n")


def test_bytes_go_through_a_pipe(world: World, machine: str) -> None:
    done = subprocess.run(
        world.argv("exec", machine, "--", "cat"),
        env=world.env,
        input=BYTES,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, BYTES, b"")


def test_a_signal_is_told_as_a_shell_does(world: World, machine: str) -> None:
    assert world.runctl("exec", machine, "--no-input", "--", "sh", "-c", "kill -9 $$").code == 137


def test_json_is_one_value(world: World, machine: str) -> None:
    script = "printf '\\377'; echo err >&2; exit 3"
    told = world.runctl("exec", "--json", machine, "--", "sh", "-c", script)
    assert told.code == 3
    assert {**told.json(), "machine": ""} == {
        "machine": "",
        "exit_code": 3,
        "stdout_base64": "/w==",
        "stderr": "err\n",
    }


def test_what_is_wrong_is_said(world: World, instance: str) -> None:
    missing = world.runctl("exec", "local")
    assert missing.code == 2
    assert "runctl exec local -- hostname" in missing.err
    unknown = world.runctl("exec", "no-such-thing", "--", "true")
    assert (unknown.code, "machine-unknown" in unknown.err) == (2, True)
    program = world.runctl("exec", instance, "--", "no-such-program-anywhere")
    assert (program.code, "command-not-started" in program.err) == (5, True)


def test_ctrl_c_ends_the_command_there(world: World, machine: str, tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    script = f"echo $$ > {mark}; echo on; exec sleep 304.5"
    running = subprocess.Popen(
        world.argv("exec", machine, "--no-input", "--", "sh", "-c", script),
        env=world.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert running.stdout is not None
    assert running.stdout.readline() == b"on\n"
    running.send_signal(signal.SIGINT)
    assert running.wait(5) == 130
    running.stdout.close()
    until(lambda: not Path(f"/proc/{mark.read_text().strip()}").exists(), lambda: "it still runs")


# --- ports ---------------------------------------------------------------------------------------------------------------


@contextmanager
def server(answer: bytes) -> Iterator[int]:
    """Answers what it was told, in capitals, and hangs up first."""

    def serve(connection: socket.socket) -> None:
        with connection:
            got = b""
            while not got.endswith(b"\n"):
                got += connection.recv(65536)
            connection.sendall(got.upper() + answer)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)


def asked(port: int, text: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(text)
        got = b""
        while piece := connection.recv(65536):
            got += piece
    return got


def test_a_port_comes_here_for_many_at_once(world: World, instance: str) -> None:
    answer = BYTES * 20
    with server(answer) as port:
        running = subprocess.Popen(
            world.argv("--json", "port-forward", instance, f"0:127.0.0.1:{port}"),
            env=world.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert running.stdout is not None
        told = json.loads(running.stdout.readline())
        assert told == {**told, "machine": instance, "host": "127.0.0.1", "port": port}
        got: dict[int, bytes] = {}

        def ask(number: int) -> None:
            got[number] = asked(told["local_port"], b"hello %d\n" % number)

        asking = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
        for each in asking:
            each.start()
        for each in asking:
            each.join(30)
        assert got == {number: b"HELLO %d\n" % number + answer for number in range(12)}
        running.send_signal(signal.SIGINT)
        assert running.wait(5) == 0
        running.communicate()


def test_a_port_nobody_listens_on_is_said(world: World, instance: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    done = world.runctl("port-forward", "--stdio", instance, f"127.0.0.1:{port}")
    assert (done.code, "connection-refused-there" in done.err) == (5, True)


def test_a_local_port_that_is_taken_is_said(world: World, instance: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        done = world.runctl("port-forward", instance, f"{port}:80")
    assert (done.code, "port-taken" in done.err) == (2, True)


def test_this_computer_has_nothing_to_forward(world: World) -> None:
    done = world.runctl("port-forward", "local", "80")
    assert (done.code, "transport-cannot" in done.err) == (2, True)


def test_ssh_goes_through(world: World, instance: str, tmp_path: Path) -> None:
    sshd = shutil.which("sshd", path="/usr/sbin:/usr/bin")
    if not sshd:
        pytest.skip("no sshd here")
    for name in ("host", "user"):
        key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)]
        subprocess.run(key, check=True)
    (tmp_path / "known").write_text("")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
    options = {
        "HostKey": tmp_path / "host",
        "AuthorizedKeysFile": tmp_path / "user.pub",
        "StrictModes": "no",
        "PidFile": "none",
        "PermitRootLogin": "yes",
        "ListenAddress": "127.0.0.1",
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    os.makedirs("/run/sshd", exist_ok=True)
    serving = subprocess.Popen(
        [sshd, "-D", "-e", "-f", "/dev/null", "-p", port, *words], stderr=subprocess.DEVNULL
    )
    try:
        block = world.runctl("ssh-config", instance, "--user", "root", "--port", port)
        assert block.code == 0
        config = tmp_path / "config"
        config.write_text(block.out)
        path = f"{Path(sys.executable).parent}:{world.env['PATH']}"
        until(lambda: _listens(int(port)), lambda: "sshd did not begin")
        ssh = [
            "ssh",
            "-F",
            str(config),
            "-i",
            str(tmp_path / "user"),
            "-o",
            f"UserKnownHostsFile={tmp_path}/known",
        ]
        done = subprocess.run(
            [*ssh, "-o", "StrictHostKeyChecking=no", instance, "echo through; cat; exit 4"],
            env={**world.env, "PATH": path},
            input=BYTES,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 4, done.stderr
        assert done.stdout == b"through\n" + BYTES
    finally:
        serving.terminate()
        serving.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# --- shells --------------------------------------------------------------------------------------------------------------


def test_a_shell_has_a_real_terminal(world: World, machine: str) -> None:
    child = pexpect.spawn(
        sys.executable,
        ["-m", "runctl", "shell", machine],
        env={**world.env, "PS1": "$ ", "SHELL": "/bin/sh"},
        timeout=30,
        dimensions=(33, 77),
    )
    child.sendline("tty > /dev/null && stty size && echo $((6*7))ready")
    child.expect("33 77")
    child.expect("42ready")
    child.setwinsize(20, 60)
    child.sendline("sleep 0.5; stty size; echo resized")
    child.expect("20 60")
    child.sendline("sh -c \"echo 'go'ing; sleep 305\"")
    child.expect("going")
    child.sendintr()
    child.sendline("echo ali''ve")
    child.expect("alive")
    child.sendline("exit")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


def test_a_shell_is_left_at_the_beginning_of_a_line(world: World, instance: str) -> None:
    child = pexpect.spawn(
        sys.executable, ["-m", "runctl", "shell", instance], env=dict(world.env), timeout=30
    )
    child.sendline("echo rea''dy")
    child.expect("ready")
    child.send("\r")
    child.send("~.")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


def test_a_shell_needs_a_terminal(world: World) -> None:
    done = world.runctl("shell", "local")
    assert done.code == 2
    assert "runctl exec local -- COMMAND" in done.err
