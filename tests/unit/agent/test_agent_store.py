"""The store as a machine sees it, over a strict S3 and over a folder."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.s3box import S3Box, s3_in
from tests.storebox import PYTHONS, on_machine

from runctl.agent.failure import AgentFailure
from runctl.agent.store import access_of
from runctl.agent.store import open_store as opened
from runctl.s3 import download as s3_download
from runctl.s3 import upload as s3_upload
from runctl.s3.patience import Patience, Stopped
from runctl.sandbox.s3.standalone import ACCESS_KEY, SECRET_KEY

ODD = "a folder/ünï+cødé & 100%/~file.bin"


OPEN: list[Any] = []


def open_store(access: Any, **more: Any) -> Any:
    OPEN.append(opened(access, **more))
    return OPEN[-1]


@pytest.fixture(autouse=True)
def closing() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[S3Box]:
    with s3_in(tmp_path / "s3") as box:
        box.client().create_bucket(Bucket="bucket")
        yield box


def environment(box: S3Box, **more: str) -> dict[str, str]:
    keys = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    return {"AWS_ENDPOINT_URL": box.server.url, **keys, **more}


def s3_store(box: S3Box, prefix: str = "team/runctl", *, patience: Patience | None = None, **env: str) -> Any:
    access = {"kind": "s3", "bucket": "bucket", "prefix": prefix, "region": "us-east-1"}
    return open_store(access, patience=patience, env=environment(box, **env))


@pytest.fixture(params=["s3", "directory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param == "s3":
        return s3_store(request.getfixturevalue("bucket"))
    return open_store({"kind": "directory", "path": str(tmp_path / "store")})


def test_both_stores_keep_the_same_promises(store: Any, tmp_path: Path) -> None:
    assert store.size(ODD) is None
    with pytest.raises(AgentFailure) as missing:
        store.get(ODD)
    assert (missing.value.code, missing.value.facts["key"]) == ("store-missing", ODD)
    data = os.urandom(3000)
    assert store.put(ODD, data) is True
    assert store.put(ODD, b"never", if_absent=True) is False
    assert store.put("once", b"1", if_absent=True) is True
    assert store.get(ODD) == data
    assert store.get(ODD, start=2990) == data[2990:]
    assert store.get(ODD, start=10, length=5) == data[10:15]
    assert store.get(ODD, start=2990, length=100) == data[2990:]
    assert store.get(ODD, start=3000) == b""
    assert store.get(ODD, length=0) == b""
    assert store.size(ODD) == 3000
    store.put(ODD, b"")
    assert (store.get(ODD), store.size(ODD)) == (b"", 0)


def test_both_list_in_the_order_of_keys_over_more_than_a_page(store: Any) -> None:
    names = [f"many/{number:05d}/é&<" for number in range(1003)]
    for name in names:
        store.put(name, b"")
    store.put("more", b"xy")
    store.put("many-not", b"")
    assert [each.key for each in store.list("many/")] == names
    assert [each.key for each in store.list("many/", after=names[1000])] == names[1001:]
    (one,) = store.list("more")
    assert one.size == 2
    assert abs(one.modified - time.time()) < 60
    assert one.etag
    assert list(store.list("nothing")) == []


def test_both_take_and_give_files_and_say_what_they_are(store: Any, tmp_path: Path) -> None:
    path, back = tmp_path / "from", tmp_path / "back"
    data = os.urandom(5 << 20)
    path.write_bytes(data)
    told: list[int] = []
    digest = hashlib.sha256(data).hexdigest()
    assert store.put_file("file", str(path), told=told.append) == (len(data), digest)
    assert sum(told) == len(data)
    store.get_file("file", str(back), size=len(data), digest=digest)
    assert back.read_bytes() == data
    back.write_text("old")
    for wrong in ({"size": 5}, {"digest": "0" * 64}):
        with pytest.raises(AgentFailure) as damaged:
            store.get_file("file", str(back), **wrong)
        assert damaged.value.code == "store-corrupt"
    with pytest.raises(AgentFailure) as missing:
        store.get_file("none", str(back))
    assert missing.value.code == "store-missing"
    assert back.read_text() == "old"
    assert sorted(each.name for each in tmp_path.iterdir() if each.is_file()) == ["back", "from"]


@pytest.mark.parametrize("key", ["", "/a", "a//b", "../a", "a/..", "./a", "a/"])
def test_neither_takes_a_key_that_leads_elsewhere(store: Any, key: str, tmp_path: Path) -> None:
    actions: list[Callable[[], Any]] = [
        lambda: store.put(key, b""),
        lambda: store.get(key),
        lambda: store.size(key),
    ]
    for action in actions:
        with pytest.raises(AgentFailure) as refused:
            action()
        assert refused.value.code == "agent-request"


@pytest.mark.parametrize("python", PYTHONS, ids=lambda path: path.split("/")[-3])
def test_it_works_on_the_oldest_python_with_nothing_but_the_standard_library(
    python: str, bucket: S3Box, tmp_path: Path
) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(os.urandom(70 << 20))
    code = f"""
