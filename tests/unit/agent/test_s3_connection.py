"""Answers as servers send them: with a length, in chunks, until the connection ends, and broken in every place."""

from __future__ import annotations

import contextlib
import io
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runctl.s3.connection import BadAnswer, Connection, Response
from runctl.s3.exchange import Address, Pool
from runctl.s3.patience import Passing


class Raw(io.RawIOBase):
    """Gives bytes in pieces of a few at a time, as a network does."""

    def __init__(self, data: bytes, step: int) -> None:
        self._data, self._step = data, step

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part, self._data = (
            self._data[: min(self._step, len(buffer))],
            self._data[min(self._step, len(buffer)) :],
        )
        buffer[: len(part)] = part
        return len(part)


def answer(data: bytes, *, head_only: bool = False, step: int = 7) -> Response:
    return Response(io.BufferedReader(Raw(data, step), 64), head_only=head_only)


BODIES = [
    (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1", b"hello", False),
    (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nT: v\r\n\r\n",
        b"hello",
        False,
    ),
    (b"HTTP/1.1 200 OK\r\n\r\nhello", b"hello", True),
    (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello", True),
    (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", b"hello", True),
    (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", b"", False),
    (b"HTTP/1.1 204 No Content\r\n\r\n", b"", False),
    (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n", b"", False),
]


@pytest.mark.parametrize(("data", "body", "closes"), BODIES)
def test_bodies(data: bytes, body: bytes, *, closes: bool) -> None:
    for step in (1, 3, 1000):
        found = answer(data, step=step)
        assert found.whole() == body
        assert (found.done, found.closes) == (True, closes)
        assert found.read(10) == b""


def test_a_head_has_no_body_whatever_it_announces() -> None:
    found = answer(b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\nETag: "x"\r\n\r\n', head_only=True)
    assert (found.whole(), found.headers["etag"], found.headers["content-length"]) == (b"", '"x"', "500")


@pytest.mark.parametrize("data", [data for data, _, closes in BODIES if not closes])
def test_an_answer_that_ends_too_early_is_never_taken_for_a_whole_one(data: bytes) -> None:
    whole = (
        len(data.partition(b"HTTP/1.1")[2].rpartition(b"HTTP/1.1")[0]) + 8
        if data.endswith(b"HTTP/1.1")
        else len(data)
    )
    for end in range(whole):
        with pytest.raises(BadAnswer):
            answer(data[:end]).whole()


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000,
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 300 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
    ],
)
def test_what_is_no_answer(data: bytes) -> None:
    with pytest.raises(BadAnswer):
        answer(data, step=1000).whole()


@given(st.binary(max_size=300))
def test_nothing_a_server_says_is_a_crash(data: bytes) -> None:
    with contextlib.suppress(BadAnswer):
        answer(b"HTTP/1.1 200 OK\r\n" + data).whole()


@pytest.fixture
def pair() -> Iterator[tuple[Connection, socket.socket]]:
    listening = socket.create_server(("127.0.0.1", 0))
    connection = Connection("127.0.0.1", listening.getsockname()[1], seconds=5)
    connection.open()
    there, _ = listening.accept()
    yield connection, there
    for each in (connection, there, listening):
        each.close()


def test_a_request_goes_out_as_it_is_meant(pair: tuple[Connection, socket.socket]) -> None:
    connection, there = pair
    connection.send("PUT", "/a%20b", {"host": "h", "content-length": "6"}, [b"abc", b"def"])
    connection.send("GET", "/", {"host": "h"})
    wanted = (
        b"PUT /a%20b HTTP/1.1\r\nhost: h\r\ncontent-length: 6\r\n\r\nabcdefGET / HTTP/1.1\r\nhost: h\r\n\r\n"
    )
    got = b""
    while len(got) < len(wanted):
        got += there.recv(1000)
    assert got == wanted


def test_an_interrupt_wakes_who_waits(pair: tuple[Connection, socket.socket]) -> None:
    connection, _ = pair
    connection.patient(20)
    threading.Timer(0.2, connection.interrupt).start()
    with pytest.raises((OSError, BadAnswer)):
        connection.answer(head_only=False)


def test_a_proxy_that_refuses_is_told() -> None:
    listening = socket.create_server(("127.0.0.1", 0))

    def refuse() -> None:
        there, _ = listening.accept()
        with there:
            assert there.recv(1000).startswith(b"CONNECT s3.example:443 HTTP/1.1\r\n")
            there.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")

    thread = threading.Thread(target=refuse)
    thread.start()
    pool = Pool(env={"https_proxy": f"127.0.0.1:{listening.getsockname()[1]}"})
    with pytest.raises(Passing, match="store-unreachable") as caught:
        pool.send(Address("s3.example"), "GET", "/", {})
    assert "407" in caught.value.facts["detail"]
    thread.join()
    listening.close()
