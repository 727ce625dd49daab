"""HTTP as it is on the wire: framing, keep-alive, continue, limits, cuts, slow answers, upgrades."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runctl.sandbox.framing import BadRequest, body_length, parse_head
from runctl.sandbox.http import BodyTooLarge, ClientGone, FileSlice, Headers, Request, Response, Server, serve

SEEN: list[str] = []


async def pieces() -> AsyncIterator[bytes]:
    for piece in (b"one", b"", b"two"):
        yield piece


async def handler(request: Request) -> Response | None:
    """Every behaviour under a path of its own."""
    path = request.path
    if path == "/length":
        size = 0
        try:
            async for piece in request.body:
                size += len(piece)
        except ClientGone:
            SEEN.append(f"gone after {size}")
            raise
        return Response(200, {}, str(size).encode())
    if path == "/trailers":
        await request.body.read(100)
        return Response(200, {}, repr(request.body.trailers.items()).encode())
    if path == "/read10":
        try:
            return Response(200, {}, await request.body.read(10))
        except BodyTooLarge:
            return Response(413)
    if path == "/stream":
        return Response(200, {"X-A": "1"}, pieces())
    if path == "/slices":
        return Response(
            200,
            {},
            (FileSlice(request.query, 1, 3), FileSlice(request.query, 0, 2), FileSlice(request.query, 5)),
        )
    if path == "/cut":
        return Response(200, {}, b"x" * 1000, cut_after=100)
    if path == "/slow":
        return Response(200, {}, b"x" * 200, rate=1000)
    if path == "/cut-body":
        request.cut_after(10)
        await request.body.read(1000)
    if path == "/upgrade":
        reader, writer = request.upgrade()
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + (await reader.readline()).upper())
        await writer.drain()
        return None
    if path == "/fail":
        raise ValueError("a bug of the handler")
    return Response(200, [("X-Twice", "1"), ("X-Twice", "2")], request.method.encode())


@contextmanager
def served(unix: Path | None = None) -> Iterator[int]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def call(coroutine: object) -> object:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(10)  # type: ignore[arg-type]

    server = call(serve(handler, "127.0.0.1", 0, unix=unix))
    assert isinstance(server, Server)
    try:
        yield server.port
    finally:
        call(server.close())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def port() -> Iterator[int]:
    with served() as port:
        yield port


def talk(port: int, data: bytes, *, end: bytes = b"", half_close: bool = True) -> bytes:
    """Sends and reads until the server closes, or until `end`."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
        raw.sendall(data)
        if half_close and not end:
            raw.shutdown(socket.SHUT_WR)
        got = b""
        while not end or not got.endswith(end):
            piece = raw.recv(65536)
            if not piece:
                break
            got += piece
        return got


def test_many_requests_on_one_connection_even_pipelined(port: int) -> None:
    got = talk(
        port,
        b"GET /a HTTP/1.1\r\n\r\nPUT /length HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcHEAD / HTTP/1.1\r\n\r\n",
    )
    assert got.count(b"HTTP/1.1 200 OK") == 3
    assert b"X-Twice: 1\r\nX-Twice: 2" in got
    assert got.count(b"\r\n\r\n3HTTP/1.1") == 1
    assert got.endswith(b"\r\n\r\n")  # HEAD: no body
    assert b"Content-Length: 4" in got.rpartition(b"HTTP/1.1")[2]


def test_connection_close_and_http_1_0(port: int) -> None:
    got = talk(port, b"GET /a HTTP/1.1\r\nConnection: close\r\n\r\nGET /a HTTP/1.1\r\n\r\n", half_close=False)
    assert got.count(b"200 OK") == 1
    assert b"Connection: close" in got
    assert talk(port, b"GET /stream HTTP/1.0\r\n\r\n", half_close=False).endswith(b"\r\n\r\nonetwo")


def test_chunked_both_ways(port: int) -> None:
    body = b"3;ext=1\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n"
    assert talk(port, b"PUT /length HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + body).endswith(
        b"\r\n\r\n13"
    )
    assert talk(port, b"GET /stream HTTP/1.1\r\n\r\n").endswith(b"\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")
    got = talk(port, b"PUT /trailers HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Sum: 1 \r\n\r\n")
    assert got.endswith(b"[('x-sum', '1')]")


