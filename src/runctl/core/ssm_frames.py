"""The binary frames of AWS Session Manager: data channels and the agent's control channel. Pure; no input or output.

The layout was taken from talking to the service's own agent and plugin: 120 bytes of header, big-endian, then the
payload. The number in the first field is 116: it does not count itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import time
from typing import NamedTuple

OUTPUT = "output_stream_data"
INPUT = "input_stream_data"
ACKNOWLEDGE = "acknowledge"
CHANNEL_CLOSED = "channel_closed"
START = "start_publication"
PAUSE = "pause_publication"

DATA, ERROR, SIZE = 1, 2, 3
HANDSHAKE_REQUEST, HANDSHAKE_RESPONSE, HANDSHAKE_COMPLETE = 5, 6, 7
FLAG, STDERR, EXIT_CODE = 10, 11, 12
DISCONNECT_PORT, TERMINATE_SESSION, CONNECT_ERROR = 1, 2, 3  # what a payload of type FLAG says, as u32

SYN, FIN = 1, 2
PAYLOAD_LIMIT = 1024  # bytes the agent puts in one stream frame
HEADER_LENGTH = 116

_HEADER = struct.Struct(">I32sIQqQ16s32sII")


class FrameError(ValueError):
    """The bytes are not a frame: too short, a wrong length, or a payload that is not what its digest says."""


class Frame(NamedTuple):
    """One message. `id` holds the sixteen bytes of a UUID in their usual order; `created_ms` is epoch milliseconds."""

    type: str
    payload: bytes
    sequence: int = 0
    flags: int = 0
    payload_type: int = 0
    id: bytes = b"\0" * 16
    created_ms: int = 0
    schema: int = 1


def new(
    kind: str, payload: bytes, *, sequence: int = 0, flags: int = 0, payload_type: int = 0, schema: int = 1
) -> Frame:
    """A frame with an id and a date of its own."""
    return Frame(
        kind, payload, sequence, flags, payload_type, os.urandom(16), int(time.time() * 1000), schema
    )


def encode(frame: Frame) -> bytes:
    """The bytes of a frame. Raises FrameError when its type does not fit the 32 bytes there are for it."""
    kind = frame.type.encode("ascii", "replace")
    if len(kind) > 32:
        raise FrameError(f"message type {frame.type!r} is longer than 32 bytes")
    return (
        _HEADER.pack(
            HEADER_LENGTH,
            kind.ljust(32),
            frame.schema,
            frame.created_ms,
            frame.sequence,
            frame.flags,
            frame.id[8:] + frame.id[:8],  # the low half of the UUID goes first on the wire
            hashlib.sha256(frame.payload).digest(),
            frame.payload_type,
            len(frame.payload),
        )
        + frame.payload
    )


def decode(data: bytes) -> Frame:
    """The frame in `data`, whose digest is checked. Raises FrameError.

    A longer header than ours is skipped over: the length field exists so that fields can be added.
    """
    if len(data) < _HEADER.size:
        raise FrameError(f"{len(data)} bytes are no frame: its header alone has {_HEADER.size}")
    header, kind, schema, created, sequence, flags, raw_id, digest, payload_type, _ = _HEADER.unpack_from(
        data
    )
    if header < HEADER_LENGTH or header + 4 > len(data):
        raise FrameError(f"the header says it is {header} bytes long")
    length = int.from_bytes(data[header : header + 4], "big")
    payload = bytes(data[header + 4 :])
    if len(payload) != length:
        raise FrameError(f"the payload has {len(payload)} bytes, the header says {length}")
    if hashlib.sha256(payload).digest() != digest and (length or digest.strip(b"\0")):
        raise FrameError("the payload is not what its digest says")
    name = kind.rstrip(b" \0").decode("ascii", "replace")
    return Frame(name, payload, sequence, flags, payload_type, raw_id[8:] + raw_id[:8], created, schema)


def id_text(raw: bytes) -> str:
    """A frame's id as the text other messages name it by: 8-4-4-4-12 hex digits."""
    digits = raw.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def acknowledge(frame: Frame) -> Frame:
    """The answer that every stream frame is owed; both flags are set on it, and its sequence is always 0."""
    body = (
        f'{{"AcknowledgedMessageType":"{frame.type}","AcknowledgedMessageId":"{id_text(frame.id)}",'
        f'"AcknowledgedMessageSequenceNumber":{frame.sequence},"IsSequentialMessage":true}}'
    )
    return new(ACKNOWLEDGE, body.encode(), flags=SYN | FIN)


def acknowledged_sequence(frame: Frame) -> int:
    """The sequence number an `acknowledge` frame speaks of. Raises FrameError when it names none."""
    try:
        return int(json.loads(frame.payload)["AcknowledgedMessageSequenceNumber"])
    except (ValueError, KeyError, TypeError) as error:
        raise FrameError("an acknowledgement without a sequence number") from error
