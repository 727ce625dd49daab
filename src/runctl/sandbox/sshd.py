"""Instances that are reached by SSH: the system's own sshd as a service of the guest, with keys made for it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from runctl.sandbox.instances import disk
from runctl.sandbox.instances.rooted import require, search_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runctl.sandbox.instances.pump import Dial

READY_SECONDS = 10.0
LOG = "/var/log/sshd.log"
# What a session sees of the guest's environment besides the caller's own names.
SHOWN = "PATH AWS_ENDPOINT_URL AWS_REGION AWS_DEFAULT_REGION AWS_EC2_METADATA_SERVICE_ENDPOINT RUNCTL_SANDBOX_MACHINES"
_SFTP = ("/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/libexec/sftp-server")


class Key(NamedTuple):
    """A key pair as OpenSSH writes it."""

    private: str
    public: str


def make_key(comment: str) -> Key:
    """A new ed25519 key without a passphrase. Takes some 10 ms. Raises RunctlError where ssh-keygen is missing."""
    program = require("ssh-keygen", "openssh-client")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "key"
        subprocess.run(
            [program, "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)],
            check=True,
            capture_output=True,
        )
        return Key(path.read_text(), path.with_suffix(".pub").read_text().strip())


def service(
    *, authorized: str, host_key: Key, plainly: bool, env: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The service of `Machines.boot` that runs sshd; `service["port"]` is where it listens inside.

    `env` are further variables that sessions get. Raises RunctlError (`sandbox-needs-package`) without sshd.
    """
    port = free_port() if plainly else 22
    more = dict(env or {})
    installers = [name for name in os.environ if name.startswith(("PIP_", "UV_", "SSL_CERT"))]
    variables = {
        **more,
        "SSHD_PROGRAM": require("sshd", "openssh-server"),
        "SSHD_PORT": str(port),
        "SSHD_AUTHORIZED": authorized,
        "SSHD_HOST_KEY": host_key.private,
        "SSHD_SHOW": " ".join([SHOWN, *installers, *more]),
    }
    if plainly:
        variables["SSHD_LED_HOME"] = "1"
        variables["SSHD_SHOW"] += " HOME RUNCTL_SANDBOX_HOME"
        variables["SSHD_SFTP"] = next((path for path in _SFTP if os.path.exists(path)), "/bin/false")
    argv = [sys.executable, "-I", "-S", str(disk.GUEST / "sshd.py")]
    return {"argv": argv, "env": variables, "log": LOG, "port": port}


async def answers(dial: Dial) -> None:
    """Returns when sshd sends its greeting. Raises OSError when it has not after READY_SECONDS."""
    limit = time.monotonic() + READY_SECONDS
    while time.monotonic() < limit:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection(sock=await dial())
            try:
                await reader.readexactly(4)
            finally:
                writer.close()
            return
        await asyncio.sleep(0.02)
    raise OSError(f"sshd does not answer; its words are in {LOG} of the instance")


def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def available() -> bool:
    """Whether sshd and ssh-keygen are here."""
    return all(shutil.which(name, path=search_path()) for name in ("sshd", "ssh-keygen"))
