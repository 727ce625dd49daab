"""What is on disk: restarts, a killed server, half-written things."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from tests.s3box import S3Box, s3_in

from runctl.sandbox.s3 import files, journal

B = {"Bucket": "bucket"}
SERVER = """
import sys, threading
from pathlib import Path
from runctl.sandbox.s3.standalone import serving
with serving(Path(sys.argv[1])) as server:
    print(server.url, flush=True)
    threading.Event().wait()
"""


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    data = os.urandom(5 * 1024 * 1024 + 1)
    with s3_in(tmp_path) as box:
        s3 = box.client()
        s3.create_bucket(**B)
        s3.put_bucket_versioning(**B, VersioningConfiguration={"Status": "Enabled"})
        tag = s3.put_object(**B, Key="k", Body=b"1", Metadata={"a": "b"}, Tagging="t=u")["ETag"]
        s3.put_object(**B, Key="k", Body=b"2")
        s3.delete_object(**B, Key="gone")
        upload = {**B, "Key": "up", "UploadId": s3.create_multipart_upload(**B, Key="up")["UploadId"]}
        s3.upload_part(**upload, PartNumber=1, Body=b"replaced")
        one = s3.upload_part(**upload, PartNumber=1, Body=data)
        before = s3.list_object_versions(**B)
    with s3_in(tmp_path) as box:
        s3 = box.client()
        after = s3.list_object_versions(**B)
        assert [after[name] for name in ("Versions", "DeleteMarkers")] == [
            before[name] for name in ("Versions", "DeleteMarkers")
        ]
        oldest = s3.head_object(**B, Key="k", VersionId=after["Versions"][1]["VersionId"])
        assert (oldest["ETag"], oldest["Metadata"], oldest["TagCount"]) == (tag, {"a": "b"}, 1)
        parts = [{"PartNumber": 1, "ETag": one["ETag"], "ChecksumCRC32": one["ChecksumCRC32"]}]
        s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    with s3_in(tmp_path) as box:
        s3 = box.client()
        assert s3.get_object(**B, Key="up")["Body"].read() == data
        assert "Uploads" not in s3.list_multipart_uploads(**B)
        s3.delete_object(**B, Key="up", VersionId=s3.head_object(**B, Key="up")["VersionId"])
        assert {file.stat().st_size for file in box.content()} == {2}  # the two bytes of "1" and "2"


def test_what_a_death_left_half_written_is_no_object_and_goes(tmp_path: Path) -> None:
    with s3_in(tmp_path) as box:
        s3 = box.client()
        s3.create_bucket(**B)
        s3.put_object(**B, Key="k", Body=b"whole")
        (whole,) = box.content()
        s3.put_object(**B, Key="cut", Body=b"lost")
    journal = tmp_path / "buckets/bucket/journal"
    before = journal.read_bytes()
    journal.write_bytes(before[:-3])
    (whole.parent / "18ab").write_bytes(b"a body that was coming in")
    (tmp_path / "buckets/unborn/content").mkdir(parents=True)
    with s3_in(tmp_path) as box:
        s3 = box.client()
        assert [o["Key"] for o in s3.list_objects_v2(**B)["Contents"]] == ["k"]
        assert s3.get_object(**B, Key="k")["Body"].read() == b"whole"
        assert {p for p in (tmp_path / "buckets").rglob("*") if p.is_file()} == {journal, whole}
        s3.put_object(**B, Key="next", Body=b"after the cut")
    with s3_in(tmp_path) as box:
        keys = [o["Key"] for o in box.client().list_objects_v2(**B)["Contents"]]
        assert keys == ["k", "next"]
    with s3_in(tmp_path) as box:
        assert [b["Name"] for b in box.client().list_buckets()["Buckets"]] == ["bucket"]


def test_what_is_overwritten_does_not_pile_up_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "PACK_SIZE", 100_000)
    monkeypatch.setattr(journal, "GROWTH", 20)

    def check(s3: Any) -> None:
        for n in range(20):
            assert s3.get_object(**B, Key=f"stays/{n}")["Body"].read() == bytes([n]) * 500
        assert s3.get_object(**B, Key="changes")["Body"].read() == b"\xff" * 900
        assert s3.list_parts(**upload)["Parts"][0]["Size"] == 7
        assert s3.head_object(**B, Key="stays/3")["Metadata"] == {"a": "b"}

    with s3_in(tmp_path) as box:
        s3 = box.client()
        s3.create_bucket(**B)
        upload = {**B, "Key": "up", "UploadId": s3.create_multipart_upload(**B, Key="up")["UploadId"]}
        s3.upload_part(**upload, PartNumber=1, Body=b"part me")
        for n in range(20):
            s3.put_object(**B, Key=f"stays/{n}", Body=bytes([n]) * 500, Metadata={"a": "b"})
            for m in range(12):
                s3.put_object(**B, Key="changes", Body=bytes([n * 12 + m + 16]) * 900)
        check(s3)
        assert sum(file.stat().st_size for file in box.content()) < 120_000  # of 226,000 that were sent
        lines = (tmp_path / "buckets/bucket/journal").read_bytes().count(b"\n")
        assert lines < 100  # of 264 things that happened
    with s3_in(tmp_path) as box:
        check(box.client())


def test_kill_9_in_the_middle_of_writes_leaves_whole_objects_only(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    with s3_in(tmp_path / "unused") as box:
        box.server.url = url
        s3 = box.client()
        s3.create_bucket(**B)
        acknowledged: dict[str, int] = {}
        enough = threading.Event()

        def write(worker: int) -> None:
            for n in range(1000):
                size = (n % 4) * 200_000 + 5
                try:
                    s3.put_object(**B, Key=f"{worker}", Body=str(n % 10).encode() * size)
                except (ClientError, BotoCoreError):
                    return
                acknowledged[f"{worker}"] = n
                if n > 8:
                    enough.set()

        threads = [threading.Thread(target=write, args=(worker,)) for worker in range(4)]
        for thread in threads:
            thread.start()
        assert enough.wait(30)
        process.send_signal(signal.SIGKILL)
        process.wait()
        for thread in threads:
            thread.join()
        process.stdout.close()
    with s3_in(tmp_path) as after:
        s3 = after.client()
        for key, last in acknowledged.items():
            body = s3.get_object(**B, Key=key)["Body"].read()
            digits = {last % 10, (last + 1) % 10}  # the one after may have been written, its answer lost
            assert body in [
                str(n).encode() * ((m % 4) * 200_000 + 5) for m in (last, last + 1) for n in digits
            ]


def test_a_client_that_goes_away_leaves_nothing(s3box: S3Box, s3: Any) -> None:
    where = urlsplit(s3box.server.url)
    headers, _ = s3box.signed("PUT", "/bucket/k", payload="UNSIGNED-PAYLOAD", content_length="1000000")
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with socket.create_connection((where.hostname or "", where.port or 0)) as raw:
        raw.sendall(f"PUT /bucket/k HTTP/1.1\r\n{head}\r\n".encode() + b"x" * 500_000)
        wait_until(lambda: len(s3box.content()) == 1)
    wait_until(lambda: not s3box.content())
    with pytest.raises(ClientError):
        s3.head_object(**B, Key="k")


def test_a_part_of_a_bucket_that_went_meanwhile_does_not_reach_its_successor(tmp_path: Path) -> None:
    with s3_in(tmp_path) as box:
        s3 = box.client()
        s3.create_bucket(**B)
        upload = s3.create_multipart_upload(**B, Key="up")["UploadId"]
        where = urlsplit(box.server.url)
        query = f"partNumber=1&uploadId={upload}"
        headers, _ = box.signed(
            "PUT", "/bucket/up", query=query, payload="UNSIGNED-PAYLOAD", content_length="1000000"
        )
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        with socket.create_connection((where.hostname or "", where.port or 0), timeout=10) as raw:
            raw.sendall(f"PUT /bucket/up?{query} HTTP/1.1\r\n{head}\r\n".encode() + b"x" * 500_000)
            wait_until(lambda: len(box.content()) == 1)
            s3.delete_bucket(**B)
            s3.create_bucket(**B)
            raw.sendall(b"x" * 500_000)
            assert b"<Code>NoSuchBucket</Code>" in raw.recv(1 << 16)
        s3.put_object(**B, Key="k", Body=b"mine")
    with s3_in(tmp_path) as box:
        assert [o["Key"] for o in box.client().list_objects_v2(**B)["Contents"]] == ["k"]
