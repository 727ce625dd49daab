"""A package index over loopback HTTP, with wheels made on the fly, that can be slow, broken or absent on purpose."""

from __future__ import annotations

import base64
import hashlib
import io
import socketserver
import tarfile
import threading
import time
import zipfile
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    pass


def wheel(
    name: str,
    version: str = "1.0",
    *,
    files: dict[str, str | bytes] | None = None,
    requires: tuple[str, ...] = (),
) -> tuple[str, bytes]:
    """A pure wheel: its file name and bytes. Without ``files`` it holds one module, named as the package."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {line}\n" for line in requires)
    content: dict[str, str | bytes] = dict(
        files or {f"{name}/__init__.py": f"__version__ = {version!r}\n", f"{name}/part.py": "x = 1\n"}
    )
    content[f"{info}/METADATA"] = metadata
    content[f"{info}/WHEEL"] = (
        "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    record = ""
    for path, text in content.items():
        data = text if isinstance(text, bytes) else text.encode()
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(data)}\n"
    content[f"{info}/RECORD"] = record + f"{info}/RECORD,,\n"
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for path, text in content.items():
            entry = zipfile.ZipInfo(path)
            entry.external_attr = (0o100755 if "/scripts/" in path else 0o100644) << 16
            archive.writestr(entry, text)
    return f"{name}-{version}-py3-none-any.whl", target.getvalue()


def broken_sdist(name: str, version: str = "1.0") -> tuple[str, bytes]:
    """A source distribution whose build backend (in its own tree: nothing to download) fails with a sentence."""
    files = {
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        "backend.py": (
            "def build_wheel(*args, **kw):\n    raise SystemExit('needs the flux compiler, which is not installed')\n"
            "prepare_metadata_for_build_wheel = build_wheel\n"
        ),
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
    }
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        for path, text in files.items():
            entry = tarfile.TarInfo(f"{name}-{version}/{path}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return f"{name}-{version}.tar.gz", target.getvalue()


@dataclass
class Index:
    """What the server serves and how it misbehaves. ``requests`` counts paths asked for."""

    files: dict[str, dict[str, bytes]] = field(default_factory=dict)  # package → file name → bytes
    false_hash: set[str] = field(default_factory=set)  # file names whose advertised hash is wrong
    rate: dict[str, float] = field(default_factory=dict)  # file name → bytes a second
    cut: dict[str, int] = field(default_factory=dict)  # file name → how many more times to drop it half-way
    unavailable: int = 0  # how many more requests to answer with 503
    gate: dict[str, threading.Event] = field(default_factory=dict)  # file name → second half waits for this
    cacheable: bool = False  # whether clients may keep files, as of the great index
    requests: Counter[str] = field(default_factory=Counter)
    server: Any = None

    def add(self, file: tuple[str, bytes]) -> Index:
        name, data = file
        self.files.setdefault(name.split("-")[0].lower().replace("_", "-"), {})[name] = data
        return self

    def hold(self, name: str) -> threading.Event:
        """Serve only half of the file until the event is set."""
        self.gate[name] = threading.Event()
        return self.gate[name]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/simple/"

    def __enter__(self) -> Self:
        index = self

        class Handler(_Handler):
            def index(self) -> Index:
                return index

        self.server = _Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for event in self.gate.values():
            event.set()
        self.server.shutdown()
        self.server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is what half of these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def index(self) -> Index:
        raise NotImplementedError

    def log_message(self, *_: Any) -> None:
        """Silent."""

    def do_HEAD(self) -> None:
        self._serve(body=False)

    def do_GET(self) -> None:
        self._serve(body=True)

    def _serve(self, *, body: bool) -> None:
        world = self.index()
        world.requests[self.path] += 1
        if world.unavailable > 0:
            world.unavailable -= 1
            self._send(503, b"busy", body=body)
            return
        parts = self.path.strip("/").split("/")
        if parts[0] == "simple" and len(parts) == 2 and parts[1] in world.files:
            self._send(200, self._page(parts[1]).encode(), kind="text/html", body=body)
        elif parts[0] == "files" and len(parts) == 3:
            self._file(parts[1], parts[2], body=body)
        else:
            self._send(404, b"no", body=body)

    def _page(self, package: str) -> str:
        rows = ""
        for name, data in self.index().files[package].items():
            digest = hashlib.sha256(b"other" if name in self.index().false_hash else data).hexdigest()
            attribute = ' data-dist-info-metadata="true"' if name.endswith(".whl") else ""
            rows += f'<a href="/files/{package}/{name}#sha256={digest}"{attribute}>{name}</a>\n'
        return f"<!DOCTYPE html><html><body>\n{rows}</body></html>"

    def _file(self, package: str, name: str, *, body: bool) -> None:
        files = self.index().files.get(package, {})
        if name.endswith(".metadata") and name[: -len(".metadata")] in files:
            with zipfile.ZipFile(io.BytesIO(files[name[: -len(".metadata")]])) as archive:
                found = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
                self._send(200, archive.read(found), body=body)
            return
        if name not in files:
            self._send(404, b"no", body=body)
            return
        data = files[name]
        if not body:
            self._send(200, data, body=False)
        elif self.index().cut.get(name, 0) > 0:
            self.index().cut[name] -= 1
            self._head(200, len(data))
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            self.connection.close()
            self.close_connection = True
        else:
            self._head(200, len(data))
            self._slowly(name, data)

    def _slowly(self, name: str, data: bytes) -> None:
        rate, event = self.index().rate.get(name), self.index().gate.get(name)
        step = max(1, int(rate / 20)) if rate else 65536
        for start in range(0, len(data), step):
            if event is not None and start >= len(data) // 2:
                event.wait(60)
            self.wfile.write(data[start : start + step])
            self.wfile.flush()
            if rate:
                time.sleep(step / rate)

    def _head(self, status: int, size: int, kind: str = "application/octet-stream") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(size))
        if self.index().cacheable:
            kept = "max-age=365000000, immutable" if kind == "application/octet-stream" else "no-cache"
            self.send_header("Cache-Control", kept)
        self.end_headers()

    def _send(
        self, status: int, data: bytes, *, kind: str = "application/octet-stream", body: bool = True
    ) -> None:
        self._head(status, len(data), kind)
        if body:
            self.wfile.write(data)
