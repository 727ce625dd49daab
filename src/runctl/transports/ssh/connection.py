"""One connection to a host, made by OpenSSH and shared by every command that follows.

The first command starts a master (ControlMaster) that stays in the background; the others go through its socket and so
need no handshake. It is not ours to end: other commands of the same user share it, and it ends by itself a minute after
the last one, at once when the link breaks.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shlex
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from runctl.core.cancel import SLICE
from runctl.core.catalogue import known
from runctl.transports.conversation import end_group
from runctl.transports.ssh.words import translated

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from runctl.core.cancel import CancelToken
    from runctl.core.ssh_address import SshAddress

CONNECT_SECONDS = 10  # for the TCP connection and the server's greeting
LOGIN_SECONDS = 40.0  # for all of it, jump hosts and keys that have to be touched included
PERSIST_SECONDS = 60  # an idle connection stays so long
ALIVE = ("ServerAliveInterval=5", "ServerAliveCountMax=3")  # a link that is silent for 15 s is a broken one
# What a user's configuration may say for a terminal and would hurt here. Host keys, users, keys, jump hosts, proxies,
# ciphers: all theirs.
OPTIONS = (
    "BatchMode=yes",
    f"ConnectTimeout={CONNECT_SECONDS}",
    *ALIVE,
    "LogLevel=ERROR",
    "RequestTTY=no",
    "RemoteCommand=none",
    "ClearAllForwardings=yes",
    "PermitLocalCommand=no",
    "ForwardAgent=no",
    "ForwardX11=no",
)


TOLD = {
    name.lower(): name
    for name in (
        "HostName",
        "User",
        "Port",
        "IdentityFile",
        "ProxyJump",
        "ProxyCommand",
        "HostKeyAlias",
        "UserKnownHostsFile",
    )
}


class Connection:
    """How ``ssh`` is called for one host. May be used from several threads and by several processes."""

    def __init__(self, address: SshAddress, config: str, env: Mapping[str, str]) -> None:
        """``config``: a file to use in place of the user's own configuration (``ssh -F``); empty: that one."""
        self._env = env
        self.host = address.where
        self._config = ("-F", os.path.expanduser(config)) if config else ()
        self._to = f"ssh://{address.where}" if address.port or ":" in address.host else address.where
        self.login = shlex.join([*self._config, self._to])  # for a person to type behind `ssh`
        self._socket = _folder(env) / self._key(address)

    def _key(self, address: SshAddress) -> str:
        """A name for the socket: another address, or a configuration that was changed, is another connection."""
        files = (
            [self._config[1]]
            if self._config
            else [os.path.expanduser("~/.ssh/config"), "/etc/ssh/ssh_config"]
        )
        stamps = []
        for path in files:
            with contextlib.suppress(OSError):
                stamps.append(f"{path}:{os.stat(path).st_mtime_ns}")
        return hashlib.sha256("\0".join([address.where, *stamps]).encode()).hexdigest()[:16]

    def argv(self, command: str) -> list[str]:
        """The call that has ``command`` run by the other side's shell, through the master where there is one."""
        return [*self._ssh("ControlMaster=no"), "--", self._to, command]

    def shell_argv(self) -> list[str]:
        """The call that gives a person a shell in the terminal it is run in."""
        call, *options = self._ssh("ControlMaster=no", "EscapeChar=none")
        return [call, "-tt", *options[1:], "--", self._to]

    def through_argv(self, host: str, port: int) -> list[str]:
        """The call whose input and output are a TCP connection from the other side to ``host:port``."""
        return [*self._ssh("ControlMaster=no"), "-W", f"{_bracketed(host)}:{port}", "--", self._to]

    def forward(self, local_port: int, host: str, port: int, *, off: bool = False) -> str:
        """Have the master listen here and carry connections to ``host:port`` there, or stop that; what ssh said against it.

        What the user's configuration wants forwarded stays out of it: it is not read for this.
        """
        spec = f"127.0.0.1:{local_port}:{_bracketed(host)}:{port}"
        order = ["-O", "cancel" if off else "forward", "-L", spec]
        argv = ["ssh", "-F", "/dev/null", "-o", f"ControlPath={self._socket}", *order, "--", self.host]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        return done.stderr.strip() or f"exit status {done.returncode}" if done.returncode else ""

    def settings(self) -> dict[str, str]:
        """What the user's configuration makes of the host, as far as a block for it has to say it.

        Raises:
            UsageError: there is no ``ssh`` here.
        """
        try:
            done = subprocess.run(
                ["ssh", "-G", *self._config, "--", self._to],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
        except OSError as error:
            raise known("ssh-not-installed", detail=f"ssh: {error.strerror}") from error
        found: dict[str, str] = {}
        for line in done.stdout.splitlines():
            name, _, value = line.partition(" ")
            if name in TOLD and value not in ("", "none"):
                found.setdefault(TOLD[name], value)  # of several keys the first is tried first
        key = os.path.expanduser(found.get("IdentityFile", ""))
        if not os.path.exists(key):
            found.pop("IdentityFile", None)
        return found

    def _ssh(self, *options: str) -> list[str]:
        every = (*OPTIONS, f"ControlPath={self._socket}", *options)
        return ["ssh", "-T", *self._config, *(word for option in every for word in ("-o", option))]

    def open(self, cancel: CancelToken) -> None:
        """Make sure that there is a master. Safe to repeat; costs nothing when there is one.

        Raises:
            AccessError, UnreachableError: ``ssh`` did not get in, in the catalogue's words.
            UsageError: there is no ``ssh`` here.
            Cancelled: nothing of it is left.
        """
        if self.answers():
            return
        with _locked(self._socket.with_suffix(".lock"), cancel):
            if not self.answers():
                self._socket.unlink(missing_ok=True)
                self._start(cancel)

    def answers(self) -> bool:
        """Whether somebody listens at the socket."""
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1.0)
            try:
                probe.connect(str(self._socket))
            except OSError:
                return False
            return True

    def _start(self, cancel: CancelToken) -> None:
        argv = [
            *self._ssh("ControlMaster=yes", f"ControlPersist={PERSIST_SECONDS}"),
            "-N",
            "-f",
            "--",
            self._to,
        ]
        with tempfile.TemporaryFile() as said:  # a pipe would stay open as long as the master does
            try:
                process = subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=said,
                    start_new_session=True,
                )
            except OSError as error:
                raise known("ssh-not-installed", detail=f"ssh: {error.strerror}") from error
            limit = time.monotonic() + LOGIN_SECONDS
            try:
                while process.poll() is None and time.monotonic() < limit:
                    cancel.check()
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(SLICE)
            finally:
                late = process.returncode is None
                if late:
                    end_group(process)
            said.seek(0)
            words = said.read().decode(errors="replace")
        if late:
            words += f"\ntimed out after {LOGIN_SECONDS:g} s"
        if process.returncode:
            raise translated(words, self.host, self.login, connected=False)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _folder(env: Mapping[str, str]) -> Path:
    """Where sockets are: a folder of this user's alone whose path leaves room in the 104 bytes a socket's may have.

    Raises:
        AccessError: ``ssh-folder`` when somebody else made it.
    """
    runtime = env.get("XDG_RUNTIME_DIR", "")
    folder = Path(runtime, "runctl") if 0 < len(runtime) < 50 and os.path.isdir(runtime) else None
    folder = folder or Path("/tmp", f"runctl-{os.getuid()}")  # noqa: S108 - made and checked below
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o077 or folder.is_symlink():
        raise known("ssh-folder", path=str(folder))
    return folder


@contextlib.contextmanager
def _locked(path: Path, cancel: CancelToken) -> Iterator[None]:
    """Alone with this connection, among all threads and processes of this user."""
    with open(path, "w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                cancel.wait(0.02)
                cancel.check()
        yield
