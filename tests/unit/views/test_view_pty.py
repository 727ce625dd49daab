"""The faces in a real terminal and in real pipes: what a whole process writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pexpect
import pytest
from tests.unit.views.view_world import display

# A command as the views see one: it chooses its face as the session does, and is told what happens.
PROGRAM = """
import os, sys, time
from runctl import views
from runctl.core.catalogue import known
from runctl.core.events import *

class Options:
    json = "json" in sys.argv; quiet = "quiet" in sys.argv; verbose = debug = alone = False
    color = None; log_file = None; log_level = "info"; quiet_after_seconds = 15.0

view = views.choose(Options, stdin_tty=sys.stdin.isatty(), stdout_tty=sys.stdout.isatty(),
                    stderr_tty=bool(sys.stderr and sys.stderr.isatty()), env=os.environ)
view.emit(RunPlanned({"name": "brave-otter-7k2m"}))
view.emit(StepStarted("sync", "send code"))
view.emit(StepProgress("sync", 1, 2, "files", "src/" + "deep/" * 30 + "model.py"))
view.emit(StepFinished("sync", 1.5, "2 files"))
view.emit(StepStarted("env", "install the environment", "machine"))
if sys.stdin.isatty():
    sys.stdin.readline()  # until the test has seen the tree
view.emit(StepFinished("env", 2.5, "cached", skipped=True))
view.emit(Output(0, b"\\r 50%"))
view.emit(Output(5, b"\\r100%\\nbytes \\xff"))
view.emit(RunEnded("failed", 3, seconds=4.0))
view.error(known("script-not-found", script="x.py"), traceback=None)
view.close()
"""


def shown(columns: int, **more: str) -> list[str]:
    env = {"TERM": "xterm", "PATH": os.environ["PATH"], "PYTHONUTF8": "1", **more}
    child = pexpect.spawn(
        sys.executable, ["-c", PROGRAM], dimensions=(40, columns), env=env, echo=False, timeout=20
    )
    child.expect("install the environment")
    seen = child.before + child.after
    child.sendline("")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    return display((seen + child.before).replace(b"\xff", b"?"), columns)


@pytest.mark.parametrize("columns", [80, 40])
def test_a_terminal_shows_the_tree_the_output_and_the_end(columns):
    lines = shown(columns)
    start = lines.index("here")
    assert lines[start + 1].startswith("  ✓ send code")
    assert lines[start + 1].endswith("1.5s")
    assert lines[start + 2] == "machine"
    assert lines[start + 3].startswith("  ○ install the environment")
    assert lines[start + 4 : start + 8] == ["", "100%", "bytes ?", ""]
    closing = " · ".join(line.strip() for line in lines[start + 8 :])
    assert closing.startswith("✗ failed · brave-otter-7k2m · exit code 3 · 4.0s")
    assert "error[script-not-found]: no such script:" in "\n".join(lines)
    assert max(map(len, lines)) <= columns


def test_no_color_leaves_only_movement():
    assert shown(80) == shown(80, NO_COLOR="1")


def piped(*options: str) -> subprocess.CompletedProcess[bytes]:
    env = {"PATH": os.environ["PATH"], "PYTHONUTF8": "1"}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *options],
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
    )


def test_pipes_get_lines_and_the_bytes():
    done = piped()
    assert done.stdout == b"\r 50%\r100%\nbytes \xff"
    said = done.stderr.decode()
    assert "send code (here): done in 1.5s, 2 files\n" in said
    assert "\x1b" not in said
    assert "\r" not in said


def test_json_is_alone_on_stdout():
    done = piped("json")
    kinds = [json.loads(line)["kind"] for line in done.stdout.splitlines()]
    assert kinds[0] == "run.planned"
    assert kinds[-2:] == ["run.ended", "error"]
    assert not done.stderr


def test_quiet_says_errors_only():
    done = piped("quiet")
    assert done.stdout == b"\r 50%\r100%\nbytes \xff"
    assert done.stderr.startswith(b"error[script-not-found]: no such script: x.py\n")


def test_a_reader_that_left_is_told_and_a_closed_stderr_is_not():
    env = {"PATH": os.environ["PATH"], "PYTHONUTF8": "1"}
    reader, writer = os.pipe()
    os.close(reader)
    left = subprocess.run([sys.executable, "-c", PROGRAM], env=env, stdin=subprocess.DEVNULL, stdout=writer,
                          stderr=subprocess.PIPE, check=False)  # fmt: skip
    os.close(writer)
    assert b"BrokenPipeError" in left.stderr
    closed = ["sh", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, PROGRAM]
    done = subprocess.run(closed, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True)
    assert done.stdout == b"\r 50%\r100%\nbytes \xff"
