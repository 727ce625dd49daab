"""The worst day of the way to an instance: lines that break, sessions that end, instances that go, a service that refuses."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.lineproxy import Line, line_to
from tests.ssmworld import SsmWorld, processes, ssm_world
from tests.unit.aws.aws_world import Heard
from tests.unit.sandbox.cloud_world import until

from runctl.core.cancel import CancelToken
from runctl.core.errors import Cancelled, MachineGone, RunctlError, UnreachableError
from runctl.testing.clock import FakeClock
from runctl.transports.ssm.transport import SsmTransport

NUMBERS = 1_500_000
COUNT = ["python3", "-c", f"for n in range({NUMBERS}): print(n)"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SsmWorld]:
    with ssm_world(tmp_path_factory.mktemp("ssm-faults")) as world:
        world.boot()
        yield world


@pytest.fixture
def instance(world: SsmWorld) -> str:
    world.blow("clear")
    return world.only()


@pytest.fixture
def line(world: SsmWorld, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    """The network between this client and the sandbox."""
    endpoint = world.box.values["AWS_ENDPOINT_URL"]
    with line_to(int(endpoint.rpartition(":")[2])) as line:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{line.port}")
        yield line


def expected() -> str:
    digest = hashlib.sha256()
    for start in range(0, NUMBERS, 1000):
        digest.update("".join(f"{n}\n" for n in range(start, start + 1000)).encode())
    return digest.hexdigest()


def counted(transport: SsmTransport, *, at: dict[int, Callable[[], None]]) -> str:
    """The digest of what the machine counts; what happens when so many bytes are here."""
    digest, seen = hashlib.sha256(), [0]
    left = dict(sorted(at.items()))

    def take(chunk: bytes) -> None:
        digest.update(chunk)
        seen[0] += len(chunk)
        while left and seen[0] >= (mark := next(iter(left))):
            left.pop(mark)()

    done = transport.exec(COUNT, on_output=take, cancel=CancelToken())
    assert done.exit_code == 0
    assert not left, "all was there before it happened"
    return digest.hexdigest()


def test_output_is_whole_when_the_line_breaks(world: SsmWorld, instance: str, line: Line) -> None:
    with world.transport(instance) as transport:
        transport.exec(["true"], cancel=CancelToken())
        before = line.connections
        assert counted(transport, at={500_000: line.cut, 5_000_000: line.cut}) == expected()
        assert line.connections > before


def test_output_is_whole_when_the_network_is_away(world: SsmWorld, instance: str, line: Line) -> None:
    with world.transport(instance) as transport:
        away = {1_000_000: lambda: line.cut(away=3)}
        assert counted(transport, at=away) == expected()


def test_a_line_that_swallows_everything_is_found_out(world: SsmWorld, instance: str, line: Line) -> None:
    with world.transport(instance) as transport:
        silence = line.silence()

        def pull() -> None:
            silence.__enter__()
            threading.Timer(10, release).start()

        def release() -> None:
            line.cut()
            silence.__exit__(None, None, None)

        assert counted(transport, at={1_000_000: pull}) == expected()


def test_input_is_whole_when_the_line_breaks(
    world: SsmWorld, instance: str, line: Line, tmp_path: Path
) -> None:
    piece = bytes(range(256)) * 400
    sent = hashlib.sha256(piece * 60).hexdigest()

    def pieces() -> Iterator[bytes]:
        for number in range(60):
            if number in (20, 40):
                line.cut()
            yield piece

    with world.transport(instance) as transport:
        got = bytearray()
        transport.exec(["sha256sum"], stdin=pieces(), on_output=got.extend, cancel=CancelToken())
        assert got.decode().split()[0] == sent


def test_many_commands_at_once_share_a_breaking_line(world: SsmWorld, instance: str, line: Line) -> None:
    with world.transport(instance) as transport:
        transport.exec(["true"], cancel=CancelToken())
        got: dict[int, bytes] = {}

        def ask(number: int) -> None:
            out = bytearray()
            argv = ["sh", "-c", f"cat; sleep 0.3; echo {number}"]
            transport.exec(argv, stdin=[b"in "], on_output=out.extend, cancel=CancelToken())
            got[number] = bytes(out)

        asking = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
        for each in asking:
            each.start()
        line.cut()
        for each in asking:
            each.join(60)
        assert got == {number: b"in %d\n" % number for number in range(20)}


def test_a_session_that_somebody_ended_is_said_and_replaced(world: SsmWorld, instance: str) -> None:
    ssm = world.box.client("ssm")

    def end() -> None:
        for each in ssm.describe_sessions(State="Active")["Sessions"]:
            ssm.terminate_session(SessionId=each["SessionId"])

    with world.transport(instance) as transport:
        with pytest.raises(UnreachableError) as cut:
            transport.exec(
                ["sh", "-c", "echo on; sleep 300.25"], on_output=lambda _: end(), cancel=CancelToken()
            )
        assert cut.value.code == "session-cut"
        assert cut.value.transient
        assert cut.value.context["state"] == "running"
        until(lambda: not processes("sleep 300.25"), lambda: "what ran in the session still runs")
        assert transport.exec(["true"], cancel=CancelToken()).exit_code == 0


def test_an_instance_that_is_terminated_is_gone(world: SsmWorld) -> None:
    doomed = world.boot()
    with world.transport(doomed) as transport:
        with pytest.raises(MachineGone) as gone:
            transport.exec(
                ["sh", "-c", "echo on; sleep 300"],
                on_output=lambda _: world.terminate(doomed),
                cancel=CancelToken(),
            )
        assert gone.value.code == "instance-gone"
        with pytest.raises(MachineGone):
            transport.exec(["true"], cancel=CancelToken())


def test_a_stopped_instance_says_so(world: SsmWorld) -> None:
    halted = world.boot()
    world.box.client("ec2").stop_instances(InstanceIds=[halted])
    world.box.wait(halted, "stopped")
    with world.transport(halted) as transport, pytest.raises(UnreachableError) as stopped:
        transport.exec(["true"], cancel=CancelToken())
    assert stopped.value.code == "instance-stopped"
    world.terminate(halted)


def test_an_agent_that_never_registers_is_waited_for_and_then_explained(world: SsmWorld) -> None:
    mute = world.boot(wait=False, profile=False)
    heard = Heard()
    try:
        cancel = CancelToken()
        with world.transport(mute, heard=heard) as transport:
            threading.Timer(2.0, cancel.cancel).start()
            begun = time.monotonic()
            with pytest.raises(Cancelled):
                transport.exec(["true"], cancel=cancel)
            assert time.monotonic() - begun < 3.5
        assert "waiting for Systems Manager" in " ".join(
            str(getattr(event, "text", "")) for event in heard.events
        )
        with (
            world.transport(mute, clock=FakeClock(datetime.now(UTC) + timedelta(days=1))) as transport,
            pytest.raises(UnreachableError) as never,
        ):
            transport.exec(["true"], cancel=CancelToken())
        assert never.value.code == "ssm-not-registered"
        assert "no instance profile" in never.value.why
    finally:
        world.terminate(mute)


def test_an_agent_that_is_lost_is_told_from_one_that_never_was(world: SsmWorld, instance: str) -> None:
    world.blow("lost", instance=instance, seconds=30)
    until(lambda: not world.online(instance))
    with world.transport(instance) as transport, pytest.raises(UnreachableError) as lost:
        transport.exec(["true"], cancel=CancelToken())
    assert lost.value.code in ("ssm-connection-lost", "target-not-connected")
    assert lost.value.context["last_ping"]
    world.blow("clear")
    until(lambda: world.online(instance))


def test_a_command_outlives_its_agents_lost_connection(world: SsmWorld, instance: str) -> None:
    with world.transport(instance) as transport:
        got = bytearray()

        def lose(chunk: bytes) -> None:
            got.extend(chunk)
            if chunk == b"on\n":
                world.blow("lost", instance=instance, seconds=2)

        done = transport.exec(
            ["sh", "-c", "echo on; sleep 4; echo off"], on_output=lose, cancel=CancelToken()
        )
        assert (bytes(got), done.exit_code) == (b"on\noff\n", 0)
    world.blow("clear")
    until(lambda: world.online(instance))


def test_a_throttled_service_is_asked_again(world: SsmWorld, instance: str) -> None:
    world.blow("throttle", service="ssm", action="StartSession", times=3)
    heard = Heard()
    with world.transport(instance, heard=heard) as transport:
        assert transport.exec(["true"], cancel=CancelToken()).exit_code == 0
    assert sum("ThrottlingException" in text for text in heard.retries) == 3


def test_a_cancel_is_heard_at_once_and_nothing_is_left(world: SsmWorld, instance: str) -> None:
    with world.transport(instance) as transport:
        cancel, when = CancelToken(), [0.0]

        def stop(_chunk: bytes) -> None:
            when[0] = time.monotonic()
            cancel.cancel()

        script = "trap '' TERM; echo on; while :; do sleep 311.5; done"
        with pytest.raises(Cancelled):
            transport.exec(["sh", "-c", script], on_output=stop, cancel=cancel)
        assert time.monotonic() - when[0] < 1.5, "it asked to end, killed half a second later, and was back"
        until(lambda: not processes("sleep 311.5"), lambda: "the cancelled command still runs")


def test_a_cancel_while_the_network_is_away(world: SsmWorld, instance: str, line: Line) -> None:
    with world.transport(instance) as transport:
        cancel, when = CancelToken(), [0.0]

        def stop(_chunk: bytes) -> None:
            line.cut(away=20)
            when[0] = time.monotonic()
            cancel.cancel()

        with pytest.raises(Cancelled):
            transport.exec(["sh", "-c", "echo on; sleep 300"], on_output=stop, cancel=cancel)
        assert time.monotonic() - when[0] < 1.5
        begun = time.monotonic()
        transport.close()
        assert time.monotonic() - begun < 3


def sessions(world: SsmWorld) -> set[str]:
    active = world.box.client("ssm").describe_sessions(State="Active")["Sessions"]
    return {each["SessionId"] for each in active}


def test_closing_ends_what_runs_there(world: SsmWorld, instance: str) -> None:
    before = sessions(world)
    with world.transport(instance) as transport:
        started, failed = threading.Event(), []

        def ask() -> None:
            try:
                transport.exec(
                    ["sh", "-c", "echo on; sleep 322.5"],
                    on_output=lambda _: started.set(),
                    cancel=CancelToken(),
                )
            except RunctlError as error:
                failed.append(error.code)

        asking = threading.Thread(target=ask)
        asking.start()
        assert started.wait(20)
        transport.close()
        asking.join(10)
        assert failed == ["session-cut"]
    until(lambda: not processes("sleep 322.5"), lambda: "a command still runs")
    until(lambda: sessions(world) <= before, lambda: "a session is still open")


def test_a_second_session_that_somebody_ended_is_replaced_unseen(
    world: SsmWorld, instance: str, line: Line
) -> None:
    """The slow lane: what goes to the machine, and what comes from it while the fast one is not to be trusted."""
    ssm = world.box.client("ssm")

    def end_ports() -> None:
        line.cut()  # from here on the slow lane carries the output
        for each in ssm.describe_sessions(State="Active")["Sessions"]:
            if each["DocumentName"] == "AWS-StartPortForwardingSession":
                ssm.terminate_session(SessionId=each["SessionId"])

    with world.transport(instance) as transport:
        transport.exec(["true"], cancel=CancelToken())
        assert counted(transport, at={1_000_000: end_ports, 4_000_000: end_ports}) == expected()
        got = bytearray()
        transport.exec(["cat"], stdin=[b"still heard"], on_output=got.extend, cancel=CancelToken())
        assert bytes(got) == b"still heard"


def test_a_forwarded_connection_outlives_a_cut(world: SsmWorld, instance: str, line: Line) -> None:
    answer = bytes(range(256)) * 8000
    ready, cancel = threading.Event(), CancelToken()
    local = [0]

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            half = len(answer) // 2
            connection.recv(100)
            connection.sendall(answer[:half])
            line.cut()
            connection.sendall(answer[half:])

    def on_ready(port: int) -> None:
        local[0] = port
        ready.set()

    def forward(transport: SsmTransport) -> None:
        with contextlib.suppress(Cancelled):
            transport.forward(0, "127.0.0.1", listener.getsockname()[1], on_ready=on_ready, cancel=cancel)

    with socket.create_server(("127.0.0.1", 0)) as listener, world.transport(instance) as transport:
        forwarding = threading.Thread(target=forward, args=(transport,))
        forwarding.start()
        threading.Thread(target=serve, daemon=True).start()
        assert ready.wait(20)
        got = bytearray()
        with socket.create_connection(("127.0.0.1", local[0]), timeout=60) as connection:
            connection.sendall(b"all of it\n")
            while piece := connection.recv(65536):
                got += piece
        assert bytes(got) == answer
        cancel.cancel()
        forwarding.join(5)
        assert not forwarding.is_alive()
