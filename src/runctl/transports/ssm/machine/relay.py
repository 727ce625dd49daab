"""Starts commands and connections for a link, and carries their bytes.

Lanes. The fast one is this program's stdout, which the SSM agent sends on as quickly as it can read it: lines of
base64, because the agent passes on characters and not bytes, and because it stops reading for good when it finds the
client away. The slow one is a TCP connection to the port that the first line names, carried by a port session both
ways, byte for byte, at most 1,024 bytes a millisecond. Frames go over the fast lane until the client says that it has
trouble with it. (All of this from the agent's published source: `session/shell/shell.go`, `plugins/port/port_basic.go`.)

Everything ends with the session: a child does the work, and its parent is there to be signalled or killed by the agent.
A client that is silent for two minutes is gone, too.
"""

from __future__ import annotations

import binascii
import os
import select
import selectors
import signal
import socket
import sys
import time
from _operator import _compare_digest as same  # hmac.compare_digest, without what else hmac loads

from runctl.transports.ssm.machine import wire
from runctl.transports.ssm.machine.lanes import Lane, Lanes
from runctl.transports.ssm.machine.streams import CONNECT_SECONDS, GRACE, READ, WRITE, Command, Connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BEAT = 30.0  # seconds between signs of life on the fast lane: the service ends a session without any
STRANGER = 5.0  # seconds a connection has to say the secret


