"""aws-chunked bodies: signed and unsigned pieces, trailers, and every way they can be wrong."""

from __future__ import annotations

import base64
import os
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.s3box import Answer, S3Box

from runctl.sandbox.s3 import checksums

UNSIGNED = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"


def crc(data: bytes) -> str:
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


def told(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.body.partition(b"<Code>")[2].partition(b"</Code>")[0].decode()


def send_unsigned(
    box: S3Box, body: bytes, *, length: int, trailer: str = "x-amz-checksum-crc32", key: str = "k"
) -> Answer:
    headers, _ = box.signed(
        "PUT", f"/bucket/{key}", payload=UNSIGNED, x_amz_trailer=trailer,
        x_amz_decoded_content_length=str(length), content_encoding="aws-chunked",
    )  # fmt: skip
    return box.send("PUT", f"/bucket/{key}", body, headers)


def framed(data: bytes, size: int) -> bytes:
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n"


@pytest.mark.parametrize("size", [1, 7, 8192, 65536, 300_000])
@pytest.mark.parametrize("total", [0, 5, 300_000])
def test_unsigned_chunks_with_a_trailer(s3box: S3Box, s3: Any, size: int, total: int) -> None:
    if total > 1000 * size:
        total = 1000 * size  # no more than a thousand chunks
    data = os.urandom(total)
    body = framed(data, size) + f"x-amz-checksum-crc32:{crc(data)}\r\n\r\n".encode()
    answer = send_unsigned(s3box, body, length=total)
    assert answer.status == 200
    assert answer.headers["x-amz-checksum-crc32"] == crc(data)
    found = s3.get_object(Bucket="bucket", Key="k")
    assert found["Body"].read() == data
    assert "ContentEncoding" not in found  # aws-chunked is how it came, not what it is


@pytest.mark.parametrize(
    ("body", "length", "wanted"),
    [
        (b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n", 5, "BadDigest"),
        (b"5\r\nhello\r\n0\r\n\r\n", 5, "InvalidRequest"),
        (b"5\r\nhello\r\n0\r\nx-amz-checksum-sha1:AAAA\r\n\r\n", 5, "InvalidRequest"),
        (b"5\r\nhello\r\n", 5, "IncompleteBody"),
        (b"5\r\nhel", 5, "IncompleteBody"),
        (b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n", 6, "IncompleteBody"),
        (b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n", 4, "IncompleteBody"),
        (b"-5\r\nhello\r\n0\r\n\r\n", 5, "InvalidRequest"),
        (b"zz\r\nhello\r\n0\r\n\r\n", 5, "InvalidRequest"),
        (b"5\r\nhelloXX0\r\n\r\n", 5, "InvalidRequest"),
        (b"x" * 5000, 5, "InvalidRequest"),
    ],
)
def test_what_is_wrong_is_refused_and_leaves_nothing(
    s3box: S3Box, s3: Any, body: bytes, length: int, wanted: str
) -> None:
    answer = send_unsigned(s3box, body, length=length)
    assert told(answer) == (400, wanted)
    assert "Contents" not in s3.list_objects_v2(Bucket="bucket")
    assert not s3box.content()


@pytest.mark.parametrize("name", sorted(checksums.SIZES))
def test_every_checksum_may_come_in_the_trailer(s3box: S3Box, s3: Any, name: str) -> None:
    running = checksums.begin(name)
    running.update(b"hello")
    value = checksums.encode(running.digest())
    body = framed(b"hello", 3) + f"x-amz-checksum-{name}:{value}\r\n\r\n".encode()
    assert send_unsigned(s3box, body, length=5, trailer=f"x-amz-checksum-{name}").status == 200
    assert (
        s3.head_object(Bucket="bucket", Key="k", ChecksumMode="ENABLED")[f"Checksum{name.upper()}"] == value
    )


def signed_put(box: S3Box, pieces: list[bytes], *, spoil: int | None = None, trailer: bool = False) -> Answer:
    data = b"".join(pieces)
    extra = {"x_amz_trailer": "x-amz-checksum-crc32"} if trailer else {}
    headers, signer = box.signed(
        "PUT", "/bucket/k", payload=SIGNED + "-TRAILER" * trailer,
        x_amz_decoded_content_length=str(len(data)), **extra,
    )  # fmt: skip
    body = b"".join(signer.chunk(piece) for piece in [*pieces, b""])
    body += signer.trailer("x-amz-checksum-crc32", crc(data)) if trailer else b"\r\n"
    if spoil is not None:
        body = body[:spoil] + bytes([body[spoil] ^ 1]) + body[spoil + 1 :]
    return box.send("PUT", "/bucket/k", body, headers)


@pytest.mark.parametrize("trailer", [False, True])
def test_signed_chunks(s3box: S3Box, s3: Any, trailer: bool) -> None:
    pieces = [os.urandom(65536), os.urandom(65536), b"end"]
    assert signed_put(s3box, pieces, trailer=trailer).status == 200
    assert s3.get_object(Bucket="bucket", Key="k")["Body"].read() == b"".join(pieces)


@pytest.mark.parametrize("spoil", [30, 100, 200, -20])
def test_a_changed_byte_breaks_the_chain(s3box: S3Box, s3: Any, spoil: int) -> None:
    whole = 3 * (80 + 64 + 2) + 200
    answer = signed_put(
        s3box, [b"a" * 64, b"b" * 64], spoil=spoil % whole if spoil > 0 else spoil, trailer=True
    )
    assert told(answer) == (403, "SignatureDoesNotMatch")
    assert "Contents" not in s3.list_objects_v2(Bucket="bucket")


def test_a_body_of_unknown_length_is_refused(s3box: S3Box, s3: Any) -> None:
    headers, _ = s3box.signed("PUT", "/bucket/k", payload=UNSIGNED, x_amz_trailer="x-amz-checksum-crc32")
    assert told(s3box.send("PUT", "/bucket/k", b"0\r\n\r\n", headers)) == (411, "MissingContentLength")


def test_the_known_answers_of_the_checksums() -> None:
    # the check values of the catalogue of parametrised CRC algorithms, for "123456789"
    known = {"crc32": "cbf43926", "crc32c": "e3069283", "crc64nvme": "ae8b14860a799888"}
    for name, value in known.items():
        running = checksums.begin(name)
        running.update(b"1234")
        running.update(b"56789")
        assert running.digest().hex() == value
        assert checksums._Crc(checksums._table_crc(name), checksums.SIZES[name]).digest() == bytes(
            checksums.SIZES[name]
        )
        assert f"{checksums._table_crc(name)(b'123456789', 0):0{len(value)}x}" == value


@given(
    st.lists(st.binary(max_size=200), min_size=1, max_size=6),
    st.sampled_from(["crc32", "crc32c", "crc64nvme"]),
)
def test_the_crc_of_the_whole_follows_from_its_parts(parts: list[bytes], name: str) -> None:
    def of(data: bytes) -> str:
        running = checksums.begin(name)
        running.update(data)
        return checksums.encode(running.digest())

    assert checksums.full_object(name, [(of(part), len(part)) for part in parts]) == of(b"".join(parts))