import json
from runctl.agent.store import open_store
store = open_store({{"kind": "s3", "bucket": "bucket", "prefix": "p", "region": "us-east-1"}})
size, digest = store.put_file({ODD!r}, {str(source)!r})
store.get_file({ODD!r}, {str(back)!r}, size=size, digest=digest)
print(json.dumps([size, digest, [each.key for each in store.list()]]))
"""
    done = on_machine(code, tmp_path / "code.py", python=python, env=environment(bucket))
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    assert json.loads(done.stdout) == [70 << 20, digest, [ODD]]
    assert back.read_bytes() == source.read_bytes()
    found = bucket.client().head_object(Bucket="bucket", Key="p/" + ODD)
    assert found["ETag"].endswith('-9"')  # nine parts of 8 MiB


def test_a_download_goes_on_where_the_last_one_stopped(
    bucket: S3Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_download, "STRETCH", 1 << 20)
    monkeypatch.setattr(s3_download, "BLOCK", 1 << 20)
    data = os.urandom(9 << 20)
    bucket.client().put_object(Bucket="bucket", Key="big", Body=data)
    arrived = 0

    def count(size: int) -> None:
        nonlocal arrived
        arrived += size

    stopping = s3_store(bucket, "", patience=Patience(stopped=lambda: arrived > 4 << 20))
    with pytest.raises(Stopped):
        stopping.get_file("big", str(tmp_path / "big"), told=count)
    assert not (tmp_path / "big").exists()
    before, arrived = arrived, 0
    s3_store(bucket, "").get_file("big", str(tmp_path / "big"), told=count)
    assert (tmp_path / "big").read_bytes() == data
    assert before > 4 << 20
    assert arrived < len(data)  # not from the beginning
    assert [each.name for each in tmp_path.iterdir() if each.is_file()] == ["big"]


def test_what_an_interrupted_download_left_is_not_mixed_with_another_object(
    bucket: S3Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_download, "STRETCH", 1 << 20)
    client = bucket.client()
    client.put_object(Bucket="bucket", Key="big", Body=b"a" * (4 << 20))
    seen: list[int] = []
    stopping = s3_store(bucket, "", patience=Patience(stopped=lambda: sum(seen) > 1 << 20))
    with pytest.raises(Stopped):
        stopping.get_file("big", str(tmp_path / "big"), told=seen.append)
    client.put_object(Bucket="bucket", Key="big", Body=b"b" * (3 << 20))
    s3_store(bucket, "").get_file("big", str(tmp_path / "big"))
    assert (tmp_path / "big").read_bytes() == b"b" * (3 << 20)


def test_an_upload_that_is_stopped_leaves_no_parts(
    bucket: S3Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_upload, "ONE_PIECE", 1 << 20)
    monkeypatch.setattr(s3_upload, "PART", 5 << 20)
    (tmp_path / "file").write_bytes(os.urandom(30 << 20))
    sent: list[int] = []
    stopping = s3_store(bucket, "", patience=Patience(stopped=lambda: bool(sent)))
    with pytest.raises(Stopped):
        stopping.put_file("file", str(tmp_path / "file"), told=sent.append)
    client = bucket.client()
    assert "Uploads" not in client.list_multipart_uploads(Bucket="bucket")
    assert "Contents" not in client.list_objects_v2(Bucket="bucket")


def test_a_file_that_keeps_changing_is_not_stored(
    bucket: S3Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "busy"
    path.write_bytes(b"a" * (1 << 20))
    read = s3_upload._read

    def changing(fd: int, *rest: Any) -> Iterator[bytes]:
        yield from read(fd, *rest)
        path.write_bytes(os.urandom(1 << 20))  # between hashing and sending

    monkeypatch.setattr(s3_upload, "_read", changing)
    with pytest.raises(AgentFailure) as refused:
        s3_store(bucket, "", patience=Patience(attempts=2)).put_file("busy", str(path))
    assert refused.value.code == "store-file-changed"
    assert s3_store(bucket, "").size("busy") is None


def test_a_clock_that_is_wrong_is_corrected(bucket: S3Box) -> None:
    bucket.clock.ahead = 3 * 3600.0
    store = s3_store(bucket)
    store.put("a", b"1")
    bucket.clock.ahead = -3600.0
    assert store.get("a") == b"1"


def test_a_refusal_says_whose_and_why(bucket: S3Box) -> None:
    wrong = open_store(access_of("s3://bucket/p"), env=environment(bucket, AWS_SECRET_ACCESS_KEY="wrong"))
    with pytest.raises(AgentFailure) as denied:
        wrong.put("k", b"")
    assert denied.value.code == "store-denied"
    assert "SignatureDoesNotMatch" in denied.value.facts["detail"]
    none = open_store(access_of("s3://no-such-bucket/p"), env=environment(bucket))
    for action in (lambda: none.get("k"), lambda: none.put("k", b""), lambda: list(none.list())):
        with pytest.raises(AgentFailure) as missing:
            action()
        assert missing.value.code == "store-no-bucket"


def test_without_keys_and_metadata_service_it_says_so(bucket: S3Box) -> None:
    env = {"AWS_ENDPOINT_URL": bucket.server.url, "AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1"}
    with pytest.raises(AgentFailure) as none:
        open_store(access_of("s3://bucket/p"), env=env).get("k")
    assert none.value.code == "store-no-credentials"
    assert "refused" in none.value.facts["detail"]


@pytest.mark.parametrize("url", ["", "bucket", "s3://", "file://relative", "http://bucket/x"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(AgentFailure) as refused:
        open_store(access_of(url))
    assert refused.value.code == "agent-request"


@pytest.fixture
def server() -> Iterator[Callable[[Callable[[socket.socket], None]], str]]:
    """A server whose connections are handled, one after the other, by the function it is given."""
    listening = socket.create_server(("127.0.0.1", 0))

    def start(handle: Callable[[socket.socket], None]) -> str:
        def accept() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    handle(connection)

        threading.Thread(target=accept, daemon=True).start()
        return f"http://127.0.0.1:{listening.getsockname()[1]}"

    yield start
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()


def request_of(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data and (more := connection.recv(65536)):
        data += more
    return data


def keys(url: str) -> dict[str, str]:
    return {"AWS_ENDPOINT_URL_S3": url, "AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "s"}


def test_a_read_that_is_cut_is_continued_not_begun_again(server: Any) -> None:
    data = os.urandom(100_000)
    ranges = []

    def handle(connection: socket.socket) -> None:
        asked = request_of(connection).decode().lower()
        first = int(asked.partition("range: bytes=")[2].partition("-")[0] or 0)
        ranges.append((first, 'if-match: "tag"' in asked))
        status = "206 Partial" if first else "200 OK"
        head = f'HTTP/1.1 {status}\r\nETag: "tag"\r\nContent-Length: {len(data) - first}\r\n\r\n'
        connection.sendall(head.encode() + data[first : first + 7_000])

    store = open_store(access_of("s3://b"), env=keys(server(handle)), patience=Patience(attempts=2))
    assert store.get("k") == data  # fifteen cuts with two attempts: progress counts as a new beginning
    assert ranges[0] == (0, False)
    assert ranges[1:] == [(first, True) for first in range(7_000, 100_000, 7_000)]


def test_a_region_is_learned_from_the_refusal(server: Any) -> None:
    scopes = []

    def handle(connection: socket.socket) -> None:
        scope = request_of(connection).decode().partition("Credential=")[2].split(",")[0].split("/")[2]
        scopes.append(scope)
        if scope != "eu-west-3":
            connection.sendall(
                b"HTTP/1.1 301 Moved\r\nx-amz-bucket-region: eu-west-3\r\nContent-Length: 0\r\n\r\n"
            )
        else:
            connection.sendall(b'HTTP/1.1 200 OK\r\nETag: "t"\r\nContent-Length: 2\r\n\r\nok')

    store = open_store(access_of("s3://b"), env=keys(server(handle)))
    assert store.get("k") == store.get("k") == b"ok"
    assert scopes == ["us-east-1", "eu-west-3", "eu-west-3"]


def test_a_refusal_that_comes_before_the_body_was_read_is_heard(server: Any, tmp_path: Path) -> None:
    def handle(connection: socket.socket) -> None:
        request_of(connection)
        body = b"<Error><Code>AccessDenied</Code><Message>No</Message></Error>"
        connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        connection.shutdown(socket.SHUT_WR)
        time.sleep(0.2)

    (tmp_path / "big").write_bytes(bytes(32 << 20))
    store = open_store(access_of("s3://b"), env=keys(server(handle)))
    with pytest.raises(AgentFailure) as denied:
        store.put_file("k", str(tmp_path / "big"))
    assert denied.value.code == "store-denied"


def test_a_server_that_goes_silent_is_given_up(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    done = threading.Event()
    url = server(lambda connection: (request_of(connection), done.wait(20)))
    store = open_store(access_of("s3://b"), env=keys(url), patience=Patience(attempts=1))
    store._pool._silence = 0.2
    begun = time.monotonic()
    with pytest.raises(AgentFailure) as silent:
        store.get("k")
    done.set()
    assert silent.value.code == "store-unreachable"
    assert time.monotonic() - begun < 5


def test_who_stops_is_heard_during_a_pause() -> None:
    begun = time.monotonic()
    env = keys("http://127.0.0.1:1")
    patience = Patience(attempts=100, stopped=lambda: time.monotonic() - begun > 0.3)
    with pytest.raises(Stopped):
        open_store(access_of("s3://b"), env=env, patience=patience).get("k")
    assert time.monotonic() - begun < 2
