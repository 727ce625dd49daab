from __future__ import annotations

import re
from typing import Any

import pytest
from tests.unit.views.view_world import Screen, display

from runctl.core.catalogue import known
from runctl.core.events import (
    CheckpointSeen,
    CommandRun,
    Event,
    Failed,
    InstallerOutput,
    Notice,
    Output,
    RunChanged,
    RunEnded,
    RunPlanned,
    StepFailed,
    StepFinished,
    StepProgress,
    StepStarted,
)
from runctl.views.plain import EVERY, Plain
from runctl.views.style import Style
from runctl.views.terminal import Terminal

WHEEL = "torch-2.3.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl"
ENDED = RunEnded("succeeded", 0, None, "", 133.4, ({"pid": 4712, "command": "python worker.py"},))


class Stage:
    """A terminal view without its ticker, and what stands on its screen."""

    def __init__(self, columns: int = 80, rows: int = 24, *, shared: bool = True, **options: Any) -> None:
        self.size = (columns, rows)
        self.screen = Screen(shared=shared)
        unicode = options.pop("unicode", True)
        color = options.pop("color", False)
        self.view = Terminal(
            self.screen.streams,
            style=Style(color=color, unicode=unicode),
            size=lambda: self.size,
            clock=self.screen.clock,
            now=lambda: 1_795_456_800.0,
            **options,
        )

    def play(self, *events: Event, then: float = 0.0) -> Stage:
        for event in events:
            self.view.emit(event)
        self.screen.clock.advance(then)
        return self

    def shows(self) -> list[str]:
        self.view.beat()
        return self.lines()

    def lines(self) -> list[str]:
        return display(
            bytes(self.screen.all if self.screen.streams.shared else self.screen.err), self.size[0]
        )

    def installing(self) -> Stage:
        """One step done here, one on the machine at 10 MB/s since 10 s."""
        self.play(StepStarted("sync", "send code"), StepFinished("sync", 1.62, "12 files, 1.5 MB"))
        self.play(StepStarted("env", "install the environment", "machine"))
        for second in range(11):
            self.play(StepProgress("env", second * 10_000_000, 310_000_000, "bytes", WHEEL), then=1.0)
        self.screen.clock.advance(-1.0)
        return self


def test_the_tree_at_80_columns():
    assert Stage().installing().shows() == [
        "here",
        "  ✓ send code                   12 files, 1.5 MB                           1.6s",
        "machine",
        "  ⠙ install the environment     ━━━━━─────────── 100 / 310 MB              0:10",
        "    10.0 MB/s  about 20 s left  torch-2.3.0+cpu-cp311-c…nylinux_2_28_x86_64.whl",
        "",
    ]


def test_the_tree_at_40_columns():
    assert Stage(40).installing().shows() == [
        "here",
        "  ✓ send code  12 files, 1.5 MB    1.6s",
        "machine",
        "  ⠙ install the environment        0:10",
        "    100 / 310 MB    about 20 s left",
        "",
    ]


def test_the_tree_in_ascii():
    shown = Stage(unicode=False).installing().shows()
    assert all(line.isascii() for line in shown)
    assert shown[1].startswith("  + send code")
    assert "#####-----------" in shown[3]


@pytest.mark.parametrize("columns", [20, 33, 59, 60, 80, 200])
def test_no_row_is_wider_than_the_screen(columns):
    stage = Stage(columns).installing()
    stage.play(StepFailed("env", 3.0, "c", "the resolver said something long " * 5))
    stage.play(
        StepStarted("x", "a title that is much longer than any title should ever be, really", "machine")
    )
    stage.shows()
    stage.view.close()
    assert all(len(line) < columns for line in stage.lines())


def test_a_quiet_step_says_it_is_still_working_and_what_it_did_last():
    stage = Stage().installing()
    stage.screen.clock.advance(37)
    assert stage.shows()[4] == f"    still working, quiet for 37s; last: {WHEEL[:19]}…{WHEEL[-19:]}"


def test_a_quick_step_never_makes_the_tree_jump():
    stage = Stage().play(StepStarted("a", "first"), StepProgress("a", 1, 2, "files", "x.py"), then=0.3)
    assert len(stage.shows()) == 3
    stage.screen.clock.advance(0.3)
    assert stage.shows()[2] == "    x.py"


def test_a_frame_that_changes_nothing_is_not_written():
    stage = Stage().play(StepStarted("a", "first"), StepFinished("a", 0.1))
    stage.view.beat()
    before = bytes(stage.screen.err)
    stage.view.beat()
    assert bytes(stage.screen.err) == before


