from __future__ import annotations

import os

import pytest
from tests.unit.views.view_world import Hand, Screen

from runctl.views.streams import PATIENCE, Streams, same_file, write_all


def test_output_is_passed_on_at_once_and_untouched():
    screen = Screen()
    for chunk in (b"\r 10%", b"\xff\xfe\x00", b"\x1b[31mred", b"no newline"):
        screen.streams.output(chunk)
        assert screen.out.endswith(chunk)
    assert bytes(screen.out) == b"\r 10%\xff\xfe\x00\x1b[31mredno newline"
    assert not screen.err


def test_a_line_of_ours_waits_for_the_end_of_the_scripts_line():
    screen = Screen()
    screen.streams.output(b"epoch 1 ")
    screen.streams.say("notice")
    assert not screen.err
    screen.streams.output(b"loss 0.3\nepoch 2 ")
    assert bytes(screen.all) == b"epoch 1 loss 0.3\nnotice\nepoch 2 "


def test_a_line_of_ours_waits_a_second_at_most_and_then_takes_a_line_of_its_own():
    screen = Screen()
    screen.streams.output(b"\r 10%")
    screen.streams.say("one")
    screen.streams.say("two")
    screen.clock.advance(PATIENCE - 0.1)
    screen.streams.tick()
    assert not screen.err
    screen.clock.advance(0.1)
    screen.streams.tick()
    assert bytes(screen.all) == b"\r 10%\none\ntwo\n"
    screen.streams.tick()
    screen.streams.flush()
    assert bytes(screen.all) == b"\r 10%\none\ntwo\n"


def test_streams_that_lead_apart_do_not_wait_for_each_other():
    screen = Screen(shared=False)
    screen.streams.output(b"no newline")
    screen.streams.say("at once")
    screen.streams.flush()
    assert (bytes(screen.out), screen.said) == (b"no newline", "at once\n")


def test_broken_stderr_costs_nothing_and_broken_stdout_is_told():
    def broken(_: bytes) -> None:
        raise BrokenPipeError

    kept = bytearray()
    Streams(kept.extend, broken, shared=False, clock=Hand()).say("lost")
    with pytest.raises(BrokenPipeError):
        Streams(broken, kept.extend, shared=False, clock=Hand()).output(b"x")


def test_what_stderr_cannot_say_becomes_a_question_mark():
    screen = Screen(encoding="ascii")
    screen.streams.say("naïve ✓")
    assert screen.said == "na?ve ?\n"


def test_write_all_fills_a_pipe_that_is_not_blocking():
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    data = os.urandom(300_000)  # several times what a pipe holds
    got = bytearray()

    def drain() -> None:
        while len(got) < len(data):
            got.extend(os.read(reader, 1 << 16))

    import threading

    thread = threading.Thread(target=drain)
    thread.start()
    write_all(writer, data)
    thread.join(10)
    os.close(reader)
    os.close(writer)
    assert bytes(got) == data


def test_same_file(tmp_path):
    with (tmp_path / "a").open("w") as a, (tmp_path / "b").open("w") as b:
        twin = os.dup(a.fileno())
        assert same_file(a.fileno(), twin)
        assert not same_file(a.fileno(), b.fileno())
        os.close(twin)
        assert not same_file(a.fileno(), twin)
