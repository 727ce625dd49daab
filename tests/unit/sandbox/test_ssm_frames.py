"""Frames, their order and repetition, and the websocket under them: over wide inputs."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runctl.core import ssm_frames
from runctl.core.ssm_frames import Frame, FrameError
from runctl.core.ssm_stream import RESEND_CEILING, RESEND_FLOOR, Inbox, Outbox
from runctl.sandbox.ssm.websocket import BINARY, MESSAGE_LIMIT, TEXT, Parser, SocketClosed, frame_bytes

FRAMES = st.builds(
    Frame,
    st.sampled_from(
        ["output_stream_data", "input_stream_data", "acknowledge", "agent_job", "channel_closed"]
    ),
    st.binary(max_size=3000),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**32 - 1),
    st.binary(min_size=16, max_size=16),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**32 - 1),
)


@given(FRAMES)
def test_a_frame_survives_the_wire(frame: Frame) -> None:
    assert ssm_frames.decode(ssm_frames.encode(frame)) == frame


def test_the_layout_is_the_services() -> None:
    frame = Frame("output_stream_data", b"hi", 5, 1, 11, bytes(range(16)), 1_700_000_000_000)
    data = ssm_frames.encode(frame)
    assert struct.unpack_from(">I", data)[0] == 116
    assert data[4:36] == b"output_stream_data".ljust(32)
    assert struct.unpack_from(">IQqQ", data, 36) == (1, 1_700_000_000_000, 5, 1)
    assert data[64:80] == bytes(range(8, 16)) + bytes(range(8)), "the low half of the id goes first"
    assert struct.unpack_from(">II", data, 112) == (11, 2)
    assert data[120:] == b"hi"


@given(FRAMES, st.data())
def test_damage_is_found(frame: Frame, data: st.DataObject) -> None:
    whole = ssm_frames.encode(frame._replace(payload=frame.payload or b"x"))
    at = data.draw(st.integers(120, len(whole) - 1))
    broken = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
    with pytest.raises(FrameError):
        ssm_frames.decode(broken)
    with pytest.raises(FrameError):
        ssm_frames.decode(whole[: data.draw(st.integers(0, len(whole) - 1))])


@given(st.binary(max_size=400))
def test_any_bytes_are_a_frame_or_refused(data: bytes) -> None:
    try:
        frame = ssm_frames.decode(data)
    except FrameError:
        return
    assert frame.payload == data[len(data) - len(frame.payload) :]


def test_a_type_too_long_is_refused() -> None:
    with pytest.raises(FrameError):
        ssm_frames.encode(ssm_frames.new("x" * 33, b""))


@given(FRAMES)
def test_an_acknowledgement_names_its_frame(frame: Frame) -> None:
    ack = ssm_frames.decode(ssm_frames.encode(ssm_frames.acknowledge(frame)))
    assert ack.type == "acknowledge"
    assert ack.flags == 3
    assert ssm_frames.acknowledged_sequence(ack) == frame.sequence
    assert ssm_frames.id_text(frame.id).encode() in ack.payload


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=60), st.integers(0, 2**32), st.floats(0, 0.6))
@settings(deadline=None)
def test_a_stream_arrives_whole_through_loss_and_disorder(
    chunks: list[bytes], seed: int, loss: float
) -> None:
    """Frames and acknowledgements are lost, doubled and shuffled: what comes out is what went in."""
    weather, now = random.Random(seed), 0.0
    outbox, inbox, out = Outbox("output_stream_data"), Inbox(), bytearray()
    flying = [outbox.add(chunk, 1, now=now) for chunk in chunks]
    for _ in range(3_000):
        if not len(outbox):
            break
        weather.shuffle(flying)
        for data in [each for each in flying for _ in range(weather.choice((1, 1, 2)))]:
            if weather.random() < loss:
                continue
            owed, ready = inbox.accept(ssm_frames.decode(data))
            out += b"".join(each.payload for each in ready)
            if owed and weather.random() >= loss:
                outbox.acknowledged(ssm_frames.decode(data).sequence, now=now)
        now += RESEND_CEILING
        flying = outbox.due(now=now)
    assert not len(outbox)
    assert bytes(out) == b"".join(chunks)


def test_the_pause_before_repeating_follows_the_round_trip() -> None:
    outbox = Outbox("output_stream_data")
    for turn in range(30):
        outbox.add(b"x", 1, now=float(turn))
        outbox.acknowledged(turn, now=turn + 0.15)
    assert RESEND_FLOOR <= outbox.timeout < 0.3
    outbox.add(b"x", 1, now=100.0)
    assert outbox.due(now=100.0 + outbox.timeout / 2) == []
    assert len(outbox.due(now=100.0 + outbox.timeout)) == 1
    assert outbox.due(now=100.0 + outbox.timeout) == [], "just sent again"
    assert not outbox.acknowledged(77, now=101.0)


def test_what_comes_far_too_early_is_not_kept() -> None:
    inbox = Inbox()
    for sequence in range(1, 10_001):
        inbox.accept(Frame("output_stream_data", b"", sequence))
    assert inbox.accept(Frame("output_stream_data", b"", 20_000)) == (False, [])
    assert inbox.accept(Frame("output_stream_data", b"", 5)) == (True, [])


@given(
    st.lists(st.tuples(st.sampled_from([TEXT, BINARY]), st.binary(max_size=300)), max_size=20),
    st.booleans(),
    st.data(),
)
@settings(deadline=None)
def test_websocket_messages_come_out_however_they_are_cut(
    messages: list[tuple[int, bytes]], masked: bool, data: st.DataObject
) -> None:
    wire = b"".join(frame_bytes(opcode, payload, masked=masked) for opcode, payload in messages)
    parser, out, at = Parser(), [], 0
    while at < len(wire):
        step = data.draw(st.integers(1, max(1, len(wire) - at)))
        out += parser.feed(wire[at : at + step])
        at += step
    assert out == messages


@pytest.mark.parametrize("size", [125, 126, 65_535, 65_536, 200_000])
def test_websocket_lengths_at_their_borders(size: int) -> None:
    payload = bytes(size)
    assert Parser().feed(frame_bytes(BINARY, payload, masked=True)) == [(BINARY, payload)]


def test_websocket_fragments_are_joined_and_floods_refused() -> None:
    parser = Parser()
    assert parser.feed(b"\x02\x01a" + b"\x89\x00" + b"\x00\x01b") == [(9, b"")]
    assert parser.feed(b"\x80\x01c") == [(BINARY, b"abc")]
    with pytest.raises(SocketClosed):
        parser.feed(b"\x82\x7f" + (MESSAGE_LIMIT + 1).to_bytes(8, "big"))
