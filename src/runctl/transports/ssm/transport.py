"""An EC2 instance through Systems Manager: one link of sessions, or commands where sessions are not to be had."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from runctl.aws.calls import AwsCalls
from runctl.aws.errors import code_of
from runctl.core.cancel import SLICE
from runctl.core.catalogue import known
from runctl.core.errors import RunctlError, UnreachableError
from runctl.core.events import Notice
from runctl.transports import files
from runctl.transports.ssm import facts, streams
from runctl.transports.ssm.forward import carry, forward
from runctl.transports.ssm.gateway import Gateway
from runctl.transports.ssm.link import Link
from runctl.transports.ssm.spooled import Spooled
from runctl.transports.ssm.terminal import shell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path, PurePosixPath

    from runctl.core.cancel import CancelToken
    from runctl.core.model import Endpoint
    from runctl.core.ports import Completed, Surroundings, Terminal

REGISTER_SECONDS = 300.0  # after its launch an instance is waited for so long
CONNECT_TRIES = 5  # of a session to an instance whose agent says that it is there
PAUSE = 2.0  # seconds between two tries, at most
# a region or an account without the documents of sessions, or with older ones
_NO_DOCUMENT = ("InvalidDocument", "InvalidDocumentVersion", "InvalidParameters")


class SsmTransport:
    """Reaches one instance; ``address`` is its id, with ``@region`` where it is not the usual one.

    Opens nothing before it is used. May be used from several threads.
    """

    def __init__(self, endpoint: Endpoint, surroundings: Surroundings) -> None:
        instance, _, region = endpoint.address.partition("@")
        self._instance = instance
        self._region = region or None
        self._python = endpoint.python
        self._surroundings = surroundings
        self._calls = AwsCalls.of(surroundings)
        self._gateway = Gateway(self._calls, instance, self._region, surroundings.env)
        self._lock = threading.Lock()
        self._link: Link | None = None
        self._without = ""  # why sessions are not used
        if surroundings.setting("aws.sessions") == "off":
            self._without = "the setting aws.sessions is off"

    def exec(
        self,
        argv: Sequence[str],
        *,
        stdin: Iterable[bytes] = (),
        on_output: Callable[[bytes], None] | None = None,
        on_errors: Callable[[bytes], None] | None = None,
        cancel: CancelToken,
    ) -> Completed:
        """Run ``argv`` there, as root where that is possible; feed ``stdin`` while it runs, hand over output as it comes.

        Without sessions stderr comes at the end, and of a long one the end.

        Raises:
            UnreachableError: the instance cannot be reached, or the link was cut: the command was ended then.
            MachineGone: the instance no longer exists.
            AccessError: neither sessions nor commands are allowed.
            Cancelled: the token was set; the command and what it started got TERM, and KILL half a second later.
        """
        cancel.check()
        link = self._linked(cancel)
        try:
            if link is None:
                done = self._spooled(argv, stdin, on_output, cancel)
                if on_errors is not None and done.stderr:
                    on_errors(done.stderr)
                return done
            stream = link.start(list(argv))
            return streams.run(stream, stdin, on_output, on_errors, cancel=cancel, program=argv[0])
        except UnreachableError as error:
            raise self._explained(error, cancel) from error

    def _spooled(
        self,
        argv: Sequence[str],
        stdin: Iterable[bytes],
        on_output: Callable[[bytes], None] | None,
        cancel: CancelToken,
    ) -> Completed:
        spooled = Spooled(self._calls, self._instance, self._region, self._python, self._surroundings)
        try:
            return spooled.exec(argv, stdin=stdin, on_output=on_output, cancel=cancel)
        except RunctlError as error:
            if error.code == "aws-denied" and error.context.get("action") == "ssm:SendCommand":
                detail = f"{self._without}; {error.what}: {error.why}"
                raise known("session-denied", instance=self._instance, detail=detail) from error
            if code_of(error) == "InvalidInstanceId":
                found = facts.standing(self._calls, self._instance, self._region, cancel)
                raise facts.unreachable(found, self._instance, self._region) from error
            raise

    def put(self, source: Path, target: PurePosixPath, cancel: CancelToken) -> None:
        """Copy one file there with its mode, complete or not at all. Raises as ``exec`` does, and ``file-not-copied``."""
        files.put(self, source, target, self._instance, cancel)

    def get(self, source: PurePosixPath, target: Path, cancel: CancelToken) -> None:
        """Copy one file here with its mode, complete or not at all. Raises as ``exec`` does, and ``file-not-copied``."""
        files.get(self, source, target, self._instance, cancel)

    def shell(self, terminal: Terminal, cancel: CancelToken) -> None:
        """The account's standard shell session. Raises as ``exec`` does, and ``needs-session``."""
        self._with_session("a shell", cancel)
        try:
            shell(self._gateway, terminal, cancel)
        except RunctlError as error:
            raise self._explained(error, cancel) from error

    def forward(
        self,
        local_port: int,
        host: str,
        port: int,
        *,
        on_ready: Callable[[int], None],
        cancel: CancelToken,
    ) -> None:
        """Listen on 127.0.0.1 and carry each connection to what the machine calls ``host:port``, until ``cancel``.

        Raises:
            UsageError: ``port-taken``.
            AccessError: ``needs-session``.
            UnreachableError, MachineGone: the machine cannot be reached at the beginning; later it is said, and the
                next connection tries again.
            Cancelled: always, at the end.
        """

        def linked(token: CancelToken) -> Link:
            return self._with_session("forwarding a port", token)

        emit = self._surroundings.emit
        forward(linked, local_port, (host, port), emit=emit, on_ready=on_ready, cancel=cancel)

    def carry(
        self,
        host: str,
        port: int,
        *,
        stdin: Iterable[bytes],
        on_output: Callable[[bytes], None],
        cancel: CancelToken,
    ) -> None:
        """One connection to what the machine calls ``host:port``. Raises as ``exec`` does, ``connection-refused-there``."""
        link = self._with_session("a connection", cancel)
        try:
            carry(link, (host, port), stdin=stdin, on_output=on_output, linger=False, cancel=cancel)
        except RunctlError as error:
            raise self._explained(error, cancel) from error

    def _with_session(self, wish: str, cancel: CancelToken) -> Link:
        cancel.check()
        link = self._linked(cancel)
        if link is None:
            raise known("needs-session", wish=wish, instance=self._instance, detail=self._without)
        return link

    def close(self) -> None:
        """End the sessions and what still runs in them. Safe to repeat."""
        with self._lock:
            link, self._link = self._link, None
        if link is not None:
            link.close()

    # --- the link -----------------------------------------------------------------------------------------------

    def _linked(self, cancel: CancelToken) -> Link | None:
        """The link, opened or made anew when it is needed; None where sessions are not to be had."""
        while not self._lock.acquire(timeout=SLICE):
            cancel.check()
        try:
            if self._without:
                return None
            if self._link is not None and self._link.error is not None:
                self._link.close()
                self._link = None
            if self._link is None:
                self._link = self._opened(cancel)
            return self._link
        finally:
            self._lock.release()

    def _opened(self, cancel: CancelToken) -> Link | None:
        """A new link. Waits for an instance that was just launched. Raises as ``exec`` does."""
        refused = 0
        while True:
            link = Link(self._gateway, self._python)
            try:
                link.open(cancel)
            except RunctlError as error:
                if error.code in ("aws-denied", "session-refused") or code_of(error) in _NO_DOCUMENT:
                    return self._do_without(f"{error.what}: {error.why}")
                if code_of(error) != "TargetNotConnected":
                    raise self._explained(error, cancel) from error
                found = facts.standing(self._calls, self._instance, self._region, cancel)
                refused += found.ping == "Online" or not found.asked_ping
                if refused >= CONNECT_TRIES:
                    return self._do_without(
                        "the service says that the instance is not connected for sessions"
                    )
                if not self._is_awaited(found):
                    raise facts.unreachable(found, self._instance, self._region) from error
                if not refused:
                    self._say("info", f"waiting for Systems Manager to see {self._instance}")
                self._surroundings.clock.sleep(PAUSE * (0.5 + self._surroundings.random.random() / 2), cancel)
            else:
                return link

    def _do_without(self, why: str) -> Link | None:
        self._without = why
        self._say("detail", f"{why}; speaking to {self._instance} through commands")
        return None

    def _is_awaited(self, found: facts.Standing) -> bool:
        """Whether an instance without a connection may have one soon."""
        if not facts.may_come(found):
            return False
        if found.ping == "Online" or not found.asked_ping:
            return True
        if found.ping or found.launched is None:
            return False
        age = (self._surroundings.clock.now() - found.launched).total_seconds()
        return age < REGISTER_SECONDS

    def _explained(self, error: RunctlError, cancel: CancelToken) -> RunctlError:
        """An error of the link, or what is behind it: an instance that is gone or halted."""
        if error.code not in ("session-cut", "session-refused", "command-lost") or cancel.cancelled:
            return error
        found = facts.standing(self._calls, self._instance, self._region, cancel)
        if facts.may_come(found):
            return error.add_context(
                state=found.state or "?", ping=found.ping or "?", last_ping=found.last_ping
            )
        return facts.unreachable(found, self._instance, self._region)

    def _say(self, level: str, text: str) -> None:
        self._surroundings.emit(Notice(level, text))
