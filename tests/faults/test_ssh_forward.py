"""Ports of an SSH host here: whole streams both ways, a port that is taken, a link that is cut, nothing left behind."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.agentbox import until
from tests.sshbox import SshBox, ssh_box

from runctl.core.cancel import CancelToken
from runctl.core.errors import Cancelled, UnreachableError, UsageError
from runctl.core.events import Event
from runctl.core.model import Endpoint
from runctl.testing.surroundings import surroundings
from runctl.transports.ssh.transport import SshTransport

BYTES = bytes(range(256)) * 4096


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshBox]:
    with ssh_box(tmp_path_factory.mktemp("forward") / "box") as box:
        yield box


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def transport(box: SshBox, said: list[str]) -> SshTransport:
    def hear(event: Event) -> None:
        said.append(str(getattr(event, "text", "")))

    around = surroundings(emit=hear, ssh__config=str(box.config))
    return SshTransport(Endpoint("ssh", "box", "python3"), around)


@contextmanager
def service(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """Something that listens there; each connection is handed to ``answer`` and closed."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        answer(connection)

        threading.Thread(target=serve, daemon=True).start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)


def whole(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(1 << 16), b""))


@contextmanager
def forwarded(transport: SshTransport, port: int, *, local: int = 0) -> Iterator[int]:
    cancel, ready = CancelToken(), threading.Event()
    ports: list[int] = []
    ended: list[BaseException] = []

    def listen(number: int) -> None:
        ports.append(number)
        ready.set()

    def run() -> None:
        try:
            transport.forward(local, "localhost", port, on_ready=listen, cancel=cancel)
        except BaseException as error:  # noqa: BLE001 - looked at below
            ended.append(error)
            ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(20)
    try:
        assert not ended, ended
        yield ports[0]
    finally:
        cancel.cancel()
        thread.join(20)
    assert isinstance(ended[0], Cancelled)
    assert ports == ports[:1], "told once"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", ports[0]))


def test_bytes_are_whole_both_ways_and_each_end_may_hang_up_first(transport: SshTransport) -> None:
    def echo(connection: socket.socket) -> None:
        connection.sendall(whole(connection)[::-1])

    with service(echo) as port, forwarded(transport, port) as local:
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", local)) as here:
                here.sendall(BYTES)
                here.shutdown(socket.SHUT_WR)
                assert whole(here) == BYTES[::-1]
    with (
        service(lambda connection: connection.sendall(b"bye")) as port,
        forwarded(transport, port) as local,
        socket.create_connection(("127.0.0.1", local)) as here,
    ):
        assert whole(here) == b"bye"  # nobody has hung up on this side


def test_a_link_that_is_cut_is_made_again_at_the_same_port(
    box: SshBox, transport: SshTransport, said: list[str]
) -> None:
    def answered(local: int) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", local), 5) as here:
            return whole(here) == b"there"
        return False

    with (
        service(lambda connection: connection.sendall(b"there")) as port,
        forwarded(transport, port) as local,
    ):
        assert answered(local)
        box.cut()
        until(lambda: answered(local), "the port answers again")
        assert any("broke" in each for each in said)


def test_a_port_that_is_taken_is_said(transport: SshTransport) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(UsageError) as error:
        port = int(taken.getsockname()[1])
        transport.forward(
            port, "localhost", 9, on_ready=lambda _port: pytest.fail("it is taken"), cancel=CancelToken()
        )
    assert error.value.code == "port-taken"


def test_what_the_users_configuration_forwards_is_not_ours(box: SshBox, transport: SshTransport) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        theirs = int(free.getsockname()[1])
    box.configure(f"LocalForward {theirs} 127.0.0.1:9")
    try:
        with (
            service(lambda connection: connection.sendall(b"x")) as port,
            forwarded(transport, port),
            pytest.raises(ConnectionRefusedError),
        ):
            socket.create_connection(("127.0.0.1", theirs))
    finally:
        box.configure()


def test_one_connection_by_itself_and_one_that_nobody_answers(transport: SshTransport) -> None:
    got = bytearray()
    with service(lambda connection: connection.sendall(connection.recv(5)[::-1])) as port:
        transport.carry("127.0.0.1", port, stdin=[b"hello"], on_output=got.extend, cancel=CancelToken())
    assert bytes(got) == b"olleh"
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = int(gone.getsockname()[1])
    with pytest.raises(UnreachableError) as error:
        transport.carry("127.0.0.1", port, stdin=[], on_output=got.extend, cancel=CancelToken())
    assert error.value.code == "connection-refused-there"


def test_a_cancel_ends_a_connection_at_once(transport: SshTransport) -> None:
    cancel, over = CancelToken(), threading.Event()

    def silent(connection: socket.socket) -> None:
        cancel.cancel()
        whole(connection)

    def typed() -> Iterator[bytes]:
        over.wait(30)
        yield b""

    with service(silent) as port, pytest.raises(Cancelled):
        transport.carry("127.0.0.1", port, stdin=typed(), on_output=bytearray().extend, cancel=cancel)
    over.set()


def test_the_block_for_another_configuration_leads_there(
    box: SshBox, transport: SshTransport, tmp_path: Path
) -> None:
    lines = [f"  {name} {value}" for name, value in transport.ssh_settings().items()]
    (tmp_path / "config").write_text("\n".join(["Host lab", *lines, ""]))
    argv = ["ssh", "-F", str(tmp_path / "config"), "-o", "BatchMode=yes", "lab", "echo there"]
    assert subprocess.run(argv, capture_output=True, check=True).stdout == b"there\n"
    assert box.connections()
