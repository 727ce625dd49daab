"""A command on a machine to which no session may be opened: begun by a command of Systems Manager, asked after by others.

Output is read by offset from a file there, so that any length arrives, and never through the window that the service
keeps of a command's own output. Input, and much output at once, go through objects in the bucket that live for seconds:
parameters of commands are kept in the account's history, and input may hold secrets.
"""

from __future__ import annotations

import base64
import threading
import uuid
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runctl.core.cancel import SLICE, CancelToken, limited
from runctl.core.catalogue import known
from runctl.core.errors import Cancelled, RunctlError
from runctl.core.ports import Completed
from runctl.transports.ssm.commands import Answer, Commands
from runctl.transports.ssm.giving import Giving
from runctl.transports.ssm.machine import wire
from runctl.transports.ssm.parcels import Parcel
from runctl.transports.ssm.programs import NO_PYTHON, program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from runctl.aws.calls import AwsCalls
    from runctl.core.ports import Surroundings

PROGRAMS = ("wire", "folder", "running", "spool")
FIRST_WAIT = 2.0  # seconds the first command waits for something to tell
NEXT_WAIT = 20.0  # seconds each further one does
COMMAND_SECONDS = 120  # after which the agent kills one that hangs
STOP_SECONDS = 0.8  # for sending word that a command is to end
LARGE = 64 << 10  # bytes that wait there above which an object is offered
ERR_KEPT = 64 << 10


@dataclass(frozen=True)
class Reply:
    """What the machine told: the exit status (None: it runs), bytes of both streams, how many more there are."""

    exit: int | None
    out: bytes
    err: bytes
    more: int


class Spooled:
    """Runs commands on one instance without a session."""

    def __init__(
        self, calls: AwsCalls, instance: str, region: str | None, python: str, surroundings: Surroundings
    ) -> None:
        self._calls = calls
        self._python = python
        self._surroundings = surroundings
        self._commands = Commands(calls, region, surroundings.clock)
        self._facts = {"instance": instance, "region": region or "?"}

    def exec(
        self,
        argv: Sequence[str],
        *,
        stdin: Iterable[bytes],
        on_output: Callable[[bytes], None] | None,
        cancel: CancelToken,
    ) -> Completed:
        """As ``Transport.exec``; a line is here within three seconds, and so is a piece of input there."""
        return _Running(self, list(argv), stdin, on_output, cancel).run()

    def parcel(self, name: str) -> Parcel:
        """An object in the bucket."""
        return Parcel(self._calls, self._surroundings, name)

    def ask(self, words: Sequence[str], cancel: CancelToken) -> Answer:
        """Let the program there do something, and wait for what it says."""
        instance = self._facts["instance"]
        argv = program(self._python, PROGRAMS, *words)
        answer = self._commands.run([instance], argv, seconds=COMMAND_SECONDS, cancel=cancel)[instance]
        if answer.code == NO_PYTHON:
            raise known("machine-no-python", **self._facts, python=self._python)
        if answer.status != "Success":
            detail = answer.stderr.strip()[-500:] or f"exit status {answer.code}"
            raise known("command-lost", **self._facts, status=answer.details or answer.status, detail=detail)
        return answer

    def tell(self, words: Sequence[str]) -> None:
        """The same without waiting: it is clean-up, and what it asks for happens later by itself, too."""
        argv = program(self._python, PROGRAMS, *words)
        try:
            with limited(CancelToken(), STOP_SECONDS) as short:
                self._commands.send([self._facts["instance"]], argv, seconds=COMMAND_SECONDS, cancel=short)
        except RunctlError:
            return


class _Running:
    """One command, from its beginning to its exit status."""

    def __init__(
        self,
        spooled: Spooled,
        argv: list[str],
        stdin: Iterable[bytes],
        on_output: Callable[[bytes], None] | None,
        cancel: CancelToken,
    ) -> None:
        self._spooled = spooled
        self._argv = argv
        self._on_output = on_output
        self._op = uuid.uuid4().hex
        self._cancel = CancelToken(cancel)  # what ends one side ends the other
        self._giving = Giving(stdin, lambda n: spooled.parcel(f"input-{self._op}-{n}"), self._cancel)
        self._stored = spooled.parcel(f"output-{self._op}")
        self._begun = threading.Event()

    def run(self) -> Completed:
        try:
            words = base64.b64encode(wire.line(self._argv)).decode()
            start = ["start", self._op, str(FIRST_WAIT), words, *self._giving.first()]
            threading.Thread(target=self._give, name="ssm giving", daemon=True).start()
            return self._follow(start)
        except BaseException as error:
            self._spooled.tell(["stop", self._op])
            if isinstance(error, Cancelled) and self._giving.error is not None:
                raise self._giving.error from None
            raise
        finally:
            self._cancel.cancel("over")
            self._giving.remove()

    def _give(self) -> None:
        """Bring what comes of the input after its first piece, on a thread of its own."""
        try:
            while not self._giving.over:
                self._cancel.check()
                piece = self._giving.next() if self._begun.wait(SLICE) else None
                if piece is not None:
                    self._spooled.ask(["give", self._op, *piece], self._cancel)
        except BaseException as error:  # noqa: BLE001 - raised by whoever takes the output
            self._giving.error = self._giving.error or error
        if self._giving.error is not None:
            self._cancel.cancel("the input")

    def _follow(self, words: list[str]) -> Completed:
        seen, err, offered = 0, b"", "-"
        try:
            while True:
                reply = self._understood(self._spooled.ask(words, self._cancel))
                self._begun.set()
                seen += len(reply.out)
                err += reply.err
                if self._on_output is not None and reply.out:
                    self._on_output(reply.out)
                if reply.exit is not None and not reply.more:
                    return Completed(reply.exit, err[-ERR_KEPT:])
                if reply.more > LARGE and offered == "-":
                    offered = self._stored.address(self._cancel)
                words = ["read", self._op, str(NEXT_WAIT), offered, str(seen), str(len(err))]
        finally:
            if offered != "-":
                self._stored.remove()

    def _understood(self, answer: Answer) -> Reply:
        told = answer.stdout.strip()
        if told.startswith("~!"):
            raise known("command-not-started", program=self._argv[0], detail=told[2:].rsplit(" ", 4)[0])
        ended, outs, errs, more, data = told.removeprefix("~").split(" ")
        code = None if ended == "-" else int(ended)
        if data == "@":
            return Reply(code, self._stored.read(self._cancel), b"", int(more))
        both = zlib.decompress(base64.b64decode(data))
        return Reply(code, both[: int(outs)], both[int(outs) : int(outs) + int(errs)], int(more))