class Relay:
    """All streams of one client. ``wake`` is a pipe: a byte in it makes the loop look around at once."""

    def __init__(self, gate: int, wake: int) -> None:
        self.ended = False
        self._secret = binascii.b2a_hex(os.urandom(16))
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._wake = wake
        self._streams: dict[int, Any] = {}
        self._made: list[Any] = []  # connections that were made, or why not
        self._lanes = Lanes(sys.stdout.buffer)
        self._expected = 1
        self._incoming = bytearray()
        self._strangers: dict[socket.socket, tuple[float, bytearray]] = {}
        self._heard = self._beaten = time.monotonic()
        for fd in (1, wake):
            os.set_blocking(fd, False)
        self._selector.register(gate, READ, self._leave)
        self._selector.register(wake, READ, self._look_around)
        self._selector.register(self._listener, READ, self._accept)
        self._lanes.line(wire.HELLO % (self._listener.getsockname()[1], self._secret))

    # --- the loop ---------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until the client or the session is gone; then what runs is ended, also when it does not want to."""
        self._lanes.fast.write()
        import subprocess  # noqa: F401 - commands need it; it is loaded while the way to the port is made

        watch = select.poll()
        watch.register(1, 0)  # tells when nobody can read stdout any more
        while not self.ended:
            self._listen()
            hurry = any(stream.stopped for stream in self._streams.values())
            for key, events in self._selector.select(0.05 if hurry else 0.5):
                key.data(key.fileobj, events)
            self._settle()
            now = time.monotonic()
            for stranger, (since, _) in list(self._strangers.items()):
                if now - since > STRANGER:
                    self._dismiss(stranger)
            if now - self._beaten > BEAT:
                self._beaten = now
                self._lanes.line(wire.MARK + b"\n")
            if watch.poll(0) or now - self._heard > wire.SILENCE:
                self.ended = True
        for number, grace in ((signal.SIGTERM, GRACE), (signal.SIGKILL, 1.0)):
            limit = time.monotonic() + grace
            for stream in self._streams.values():
                stream.stop(number)
            while time.monotonic() < limit and any(each.alive() for each in self._streams.values()):
                time.sleep(0.01)

    def _leave(self, _file: Any, _events: int) -> None:
        self.ended = True

    def _look_around(self, _file: Any, _events: int) -> None:
        os.read(self._wake, 1024)

    def _listen(self) -> None:
        """Watch what can be acted on now, and nothing else."""
        fast, slow = self._lanes.fast, self._lanes.slow
        wanted: dict[Any, tuple[int, Any]] = {}
        if fast.waiting:
            wanted[fast.file] = (WRITE, self._write_fast)
        if slow is not None:
            wanted[slow.file] = (READ | (WRITE if slow.waiting else 0), self._talk)
        for stream in self._streams.values():
            for file, events in stream.wants(room=self._lanes.room).items():
                wanted[file] = (events, self._carrier(stream))
        for key in list(self._selector.get_map().values()):
            if key.data in (self._leave, self._look_around, self._accept, self._introduce):
                continue
            if key.fileobj not in wanted:
                self._selector.unregister(key.fileobj)
            else:
                events, handler = wanted.pop(key.fileobj)
                if events != key.events:
                    self._selector.modify(key.fileobj, events, handler)
        for file, (events, handler) in wanted.items():
            self._selector.register(file, events, handler)

    def _close(self, file: Any) -> None:
        if file in self._selector.get_map():
            self._selector.unregister(file)
        file.close()

    # --- lanes --------------------------------------------------------------------------------------------------

    def _write_fast(self, _file: Any, _events: int) -> None:
        self._lanes.fast.write()

    def _accept(self, _file: Any, _events: int) -> None:
        stranger, _ = self._listener.accept()
        stranger.setblocking(False)
        self._strangers[stranger] = (time.monotonic(), bytearray())
        self._selector.register(stranger, READ, self._introduce)

    def _dismiss(self, stranger: socket.socket) -> None:
        del self._strangers[stranger]
        self._close(stranger)

    def _introduce(self, stranger: socket.socket, _events: int) -> None:
        """The secret, and the sequence number the client expects next; then the connection is the slow lane."""
        got = self._strangers[stranger][1]
        try:
            piece = stranger.recv(65536)
        except OSError:
            piece = b""
        got += piece
        size = len(self._secret)
        if not piece or not same(bytes(got[:size]), self._secret[: len(got)]):
            self._dismiss(stranger)
            return
        if len(got) < size + wire.LENGTH.size:
            return
        del self._strangers[stranger]
        self._selector.unregister(stranger)
        if self._lanes.slow is not None:
            self._close(self._lanes.slow.file)
        stranger.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._lanes.slow = Lane(stranger)
        self._incoming = bytearray(got[size + wire.LENGTH.size :])
        self._lanes.say(wire.ACK, self._expected)
        for stream in self._streams.values():
            self._tell(stream)
        if not self._lanes.use_fast:
            self._lanes.again(wire.LENGTH.unpack_from(got, size)[0])
        self._understand()

    def _talk(self, connection: socket.socket, events: int) -> None:
        lane = self._lanes.slow
        if lane is None or lane.file is not connection:
            return
        if events & WRITE:
            lane.write()
        if events & READ:
            try:
                piece = connection.recv(1 << 18)
            except BlockingIOError:
                return
            except OSError:
                piece = b""
            if not piece:
                self._lanes.slow = None
                self._close(connection)
                return
            self._incoming += piece
            self._understand()

    # --- what the client says -------------------------------------------------------------------------------------

    def _understand(self) -> None:
        self._heard = time.monotonic()
        ordered = False
        for kind, sequence, number, payload in wire.take(self._incoming):
            if not sequence:
                self._note(kind, number, payload)
                continue
            ordered = True
            if sequence == self._expected:  # over one connection nothing comes out of order, only again
                self._expected += 1
                self._obey(kind, number, payload)
        if ordered:
            self._lanes.say(wire.ACK, self._expected)

    def _note(self, kind: int, number: int, payload: bytes) -> None:
        if kind == wire.ACK:
            self._lanes.acknowledged(number)
        elif kind == wire.CREDIT and number in self._streams:
            self._streams[number].accepted = wire.COUNT.unpack(payload)[0]
        elif kind == wire.PING:
            self._lanes.pong(number)
        elif kind == wire.FAST:
            self._lanes.use_fast = True
        elif kind == wire.SLOW:
            self._lanes.use_fast = False
            self._lanes.again(number)

    def _obey(self, kind: int, number: int, payload: bytes) -> None:
        stream = self._streams.get(number)
        if kind == wire.START:
            try:
                self._streams[number] = Command(number, wire.words(payload))
            except (OSError, ValueError) as error:
                self._fail(number, error)
        elif kind == wire.CONNECT:
            import threading

            self._streams[number] = Connection(number)

            threading.Thread(target=self._connect, args=(number, *wire.words(payload)), daemon=True).start()
        elif kind == wire.BYE:
            self.ended = True
        elif stream is None:
            return
        elif kind == wire.INPUT:
            stream.give(payload)
        elif kind == wire.END:
            stream.closing = True
        elif kind == wire.STOP:
            stream.stop(signal.SIGTERM)

    def _connect(self, number: int, host: str, port: str) -> None:
        """On a thread of its own: looking up a name cannot be interrupted."""
        try:
            self._made.append((number, socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS)))
        except OSError as error:
            self._made.append((number, error))
        os.kill(os.getpid(), signal.SIGCHLD)  # wakes the loop

    def _fail(self, number: int, error: Exception) -> None:
        told = getattr(error, "strerror", None) or str(error)
        self._lanes.send(wire.FAILED, number, told.encode(errors="replace"))

    # --- streams ----------------------------------------------------------------------------------------------------

    def _carrier(self, stream: Any) -> Any:
        def carry(file: Any, events: int) -> None:
            if events & WRITE and stream.sink is file:
                self._feed(stream)
            if events & READ and file in stream.sources:
                self._read(stream, file)

        return carry

    def _feed(self, stream: Any) -> None:
        sink = stream.feed()
        if sink is not None:
            if isinstance(stream, Connection):
                stream.shut()
            else:
                self._close(sink)
        self._tell(stream)

    def _tell(self, stream: Any) -> None:
        count = wire.NOBODY if stream.deaf else stream.taken
        self._lanes.say(wire.CREDIT, stream.number, wire.COUNT.pack(count))

    def _read(self, stream: Any, source: Any) -> None:
        kind = stream.sources[source]
        piece = stream.read(source)
        if piece:
            self._lanes.send(kind, stream.number, piece)
        elif piece is not None:
            if isinstance(stream, Connection):
                self._lanes.send(kind, stream.number)
            else:
                self._close(source)

    def _settle(self) -> None:
        """Take what was connected, and see off what has ended."""
        while self._made:
            number, made = self._made.pop(0)
            if isinstance(made, OSError):
                if self._streams.pop(number, None) is not None:
                    self._fail(number, made)
            elif number in self._streams:
                self._streams[number].made(made)
            else:  # it was told to end meanwhile
                made.close()
        for number, stream in list(self._streams.items()):
            code = stream.outcome()
            if code is not None:
                del self._streams[number]
                for file in stream.remains():
                    self._close(file)
                self._lanes.send(wire.EXIT, number, b"%d" % code)


def main() -> None:
    """The parent waits, and passes on signals; the child works, and sees it go."""
    gate, held = os.pipe()
    wake, waker = os.pipe()
    child = os.fork()
    ends = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    if child:
        os.close(gate)
        for number in ends:
            signal.signal(number, lambda _number, _frame: os.kill(child, signal.SIGTERM))
        os.waitpid(child, 0)
        sys.exit(0)
    os.close(held)
    os.setsid()
    os.set_blocking(waker, False)
    relay = Relay(gate, wake)

    def leave(_number: int, _frame: Any) -> None:
        relay.ended = True

    for number in ends:
        signal.signal(number, leave)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.set_wakeup_fd(waker)
    relay.run()
    os._exit(0)


if __name__ == "__main__":
    main()
