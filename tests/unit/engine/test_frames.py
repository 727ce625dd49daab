"""The follow stream, cut anywhere, gives the same frames."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runctl.engine.follow import Frame, FrameReader

frames = st.lists(st.tuples(st.sampled_from("OESH"), st.binary(max_size=50)), max_size=12)


def encoded(parts: list[tuple[str, bytes]]) -> bytes:
    return b"".join(f"{kind} 0 {len(data)}\n".encode() + data for kind, data in parts)


@given(frames, st.lists(st.integers(1, 40), max_size=60))
def test_any_cut_gives_the_same_bytes(parts: list[tuple[str, bytes]], cuts: list[int]) -> None:
    seen: list[Frame] = []
    reader = FrameReader(seen.append)
    stream = encoded(parts)
    for size in cuts:
        reader.feed(stream[:size])
        stream = stream[size:]
    reader.feed(stream)
    output = b"".join(frame.data for frame in seen if frame.kind == "O")
    assert output == b"".join(data for kind, data in parts if kind == "O")
    others = [(frame.kind, frame.data) for frame in seen if frame.kind != "O"]
    assert others == [(kind, data) for kind, data in parts if kind != "O"]


def test_output_offsets_grow_with_what_was_handed_over() -> None:
    seen: list[Frame] = []
    reader = FrameReader(seen.append)
    reader.feed(b"O 100 6\nab")
    reader.feed(b"cdef")
    assert [(frame.offset, frame.data) for frame in seen] == [(100, b"ab"), (102, b"cdef")]