def test_continue_is_said_only_when_the_body_is_wanted(port: int) -> None:
    head = b" HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    assert talk(port, b"PUT /length" + head, end=b"Continue\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    got = talk(port, b"PUT /other" + head, half_close=False)
    assert b"100 Continue" not in got
    assert b"Connection: close" in got
    # an awscli that is not told to go on before an empty body takes the next answer on the connection for this one's
    empty = head.replace(b"Length: 3", b"Length: 0")
    assert talk(port, b"PUT /length" + empty).startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")


def test_a_body_nobody_reads_does_not_spoil_the_next_request(port: int) -> None:
    got = talk(
        port,
        b"PUT /a HTTP/1.1\r\nContent-Length: 300000\r\n\r\n" + b"x" * 300_000 + b"GET /a HTTP/1.1\r\n\r\n",
    )
    assert got.count(b"200 OK") == 2


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"garbage\r\n\r\n", b"400"),
        (b"GET / HTTP/2.0\r\n\r\n", b"505"),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nA: b\r\n folded\r\n\r\n", b"400"),
        (b"PUT / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", b"400"),
        (b"PUT / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"PUT / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", b"400"),
        (b"PUT / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", b"501"),
        (b"PUT /length HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * 70_000, b"431"),
    ],
)
def test_what_is_not_http_is_refused_and_the_connection_closed(port: int, data: bytes, status: bytes) -> None:
    got = talk(port, data, half_close=False)
    assert got.split(b" ")[1] == status
    assert got.count(b"HTTP/1.1 ") == 1


def test_limits_and_failures_of_a_handler(port: int, caplog: pytest.LogCaptureFixture) -> None:
    assert b" 413 " in talk(port, b"PUT /read10 HTTP/1.1\r\nContent-Length: 11\r\n\r\n01234567890")
    chunked = b"PUT /read10 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nB\r\n01234567890\r\n0\r\n\r\n"
    assert b" 413 " in talk(port, chunked)
    assert b" 500 " in talk(port, b"GET /fail HTTP/1.1\r\n\r\n")
    assert "a bug of the handler" in caplog.text


def test_slices_of_files(port: int, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    assert talk(port, f"GET /slices?{path} HTTP/1.1\r\n\r\n".encode()).endswith(b"1230156789")
    assert b"Content-Length: 10" in talk(port, f"HEAD /slices?{path} HTTP/1.1\r\n\r\n".encode())


def test_weather_cuts_and_slows(port: int) -> None:
    with pytest.raises(ConnectionResetError):
        talk(port, b"GET /cut HTTP/1.1\r\n\r\n", half_close=False)
    SEEN.clear()
    with pytest.raises(ConnectionResetError):
        talk(port, b"PUT /cut-body HTTP/1.1\r\nContent-Length: 100\r\n\r\n" + b"x" * 100, half_close=False)
    assert talk(port, b"GET /slow HTTP/1.1\r\n\r\n").endswith(b"x" * 200)


def test_a_client_that_leaves_is_noticed(port: int) -> None:
    SEEN.clear()
    assert talk(port, b"PUT /length HTTP/1.1\r\nContent-Length: 9\r\n\r\n1234") == b""
    assert SEEN == ["gone after 4"]


def test_upgrade_hands_over_what_came_already(port: int) -> None:
    assert talk(port, b"GET /upgrade HTTP/1.1\r\n\r\nhello\n", half_close=False).endswith(b"\r\n\r\nHELLO\n")


def test_a_unix_socket_serves_the_same(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with served(path), socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(10)
        raw.connect(str(path))
        raw.sendall(b"DELETE / HTTP/1.1\r\nConnection: close\r\n\r\n")
        got = b""
        while piece := raw.recv(1000):
            got += piece
        assert got.endswith(b"DELETE")


def test_heads() -> None:
    method, target, modern, headers = parse_head(b"GET /a%20b?c HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nx-a:2")
    assert (method, target, modern, headers.all("x-a"), headers.get("host")) == (
        "GET",
        "/a%20b?c",
        True,
        ["1", "2"],
        "h",
    )
    with pytest.raises(BadRequest):
        parse_head(b"GET /a b HTTP/1.1")
    assert body_length(Headers([("Content-Length", "5"), ("Content-Length", "5")])) == 5
