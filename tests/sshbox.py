"""A real sshd on this computer for a test: keys of its own, a port of its own, and a client's configuration for it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.agentbox import until

from runctl.sandbox import sshd
from runctl.sandbox.instances.rooted import search_path


class SshBox:
    """One host, called ``box`` in ``config``; sessions there get ``env``."""

    def __init__(self, folder: Path, *, env: dict[str, str], port: int = 0) -> None:
        self.folder, self.env = folder, env
        folder.mkdir(parents=True, mode=0o700)
        self.key, self.host_key = sshd.make_key("client"), sshd.make_key("host")
        self.port = port or sshd.free_port()
        self.config, self.known_hosts = folder / "config", folder / "known_hosts"
        (folder / "id").touch(mode=0o600)
        (folder / "id").write_text(self.key.private)
        self.knows(self.host_key.public)
        self.configure()
        self._process: subprocess.Popen[bytes] | None = None
        self._made: list[int] = []

    def knows(self, public: str, *, port: int = 0) -> None:
        """What the client takes for the host's key."""
        self.known_hosts.write_text(f"[127.0.0.1]:{port or self.port} {public}\n")

    def configure(self, *more: str, port: int = 0) -> None:
        lines = [
            "Host box gpubox",
            "HostName 127.0.0.1",
            f"Port {port or self.port}",
            f"IdentityFile {self.folder}/id",
            "IdentitiesOnly yes",
            f"UserKnownHostsFile {self.known_hosts}",
            "GlobalKnownHostsFile /dev/null",
            *more,
        ]
        self.config.write_text("\n  ".join(lines) + "\n")

    def start(self, *settings: str) -> None:
        """sshd, answering when this returns; ``settings`` are further lines of its configuration."""
        more = "".join(f"{line}\n" for line in settings)
        shown = " ".join(f'"{name}={value}"' for name, value in self.env.items())
        for name, text in (("host_key", self.host_key.private), ("authorized_keys", self.key.public)):
            (self.folder / name).unlink(missing_ok=True)
            (self.folder / name).touch(mode=0o600)
            (self.folder / name).write_text(text + "\n")
        (self.folder / "sshd_config").write_text(
            f"{more}ListenAddress 127.0.0.1:{self.port}\nHostKey {self.folder}/host_key\n"
            f"AuthorizedKeysFile {self.folder}/authorized_keys\nPidFile none\nStrictModes no\nUsePAM no\n"
            f"PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n"
            f"SetEnv {shown}\n"
        )
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        program = next(
            path for each in search_path().split(":") if os.access(path := f"{each}/sshd", os.X_OK)
        )
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                [program, "-D", "-e", "-f", str(self.folder / "sshd_config")],
                stderr=log,
                start_new_session=True,
            )
        until(self._greets, f"sshd answers; see {self.folder}/log")

    def _greets(self) -> bool:
        import socket

        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as probe:
            return probe.recv(4) == b"SSH-"
        return False

    def connections(self) -> list[int]:
        """The processes of sshd that serve a connection each."""
        if self._process is None:
            return []
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return [int(each) for each in children.read_text().split()]

    def cut(self) -> None:
        """End every connection; commands that run there are not told."""
        for pid in self.connections():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)

    def stop(self) -> None:
        """No sshd and no connection any more."""
        if self._process is not None:
            connections = self.connections()
            self._process.kill()
            self._process.wait()
            self._process = None
            for pid in connections:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 9)
            limit = time.monotonic() + 10
            while any(os.path.exists(f"/proc/{pid}") for pid in connections) and time.monotonic() < limit:
                time.sleep(0.01)


@contextmanager
def ssh_box(folder: Path, *, env: dict[str, str] | None = None) -> Iterator[SshBox]:
    if not sshd.available():
        pytest.skip("there is no sshd here: install openssh-server")
    box = SshBox(folder, env={"PATH": os.environ["PATH"], **(env or {})})
    box.start()
    try:
        yield box
    finally:
        box.stop()
