"""What the link here and the relay on the machine say to each other.

A frame is one byte of kind, a sequence number, the number of a stream, and a payload. Frames with a sequence number
(not 0) are kept by their sender until the other side has acknowledged them, so that they survive the loss of a lane;
all others may be lost, repeated or late without harm: what they say is a state, not a change.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Iterator

HEAD = struct.Struct(">BII")  # kind, sequence, stream
LENGTH = struct.Struct(">I")  # of a frame on the slow lane
COUNT = struct.Struct(">Q")

# to the machine, in order
START, CONNECT, INPUT, END, STOP, BYE = 1, 2, 3, 4, 5, 6
# from the machine, in order; OUT of a connection without a byte: the other end has hung up
OUT, ERR, EXIT, FAILED = 17, 18, 19, 20  # EXIT: the status in digits; FAILED: why it did not begin
# both ways, at any time
ACK = 32  # stream: the next sequence number expected
CREDIT = (
    33  # COUNT: bytes of the stream that were taken so far, from the beginning; NOBODY: no more are wanted
)
PING = 34  # the machine answers with the same on both lanes
FAST, SLOW = 35, 36  # use the fast lane; do not, and send again from the sequence number in `stream`

NOBODY = (1 << 64) - 1
INPUT_AHEAD = 1 << 20  # bytes of input the client may send before they were taken
OUTPUT_AHEAD = 4 << 20  # bytes of output likewise: 10 MB/s to the other side of the world
PIECE = 32 << 10  # bytes of a stream in one frame
MARK = b"~"  # a line of the fast lane begins with it; anything else there is not ours
HELLO = MARK + b"relay %d %s\n"  # its port and its secret
SILENCE = 120.0  # seconds without a word from the client after which the machine ends everything


def line(words: list[str]) -> bytes:
    """Words in a payload. Raises ValueError for a word that no command line can hold."""
    if any("\0" in word for word in words):
        raise ValueError("a NUL byte in a word")
    return "\0".join(words).encode("utf-8", "surrogateescape")


def words(payload: bytes) -> list[str]:
    """The inverse of ``line``."""
    return payload.decode("utf-8", "surrogateescape").split("\0")


def frame(kind: int, sequence: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return HEAD.pack(kind, sequence, stream) + payload


def take(buffer: bytearray) -> Iterator[tuple[int, int, int, bytes]]:
    """The whole frames at the beginning of a slow lane's bytes, each removed there when it is asked for."""
    while len(buffer) >= LENGTH.size:
        end = LENGTH.size + LENGTH.unpack_from(buffer)[0]
        if len(buffer) < end:
            return
        kind, sequence, stream = HEAD.unpack_from(buffer, LENGTH.size)
        payload = bytes(buffer[LENGTH.size + HEAD.size : end])
        del buffer[:end]
        yield kind, sequence, stream, payload