def test_lines_come_above_the_tree_and_controls_never_get_out():
    stage = Stage(verbose=True).installing()
    stage.play(
        Notice("warning", "uv.lock is old \x1b]52;c;evil\x07\r" + "word " * 20),
        CommandRun(("uv", "sync", "a b"), "machine", 1.25, 0),
        InstallerOutput("env", "Resolved 12 packages"),
        RunChanged("running", 4711),
        CheckpointSeen("/c/1.pt", "torch", 1500, 7),
    )
    shown = stage.shows()
    assert shown[:7] == [
        "warning: uv.lock is old �]52;c;evil� word word word word word word word word",
        "  word word word word word word word word word word word word",
        "$ uv sync 'a b'  (machine, exit 0, 1.2s)",
        "| Resolved 12 packages",
        "run is running, process 4711",
        "checkpoint /c/1.pt (torch, 1.5 kB, step 7)",
        "here",
    ]
    assert len(shown) == 12


def test_without_verbose_only_notices_are_lines():
    stage = Stage().play(
        CommandRun(("uv",), "here", 0.1, 0), InstallerOutput("e", "x"), Notice("info", "read me")
    )
    assert stage.shows() == ["read me", ""]


def test_a_tree_taller_than_the_screen_shows_its_end_and_settles_whole():
    stage = Stage(rows=6)
    for index in range(10):
        stage.play(StepStarted(f"s{index}", f"step {index}"), StepFinished(f"s{index}", 1.0))
    shown = stage.shows()
    assert (len(shown), shown[0]) == (6, "… 7 more above")
    stage.view.close()
    assert sum("✓" in line for line in stage.lines()) == 10


def test_a_narrower_screen_is_drawn_over_as_it_has_folded():
    stage = Stage(80).installing()
    stage.view.beat()
    stage.screen.err.clear()
    stage.size = (40, 24)
    stage.view.beat()
    # Rows of 4, 78, 7, 78 and 76 columns stand there; on 40 columns they have become eight.
    assert re.findall(rb"\x1b\[(\d+)A", bytes(stage.screen.err)) == [b"8"]


def test_output_follows_the_settled_tree_byte_for_byte():
    stage = Stage().installing().play(StepFinished("env", 31.0, "12 packages"))
    for chunk in (b"\r 10%", b"\r 20%\n", b"\x1b[32m\xff"):
        stage.play(Output(0, chunk))
    assert bytes(stage.screen.out) == b"\r 10%\r 20%\n\x1b[32m\xff"
    settled = b"\x1b[?2026l\n"  # the end of a frame, and an empty line
    assert bytes(stage.screen.all).endswith(settled + bytes(stage.screen.out))
    said = bytes(stage.screen.all)
    stage.view.beat()
    stage.view.beat()
    assert bytes(stage.screen.all) == said


def test_steps_that_go_on_beside_the_output_become_lines_at_a_line_start():
    stage = Stage().installing().play(Output(0, b"epoch 1"))
    stage.play(StepProgress("env", 1, 2, "files"), StepFinished("env", 31.0, "12 packages"))
    stage.play(Output(7, b" ok\n"))
    assert stage.lines()[-3:] == [
        "epoch 1 ok",
        "install the environment (machine): done in 31.0s, 12 packages",
        "",
    ]


def test_where_stdout_leads_elsewhere_the_tree_stays_and_counts_the_output():
    stage = Stage(shared=False).installing().play(StepFinished("env", 31.0))
    stage.play(Output(0, b"x" * 1000), Output(1000, b"y" * 500), then=2.0)
    assert stage.shows()[-3].startswith("  ⠙ script output               1.5 kB")
    stage.play(ENDED)
    stage.view.close()
    assert any(line.startswith("  ✓ script output               1.5 kB") for line in stage.lines())
    assert len(stage.screen.out) == 1500


def test_others_may_write_after_settling_and_the_next_step_begins_a_new_tree():
    stage = Stage().play(StepStarted("a", "first"), StepFinished("a", 1.0))
    stage.view.settle()
    stage.screen.all.extend(b"somebody else\r\n")
    stage.view.beat()
    stage.play(StepStarted("b", "second"), then=0.1)
    assert [line.strip() for line in stage.shows()] == [
        "here",
        "✓ first                                                                  1.0s",
        "",
        "somebody else",
        "here",
        "⠙ second                                                                 0:00",
        "",
    ]


def test_a_step_that_began_before_we_attached_shows_its_real_clock():
    stage = Stage().play(StepStarted("env", "install", "machine", ts="2026-11-23T17:55:00.000Z"))
    assert stage.shows()[1].endswith("5:00")


def test_the_closing_block():
    stage = Stage(color=False).play(RunPlanned({"name": "brave-otter-7k2m"})).installing()
    stage.play(StepStarted("code", "too short to tell", "machine"), StepFinished("code", 0.004))
    stage.play(StepFinished("env", 26.0), Output(0, b"no newline"))
    for step in (100, 20):
        stage.play(CheckpointSeen(f"/c/step-{step}.pt", "torch", 1_500_000, step))
    stage.play(ENDED, Output(10, b" at the end"))
    stage.view.close()
    stage.view.close()
    assert stage.lines()[-10:] == [
        "no newline at the end",
        "",
        "✓ succeeded · brave-otter-7k2m · exit code 0 · 2m 13s",
        "  time        send code 1.6s, install the environment 26.0s",
        "  checkpoints 2, the newest at step 100 (1.5 MB): /c/step-100.pt",
        "  killed      4712 python worker.py",
        "  next        runctl checkpoint list brave-otter-7k2m",
        "              runctl logs brave-otter-7k2m",
        "              runctl show brave-otter-7k2m",
        "",
    ]


