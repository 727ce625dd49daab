"""A real container registry on loopback, reached by any name through a proxy: TLS, a password, and lines that break."""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.agentbox import until

from runctl.sandbox import sshd

ACCOUNT, REGION = "123456789012", "us-east-1"
ECR = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
# what `htpasswd -B` makes of the user AWS with the password that moto's ECR gives out
USERS = "AWS:$2b$04$abcdefghijklmnopqrstuu/cMn6kFoLFEf9ShbIPSVtJoiKQtizZG\n"


class RegistryBox:
    """Registry and proxy. ``env`` leads podman to it under every name; ``open_env`` without TLS, at ``address``."""

    def __init__(self, folder: Path, *, users: str = "") -> None:
        self.folder = folder
        folder.mkdir()
        self.port, self.proxy_port = sshd.free_port(), sshd.free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.asked: list[str] = []  # hosts the proxy was asked for
        self.cut = 0  # so many of the next connections are closed unanswered
        self.stalled = False  # connections are taken and nothing comes
        self._secure = bool(users)
        lines = [
            "version: 0.1",
            "log: {level: error}",
            f"storage: {{filesystem: {{rootdirectory: {folder}/data}}}}",
            f"http:\n  addr: {self.address}",
        ]
        if users:
            (folder / "users").write_text(users)
            self._certify()
            lines += [f"  tls: {{certificate: {folder}/cert.pem, key: {folder}/key.pem}}"]
            lines += [f"auth: {{htpasswd: {{realm: tests, path: {folder}/users}}}}"]
        (folder / "config.yml").write_text("\n".join(lines) + "\n")
        (folder / "registries.conf").write_text(
            f'[[registry]]\nlocation = "{self.address}"\ninsecure = true\n'
            f'[[registry]]\nlocation = "127.0.0.1:{self.proxy_port}"\ninsecure = true\n'
        )

    @property
    def env(self) -> dict[str, str]:
        """Variables for podman and for runctl."""
        env = {"CONTAINERS_REGISTRIES_CONF": str(self.folder / "registries.conf"), "NO_PROXY": "127.0.0.1"}
        if self._secure:
            env |= {"HTTPS_PROXY": f"http://127.0.0.1:{self.proxy_port}"}
            env |= {"SSL_CERT_FILE": str(self.folder / "cert.pem")}
        return env

    def _certify(self) -> None:
        argv = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=tests",
        ]
        argv += ["-addext", f"subjectAltName=DNS:{ECR},IP:127.0.0.1"]
        argv += ["-keyout", str(self.folder / "key.pem"), "-out", str(self.folder / "cert.pem")]
        subprocess.run(argv, check=True, capture_output=True)

    @contextmanager
    def up(self) -> Iterator[RegistryBox]:
        """Registry and proxy, answering, for the length of the block."""
        argv = ["docker-registry", "serve", str(self.folder / "config.yml")]
        with (
            (self.folder / "log").open("wb") as log,
            subprocess.Popen(argv, stdout=log, stderr=log) as process,
            socket.create_server(("127.0.0.1", self.proxy_port)) as server,
        ):
            threading.Thread(target=self._accept, args=(server,), daemon=True).start()
            try:
                until(self._answers, "a registry that answers")
                yield self
            finally:
                process.terminate()

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
            return True
        return False

    def _accept(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(server.accept()[0],), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        """One connection: a CONNECT to whatever host, or what a client without TLS says, leads to the registry."""
        with client, contextlib.suppress(OSError):
            if self.cut > 0:
                self.cut -= 1
                return
            head = client.recv(65536)
            while self.stalled:
                if not client.recv(65536):
                    return
            with socket.create_connection(("127.0.0.1", self.port)) as there:
                if head.startswith(b"CONNECT "):
                    self.asked.append(head.split()[1].decode())
                    client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                else:
                    there.sendall(head)
                _pump(client, there)


def _pump(one: socket.socket, other: socket.socket) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(one, selectors.EVENT_READ, other)
        selector.register(other, selectors.EVENT_READ, one)
        while True:
            for key, _ in selector.select():
                data = key.fileobj.recv(65536)  # type: ignore[union-attr]
                if not data:
                    return
                key.data.sendall(data)


@contextmanager
def registry(folder: Path, *, users: str = "") -> Iterator[RegistryBox]:
    """A registry; with ``users`` (a line of htpasswd) it has TLS and wants one of them. Skips where there is none."""
    if shutil.which("docker-registry") is None or (users and shutil.which("openssl") is None):
        pytest.skip("docker-registry is not installed: sh tests/packages.sh")
    with RegistryBox(folder, users=users).up() as box:
        yield box


def podman(env: dict[str, str], *argv: str) -> str:
    """What a command of podman says; raises ``CalledProcessError``."""
    done = subprocess.run(["podman", *argv], env=os.environ | env, capture_output=True, text=True, check=True)
    return done.stdout.strip()
