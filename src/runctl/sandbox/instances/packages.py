"""Packages for instances that have no way out: a proxy that lets through the host's own package indexes, no more.

Which hosts those are is read from the installers' own configuration, never from a list of ours: pip's defaults and
settings, uv's settings, apt's sources.
"""

from __future__ import annotations

import asyncio
import configparser
import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from runctl.sandbox.instances.layout import PROXY_ADDRESS, PROXY_PORT
from runctl.sandbox.instances.pump import both_ways

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

PROXY = f"http://{PROXY_ADDRESS}:{PROXY_PORT}"
# What pip itself asks when nothing is configured: the index, and where that index keeps its files.
_PIP = """
import json
from pip._internal.models.index import PyPI
from pip._internal.configuration import Configuration
settings = Configuration(isolated=False)
settings.load()
print(json.dumps([["https://" + PyPI.netloc, "https://" + PyPI.file_storage_domain], [str(v) for _, v in settings.items()]]))
"""
_URL = re.compile(r"https?://[^\s'\",\]]+")


def sites(texts: Iterable[str]) -> set[tuple[str, int]]:
    """The (host, port) of every http(s) address in texts of settings; credentials in an address are left out."""
    found = set()
    for text in texts:
        for url in _URL.findall(text):
            parts = urlsplit(url)
            with contextlib.suppress(ValueError):
                if parts.hostname:
                    found.add(
                        (parts.hostname.lower(), parts.port or (443 if parts.scheme == "https" else 80))
                    )
    return found


def _output(argv: list[str]) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def configured(environ: Mapping[str, str], home: Path) -> set[tuple[str, int]]:
    """The package indexes this host is set up for, as (host, port). Takes about 0.3 s: asks pip and apt.

    Read are pip's settings (files and PIP_ variables), uv's (files and UV_ variables), apt's sources.
    """
    texts = [value for name, value in environ.items() if name.startswith(("PIP_", "UV_"))]
    pip = _output([sys.executable, "-c", _PIP])
    if not pip and (python := shutil.which("python3")):
        pip = _output(
            [python, "-c", _PIP]
        )  # an environment without pip: the one beside it has the same settings
    if pip:
        texts += [text for group in json.loads(pip) for text in group]
    for path in (home / ".config/uv/uv.toml", Path("/etc/uv/uv.toml"), Path("/etc/xdg/uv/uv.toml")):
        with contextlib.suppress(OSError, tomllib.TOMLDecodeError):
            texts.append(json.dumps(tomllib.loads(path.read_text())))
    if shutil.which("apt-get"):
        texts.append(_output(["apt-get", "indextargets", "--format", "$(SITE)"]))
    return sites(texts)


def settings(read: Callable[[str], str]) -> dict[str, str]:
    """The files of a guest that send pip, uv and apt (and nothing else) to the proxy: path → contents.

    `read` gives the host's contents of a file, empty when there is none; they are kept.
    """
    pip = configparser.RawConfigParser()
    with contextlib.suppress(configparser.Error):
        pip.read_string(read("/etc/pip.conf"))
    if not pip.has_section("global"):
        pip.add_section("global")
    pip.set("global", "proxy", PROXY)
    text = io.StringIO()
    pip.write(text)
    uv = [line for line in read("/etc/uv/uv.toml").splitlines() if not re.match(r"\s*https?-proxy\s*=", line)]
    return {
        "/etc/pip.conf": text.getvalue(),
        "/etc/uv/uv.toml": "\n".join([f'http-proxy = "{PROXY}"', f'https-proxy = "{PROXY}"', *uv]) + "\n",
        "/etc/apt/apt.conf.d/99runctl-sandbox": f'Acquire::http::Proxy "{PROXY}";\nAcquire::https::Proxy "{PROXY}";\n',
    }


def parse_target(head: bytes) -> tuple[str, int, bytes]:
    """Where a proxy request wants to go, and what to send there first. Raises ValueError.

    `CONNECT host:port` wants a tunnel (nothing to send); `GET http://host/path` is sent on in the origin form.
    """
    first, _, rest = head.partition(b"\r\n")
    words = first.decode("latin-1").split(" ")
    if len(words) != 3:
        raise ValueError("not a request line")
    method, target, version = words
    if method == "CONNECT":
        host, _, port = target.rpartition(":")
        return host.strip("[]").lower(), int(port), b""
    parts = urlsplit(target)
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError("a proxy takes http://host/ or CONNECT")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    fields = [
        line for line in rest.split(b"\r\n") if not line.lower().startswith((b"proxy-", b"connection:"))
    ]
    head = b"\r\n".join([f"{method} {path} {version}".encode("latin-1"), b"Connection: close", *fields])
    return parts.hostname.lower(), parts.port or 80, head


class Proxy:
    """Serves the connections of instances that want a package index.

    `find` gives the (host, port) of those that are let through; it takes its time, so it is asked at the first need.
    """

    def __init__(self, find: Callable[[], set[tuple[str, int]]]) -> None:
        self._find = find
        self._allowed: asyncio.Task[set[tuple[str, int]]] | None = None
        self.refused: list[str] = []  # host:port of what was asked for and not let through, the last hundred

    async def allowed(self) -> set[tuple[str, int]]:
        """The hosts and ports that are let through."""
        if self._allowed is None:
            self._allowed = asyncio.create_task(asyncio.to_thread(self._find))
        return await asyncio.shield(self._allowed)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, to its end."""
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
            host, port, first = parse_target(head)
        except (ValueError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            await refuse(writer, 400, "Bad Request")
            return
        if (host, port) not in await self.allowed():
            self.refused = [*self.refused[-99:], f"{host}:{port}"]
            await refuse(writer, 403, f"{host} is no package index this machine is configured for")
            return
        try:
            there, onward = await asyncio.wait_for(asyncio.open_connection(host, port), 20)
        except (OSError, TimeoutError):
            await refuse(writer, 502, f"{host} does not answer")
            return
        if first:
            onward.write(first)
        else:
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await both_ways((reader, writer), (there, onward))


async def refuse(writer: asyncio.StreamWriter, status: int, words: str) -> None:
    """Answers with an error and closes."""
    body = (words + "\n").encode()
    writer.write(
        f"HTTP/1.1 {status} {words[:80]}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
    )
    writer.write(body)
    with contextlib.suppress(ConnectionError):
        await writer.drain()
    writer.close()


def installers_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The host's own variables for pip and uv, and where its certificates are: an instance installs as the host does."""
    names = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
    found = {
        name: value for name, value in environ.items() if name.startswith(("PIP_", "UV_")) or name in names
    }
    for name in (
        "PIP_TARGET",
        "PIP_PREFIX",
        "PIP_CACHE_DIR",
        "UV_CACHE_DIR",
        "UV_PROJECT_ENVIRONMENT",
        "PIP_REQUIRE_VIRTUALENV",
    ):
        found.pop(name, None)  # these name folders of the host's
    return {name: value for name, value in found.items() if os.sep not in name}
