"""Where things are synced to: an S3 server and an SSH server of one's own on loopback."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.sync.link import free_port
from runctl.sandbox.s3.standalone import ACCESS_KEY, SECRET_KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

BUCKET = "bench"
SERVE = """
import sys
from pathlib import Path
from runctl.sandbox.s3.standalone import serving
with serving(Path(sys.argv[1]), port=int(sys.argv[2])):
    print("listening", flush=True)
    sys.stdin.read()
"""


@dataclass(frozen=True)
class Places:
    """Ports of the servers, as they are or as a slow line leads to them, and what is needed to enter."""

    s3: int
    ssh: int
    key: Path
    env: dict[str, str]

    @property
    def s3_env(self) -> dict[str, str]:
        """The variables of every AWS client."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.s3}",
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def ssh_words(self, control: Path | None = None) -> list[str]:
        """``ssh`` to the server; over the connection at ``control`` when there is one."""
        words = ["ssh", "-F", "none", "-p", str(self.ssh), "-i", str(self.key), "-o", "BatchMode=yes"]
        words += [
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "LogLevel=ERROR",
        ]
        return [*words, "-S", str(control)] if control is not None else words

    def through(self, *, s3: int, ssh: int) -> Places:
        """The same servers by other ports."""
        return Places(s3, ssh, self.key, self.env)

    @contextlib.contextmanager
    def open_connection(self, folder: Path) -> Iterator[Path]:
        """One connection that stays open, for whoever shares it; its control socket."""
        control = folder / "control"
        subprocess.run([*self.ssh_words(control), "-M", "-N", "-f", "127.0.0.1"], check=True)
        try:
            yield control
        finally:
            subprocess.run(
                [*self.ssh_words(control), "-O", "exit", "127.0.0.1"], capture_output=True, check=False
            )


@contextlib.contextmanager
def servers(folder: Path, env: dict[str, str]) -> Iterator[Places]:
    """Both servers; what they keep is below ``folder``."""
    with _s3(folder / "s3", env) as s3, _sshd(folder / "ssh") as (ssh, key):
        yield Places(s3, ssh, key, env)


def make_bucket(places: Places) -> None:
    """The bucket that everything goes to."""
    import boto3  # noqa: PLC0415 - slow, and only for this

    env = places.s3_env
    s3 = boto3.client(
        "s3",
        endpoint_url=env["AWS_ENDPOINT_URL"],
        aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
        region_name=env["AWS_REGION"],
    )
    s3.create_bucket(Bucket=BUCKET)


@contextlib.contextmanager
def _s3(folder: Path, env: dict[str, str]) -> Iterator[int]:
    folder.mkdir()
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(folder), str(port)],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert server.stdout is not None
    assert server.stdin is not None
    server.stdout.readline()
    try:
        yield port
    finally:
        server.stdin.close()
        server.wait()
        server.stdout.close()


@contextlib.contextmanager
def _sshd(folder: Path) -> Iterator[tuple[int, Path]]:
    sshd = shutil.which("sshd") or "/usr/sbin/sshd"
    folder.mkdir(mode=0o700)
    Path("/run/sshd").mkdir(exist_ok=True)
    for name in ("host", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    (folder / "authorized").write_bytes((folder / "key.pub").read_bytes())
    port = free_port()
    settings = {
        "Port": port, "ListenAddress": "127.0.0.1", "HostKey": folder / "host", "PidFile": "none", "UsePAM": "no",
        "AuthorizedKeysFile": folder / "authorized", "StrictModes": "no", "MaxSessions": 100,
    }  # fmt: skip
    (folder / "config").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    server = subprocess.Popen([sshd, "-D", "-e", "-f", str(folder / "config")], stderr=subprocess.DEVNULL)
    try:
        place = Places(0, port, folder / "key", dict(os.environ))
        for _ in range(100):
            if (
                subprocess.run(
                    [*place.ssh_words(), "127.0.0.1", "true"], capture_output=True, check=False
                ).returncode
                == 0
            ):
                break
            time.sleep(0.05)
        yield port, folder / "key"
    finally:
        server.terminate()
        server.wait()
