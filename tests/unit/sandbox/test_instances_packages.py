"""Where guests get packages from: the hosts that are let through, the proxy, and a real pip in a guest."""

from __future__ import annotations

import asyncio
import configparser
import http.server
import os
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.unit.sandbox.instance_world import OBSTACLE, WHY, go, place

from runctl.sandbox.instances import packages


def test_the_sites_of_settings() -> None:
    texts = [
        "https://user:pw@Index.Example/simple http://other.example:8081/x",
        "file:///srv/wheels",
        "no url",
        "https://bad:port/",
    ]
    assert packages.sites(texts) == {("index.example", 443), ("other.example", 8081)}


def test_what_this_host_is_configured_for() -> None:
    environ = {
        "PIP_EXTRA_INDEX_URL": "https://extra.example/simple",
        "UV_INDEX_URL": "http://uv.example:99/",
        "PATH": os.environ["PATH"],
    }
    found = packages.configured(environ, Path("/nonexistent"))
    assert {("extra.example", 443), ("uv.example", 99)} <= found
    assert len([host for host, port in found if port == 443]) >= 3  # pip's own index and where its files are


@pytest.mark.parametrize(
    ("head", "target"),
    [
        (b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n", ("a.example", 443, b"")),
        (b"CONNECT [::1]:8443 HTTP/1.1\r\n\r\n", ("::1", 8443, b"")),
        (
            b"GET http://A.example:81/x?y=1 HTTP/1.1\r\nHost: a.example\r\nProxy-Connection: keep-alive\r\n\r\n",
            ("a.example", 81, b"GET /x?y=1 HTTP/1.1\r\nConnection: close\r\nHost: a.example\r\n\r\n"),
        ),
    ],
)
def test_where_a_proxy_request_goes(head: bytes, target: tuple[str, int, bytes]) -> None:
    assert packages.parse_target(head) == target


@pytest.mark.parametrize(
    "head", [b"GET / HTTP/1.1\r\n\r\n", b"nonsense\r\n\r\n", b"CONNECT a.example HTTP/1.1\r\n\r\n"]
)
def test_what_is_no_proxy_request(head: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        packages.parse_target(head)


def test_the_hosts_settings_are_kept_beside_the_proxy() -> None:
    have = {
        "/etc/pip.conf": "[global]\nfind-links = /srv\nproxy = http://old\n",
        "/etc/uv/uv.toml": 'http-proxy = "x"\noffline = false\n',
    }
    files = packages.settings(lambda path: have.get(path, ""))
    pip = configparser.ConfigParser()
    pip.read_string(files["/etc/pip.conf"])
    assert dict(pip["global"]) == {"find-links": "/srv", "proxy": packages.PROXY}
    assert files["/etc/uv/uv.toml"].count("http-proxy") == 1
    assert "offline = false" in files["/etc/uv/uv.toml"]


@pytest.fixture
def index(tmp_path: Path) -> Iterator[str]:
    """A package index on a port of this machine, with one package."""
    folder = tmp_path / "index" / "simple" / "tiny-package"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "tiny_package-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny_package.py", "word = 'from the index'\n")
        wheel.writestr(
            "tiny_package-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-package\nVersion: 1.0\n"
        )
        wheel.writestr(
            "tiny_package-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        wheel.writestr("tiny_package-1.0.dist-info/RECORD", "tiny_package.py,,\n")
    handler = partial(QuietHandler, directory=str(tmp_path / "index"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/simple"
    server.shutdown()
    server.server_close()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.mark.skipif(bool(OBSTACLE), reason=WHY)
def test_pip_and_uv_install_in_a_guest_and_others_do_not_get_out(tmp_path: Path, index: str) -> None:
    keep = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    environ = {**keep, "PIP_INDEX_URL": index, "UV_INDEX_URL": index, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    python = "python3"
    uv = Path(__file__).parents[3] / ".venv/bin/uv"

    async def work() -> None:
        async with place(tmp_path / "m", environ=environ) as here:
            script = f"""
{python} -m venv /opt/v && /opt/v/bin/pip -q install tiny-package && /opt/v/bin/python -c 'import tiny_package; print("pip:", tiny_package.word)'
{python} -m venv --without-pip /opt/u && {uv} pip install -q --python /opt/u/bin/python tiny-package && /opt/u/bin/python -c 'import tiny_package; print("uv:", tiny_package.word)'
curl -s -m 5 {index} || echo curl-does-not
curl -s -m 5 -x {packages.PROXY} http://192.0.2.7/ ; echo proxied
"""
            await here.run("i-1", script)
            seen = await here.says("i-1", "proxied", 60)
            assert "pip: from the index" in seen
            if uv.exists():
                assert "uv: from the index" in seen
            assert "curl-does-not" in seen
            assert "192.0.2.7 is no package index" in seen

    go(work)


def test_a_host_that_is_not_configured_is_refused() -> None:
    async def work() -> None:
        proxy = packages.Proxy(set)
        server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"CONNECT nowhere.example:443 HTTP/1.1\r\n\r\n")
        assert b"403" in await reader.readline()
        assert proxy.refused == ["nowhere.example:443"]
        writer.close()
        server.close()

    go(work)