def test_a_failed_run_ends_with_the_block_and_then_the_error():
    stage = Stage()
    stage.view.run = "calm-fox-1a2b"
    stage.play(Output(0, b"x\n"), RunEnded("failed", None, "SIGKILL", "out of memory", 3.0))
    stage.view.error(known("script-not-found", script="tran.py"), traceback="Traceback")
    stage.view.close()
    assert stage.lines()[:7] == [
        "x",
        "",
        "✗ failed · calm-fox-1a2b · signal SIGKILL · 3.0s",
        "  because     out of memory",
        "  next        runctl logs --tail 50 calm-fox-1a2b",
        "              runctl show calm-fox-1a2b",
        "error[script-not-found]: no such script: tran.py",
    ]
    assert "Traceback" not in stage.screen.said


def test_an_error_told_as_an_event_and_then_raised_is_shown_once():
    stage = Stage()
    error = known("script-not-found", script="tran.py")
    stage.play(StepStarted("a", "a"), StepFailed("a", 1.0, error.code, error.what), Failed(error.to_json()))
    stage.view.error(error, traceback=None)
    stage.view.close()
    assert "\n".join(stage.lines()).count("error[script-not-found]") == 1


def test_debug_shows_the_traceback_and_when():
    stage = Stage(debug=True).play(Notice("info", "hello"), then=1.5).play(Notice("info", "again"))
    stage.view.error(known("script-not-found", script="x"), traceback="Traceback: here")
    shown = stage.lines()
    assert shown[:2] == ["+0.000s hello", "+1.500s again"]
    assert "Traceback: here" in shown


class Lines:
    """A plain view without its ticker."""

    def __init__(self, **options: Any) -> None:
        self.screen = Screen()
        self.view = Plain(
            self.screen.streams, style=Style(), columns=lambda: 79, clock=self.screen.clock, **options
        )

    def play(self, *events: Event, then: float = 0.0) -> None:
        for event in events:
            self.view.emit(event)
        self.screen.clock.advance(then)


def test_plain_lines_say_the_same_without_controls():
    stage = Lines()
    stage.play(StepStarted("sync", "send \x1b[31mcode"), then=1.0)
    stage.view.beat()
    for second in range(21):
        stage.play(StepProgress("sync", second * 10, 1000, "files", f"f{second}.py"), then=1.0)
    stage.play(StepFinished("sync", 21.0, "1000 files"), Notice("warning", "careful\nand more"))
    stage.play(StepStarted("env", "install", "machine"), StepFinished("env", 0.1, "cached", skipped=True))
    stage.play(StepStarted("go", "start", "machine"), StepFailed("go", 0.2, "code", "it broke"))
    assert stage.screen.said.splitlines() == [
        "send �[31mcode (here): started",
        "send �[31mcode (here): 100 of 1,000 files, 10 files/s, about 2 min left, f10.py",
        "send �[31mcode (here): 200 of 1,000 files, 10 files/s, about 1 min left, f20.py",
        "send �[31mcode (here): done in 21.0s, 1000 files",
        "warning: careful",
        "and more",
        "install (machine): nothing to do, cached",
        "start (machine): failed after 0.20s: it broke",
    ]


def test_a_quiet_step_gets_a_sign_of_life_now_and_then():
    stage = Lines(quiet_after=15.0)
    stage.play(StepStarted("env", "install", "machine"), StepProgress("env", 1, 3, "packages", "torch"))
    said = []
    for _ in range(50):
        stage.screen.clock.advance(1)
        before = stage.screen.said
        stage.view.beat()
        said += stage.screen.said[len(before) :].splitlines()
    assert said == [
        "install (machine): 1 of 3 packages, torch",
        "still working on install (16s): last torch",
        "still working on install (31s): last torch",
        "still working on install (46s): last torch",
    ]


def test_progress_in_plain_lines_is_rare():
    stage = Lines()
    stage.play(StepStarted("a", "a"))
    for _ in range(1000):
        stage.play(StepProgress("a", 1), then=EVERY / 100)
    assert len(stage.screen.said.splitlines()) == 9


def test_of_a_short_step_plain_lines_say_the_end_only_unless_verbose():
    for verbose, lines in ((False, 1), (True, 2)):
        stage = Lines(verbose=verbose)
        stage.play(StepStarted("a", "a"), then=0.9)
        stage.view.beat()
        stage.play(StepFinished("a", 0.9))
        assert len(stage.screen.said.splitlines()) == lines
