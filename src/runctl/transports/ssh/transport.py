"""A host reached by the user's own OpenSSH: their configuration, agent, jump hosts and known keys hold here too."""

from __future__ import annotations

import os
import select
import subprocess
import time
from typing import TYPE_CHECKING

from runctl.core import ssh_address
from runctl.core.cancel import SLICE
from runctl.core.catalogue import known
from runctl.core.ports import Completed
from runctl.transports import files
from runctl.transports.conversation import CHUNK, begin, converse, leave
from runctl.transports.ssh.connection import Connection
from runctl.transports.ssh.shell import Command, ending_of
from runctl.transports.ssh.words import translated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path, PurePosixPath

    from runctl.core.cancel import CancelToken
    from runctl.core.errors import RunctlError
    from runctl.core.model import Endpoint
    from runctl.core.ports import Surroundings, Terminal

SSH_FAILED = 255  # what ssh itself gives when it did not get through
NOT_FOUND = 127
BEGIN_SECONDS = 1.0  # a cancelled command that is on its way gets to say who it is
END_SECONDS = 2.0  # ending a command there may take so long; Ctrl+C waits for it


class SshTransport:
    """Reaches one host; ``address`` is ``[user@]host[:port]``, or an alias of the user's SSH configuration.

    Opens nothing before it is used. May be used from several threads.
    """

    def __init__(self, endpoint: Endpoint, surroundings: Surroundings) -> None:
        self._address = ssh_address.parse(endpoint.address)
        self._python = endpoint.python
        self._emit = surroundings.emit
        config = str(surroundings.setting("ssh.config"))
        self._connection = Connection(self._address, config, surroundings.env)

    def exec(
        self,
        argv: Sequence[str],
        *,
        stdin: Iterable[bytes] = (),
        on_output: Callable[[bytes], None] | None = None,
        on_errors: Callable[[bytes], None] | None = None,
        cancel: CancelToken,
    ) -> Completed:
        """Run ``argv`` there; feed ``stdin`` while it runs, hand over stdout and stderr as they come.

        Raises:
            UnreachableError: the host cannot be reached, or the link was cut while the command ran.
            AccessError: no login, a host key that is not the known one, or no shell.
            UsageError: ``ssh-no-python``; ``ssh-not-installed``.
            Cancelled: the token was set; the command and what it started got TERM, and KILL half a second later.
        """
        cancel.check()
        self._connection.open(cancel)
        command = Command(argv, on_output, on_errors)
        try:
            process = begin(self._connection.argv(command.line))
        except OSError as error:
            raise known("ssh-not-installed", detail=f"ssh: {error.strerror}") from error
        try:
            stderr = converse(process, stdin, (command.take, command.take_errors), cancel)
            status = process.wait()
        except BaseException:
            self._end(process, command)
            raise
        finally:
            leave(process)
        own, stderr = command.ending(stderr)
        if own is None:
            raise self._failure(command, status, stderr)
        if own == NOT_FOUND and argv[0] == self._python:
            raise self._known("ssh-no-python", python=self._python, url=self._address._replace(python="").url)
        return Completed(own, stderr)

    def _failure(self, command: Command, status: int, stderr: bytes) -> RunctlError:
        """Why a command did not say how it ended."""
        said = stderr.decode(errors="replace")
        if status != SSH_FAILED and not command.leader:
            detail = (said.strip() or command.noise or f"exit status {status}")[-500:]
            return self._known("ssh-no-shell", detail=detail)
        return translated(said, self._address.where, self._connection.login, connected=bool(command.leader))

    def _known(self, code: str, **facts: str) -> RunctlError:
        return known(code, host=self._address.where, login=self._connection.login, **facts)

    def _end(self, process: subprocess.Popen[bytes], command: Command) -> None:
        """End what runs there: without a terminal, the end of a connection ends no command."""
        if process.poll() is not None or not _begun(process, command):
            return
        ending = subprocess.Popen(
            self._connection.argv(ending_of(command.leader)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            ending.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            ending.kill()
            ending.wait()

    def put(self, source: Path, target: PurePosixPath, cancel: CancelToken) -> None:
        """Copy one file there with its mode, complete or not at all. Raises as ``exec`` does, and ``file-not-copied``."""
        files.put(self, source, target, self._address.where, cancel)

    def get(self, source: PurePosixPath, target: Path, cancel: CancelToken) -> None:
        """Copy one file here with its mode, complete or not at all. Raises as ``exec`` does, and ``file-not-copied``."""
        files.get(self, source, target, self._address.where, cancel)

    def shell(self, terminal: Terminal, cancel: CancelToken) -> None:
        """The user's login shell there. Raises as ``exec`` does."""
        from runctl.transports.local_shell import run  # noqa: PLC0415 - only for a shell

        self._connection.open(cancel)
        status = run(self._connection.shell_argv(), terminal, cancel)
        if status == SSH_FAILED and not self._connection.answers():
            raise self._known("ssh-cut", detail="the shell ended with it")

    def forward(
        self,
        local_port: int,
        host: str,
        port: int,
        *,
        on_ready: Callable[[int], None],
        cancel: CancelToken,
    ) -> None:
        """Have ssh carry connections to what the host calls ``host:port``, until ``cancel``; a link that breaks is made anew.

        Raises:
            UsageError: ``port-taken``; ``ssh-not-installed``.
            AccessError, UnreachableError: as ``exec`` at the beginning; later only what trying again does not help.
            Cancelled: always, at the end; nothing listens here any more.
        """
        from runctl.transports.ssh.forward import forward  # noqa: PLC0415 - only for a port

        forward(self._connection, local_port, (host, port), emit=self._emit, on_ready=on_ready, cancel=cancel)

    def carry(
        self,
        host: str,
        port: int,
        *,
        stdin: Iterable[bytes],
        on_output: Callable[[bytes], None],
        cancel: CancelToken,
    ) -> None:
        """One connection to what the host calls ``host:port``. Raises as ``exec`` does, ``connection-refused-there``."""
        from runctl.transports.ssh.forward import carry  # noqa: PLC0415 - only for a port

        self._connection.open(cancel)
        carry(self._connection, (host, port), stdin=stdin, on_output=on_output, cancel=cancel)

    def ssh_settings(self) -> Mapping[str, str]:
        """What the user's own configuration says of this host. Raises UsageError: ``ssh-not-installed``."""
        return self._connection.settings()

    def close(self) -> None:
        """Nothing of ours is open between commands; the connection stays for the next one and ends by itself."""


def _begun(process: subprocess.Popen[bytes], command: Command) -> bool:
    """Whether the command there has said who it is; waits a moment for one that is on its way."""
    assert process.stdout is not None
    limit = time.monotonic() + BEGIN_SECONDS
    while not command.leader and time.monotonic() < limit:
        if select.select([process.stdout], [], [], SLICE)[0]:
            chunk = os.read(process.stdout.fileno(), CHUNK)
            if not chunk:
                break
            command.take_head(chunk)
    return bool(command.leader)
