from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from runctl.views import decide


class Options(NamedTuple):
    json: bool = False
    quiet: bool = False
    alone: bool = False
    verbose: bool = False
    debug: bool = False
    log_file: Path | None = None
    log_level: str = "info"
    quiet_after_seconds: float = 15.0
    color: str | None = None


TTY = {"stdout_tty": True, "stderr_tty": True}
PIPES = {"stdout_tty": False, "stderr_tty": False}


@pytest.mark.parametrize(
    ("options", "ttys", "env", "face", "color"),
    [
        ({}, TTY, {"TERM": "xterm"}, "terminal", True),
        ({}, TTY, {}, "terminal", True),
        ({}, {"stdout_tty": False, "stderr_tty": True}, {}, "terminal", True),
        ({}, {"stdout_tty": True, "stderr_tty": False}, {}, "plain", False),
        ({}, PIPES, {}, "plain", False),
        ({}, TTY, {"TERM": "dumb"}, "plain", False),
        ({}, TTY, {"CI": "true"}, "plain", True),
        ({}, TTY, {"CI": "false"}, "terminal", True),
        ({"json": True}, TTY, {}, "json", True),
        ({"json": True, "quiet": True}, PIPES, {}, "json", False),
        ({"quiet": True}, TTY, {}, "quiet", True),
        ({}, TTY, {"NO_COLOR": "1"}, "terminal", False),
        ({}, TTY, {"NO_COLOR": ""}, "terminal", True),
        ({}, TTY, {"NO_COLOR": "1", "FORCE_COLOR": "1"}, "terminal", False),
        ({}, PIPES, {"FORCE_COLOR": "1"}, "plain", True),
        ({"color": "never"}, TTY, {"FORCE_COLOR": "1"}, "terminal", False),
        ({"color": "always"}, PIPES, {"NO_COLOR": "1"}, "plain", True),
        ({"color": "auto"}, PIPES, {"FORCE_COLOR": "1"}, "plain", True),
    ],
)
def test_the_face_is_decided_by_options_streams_and_environment(options, ttys, env, face, color):
    for stdin_tty in (True, False):
        choice = decide(Options(**options), stdin_tty=stdin_tty, env=env, **ttys)
        assert (choice.face, choice.color) == (face, color)


def test_colour_of_data_depends_on_stdout_alone():
    assert not decide(Options(), stdin_tty=True, stdout_tty=False, stderr_tty=True, env={}).color_out
    assert decide(Options(), stdin_tty=True, stdout_tty=True, stderr_tty=False, env={}).color_out


def test_no_face_imports_a_terminal_library_and_the_choice_imports_no_face():
    faces = (
        "import runctl.views.terminal, runctl.views.plain, runctl.views.jsonlines, runctl.views.quiet\n"
        "import runctl.views.logfile, runctl.views.table, runctl.views.plan\n"
    )
    # Compiling a character's name in a source loads the table of names; what counts is every start after the first.
    subprocess.run([sys.executable, "-I", "-c", faces], check=True)
    code = (
        "import sys, runctl.views\n"
        "assert not [m for m in sys.modules if m.startswith('runctl.') and m != 'runctl.views'], 'a face'\n"
        f"{faces}"
        "assert not {'rich', 'pygments', 'unicodedata', 'shlex', 'asyncio'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-I", "-c", code], check=True)
