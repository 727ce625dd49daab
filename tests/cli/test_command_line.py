"""What a person gets for a command line, right or wrong: text, JSON and exit status, word for word."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from runctl.cli.commands import COMMANDS, root_help
from runctl.cli.corrections import split_script_args
from runctl.cli.parsing import parser_for, read

if TYPE_CHECKING:
    from tests.conftest import World


def test_the_root_page_lists_every_command_once(world: World) -> None:
    for words in ([], ["--help"], ["-h"], ["help"], ["-v", "--help"]):
        got = world.runctl(*words)
        assert (got.code, got.err, got.out) == (0, "", root_help())
    for name, (_, summary, _) in COMMANDS.items():
        assert sum(line.split()[:1] == [name] and summary in line for line in got.out.splitlines()) == 1
    assert max(map(len, got.out.splitlines())) <= 100


def test_version(world: World) -> None:
    assert world.runctl("--version").out == world.runctl("-q", "--version").out == "runctl 0.1.0\n"


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_explains_itself_and_the_global_options(world: World, name: str) -> None:
    got = world.runctl(name, "--help")
    assert (got.code, got.err) == (0, "")
    assert got.out.startswith(f"usage: runctl {name}")
    assert "--log-file PATH" in got.out
    assert "--json" not in got.out.partition("\n\n")[0]  # the usage line is the command's own
    assert world.runctl("help", name).out == got.out


ERRORS = {
    "explian usage": """\
        error[unknown-command]: no such command: explian
          fix:    runctl explain usage
                  runctl --help
        """,
    "frobnicate": """\
        error[unknown-command]: no such command: frobnicate
          fix:    runctl --help
        """,
    "train.py --lr 1": """\
        error[unknown-command]: no such command: train.py
          fix:    runctl train train.py -- --lr 1
        """,
    "config shw --origin": """\
        error[unknown-command]: no such command: config shw
          fix:    runctl config show --origin
                  runctl config --help
        """,
    "train train.py --epochs 20": """\
        error[unknown-option]: no such option: --epochs
          why:  options of the script follow `--`
          fix:    runctl train train.py -- --epochs 20
        """,
    "--quiet train --detach train.py --epochs 20 --deps=skip -x 'a b' -- --more": """\
        error[unknown-option]: no such option: --epochs
          why:  options of the script follow `--`
          fix:    runctl train --detach train.py --deps=skip --quiet -- --epochs 20 -x 'a b' --more
        """,
    "train --epochs 20 train.py": """\
        error[unknown-option]: no such option: --epochs
          why:  options of the script follow `--`
          fix:    runctl train train.py -- --epochs 20
        """,
    "train train.py --dtach": """\
        error[unknown-option]: no such option: --dtach
          why:  options of the script follow `--`
          fix:    runctl train train.py --detach
                  runctl train train.py -- --dtach
        """,
    "train train.py data.csv": """\
        error[usage]: the command line cannot be understood
          why:  unexpected argument 'data.csv'; arguments of the script follow `--`
          fix:    runctl train train.py -- data.csv
        """,
    "train": """\
        error[usage]: the command line cannot be understood
          why:  missing: script
          fix:    runctl train --help
        """,
    "train x.py --deps bakground": """\
        error[usage]: the command line cannot be understood
          why:  --deps takes wait, background, skip, not 'bakground'; did you mean
                background?
          fix:    runctl train --help
        """,
    "explain --al": """\
        error[unknown-option]: no such option: --al
          fix:    runctl explain --help
        """,
    "explain --debg": """\
        error[unknown-option]: no such option: --debg
          fix:    runctl explain --debug
                  runctl explain --help
        """,
    "--jsn explain": """\
        error[unknown-option]: no such option: --jsn
          fix:  did you mean --json?
                  runctl --help
        """,
    "explain a b": """\
        error[usage]: the command line cannot be understood
          why:  unexpected argument 'b'
          fix:    runctl explain --help
        """,
    "explain -- x": """\
        error[usage]: the command line cannot be understood
          why:  `runctl explain` takes no arguments after --
          fix:    runctl explain
        """,
    "--color purple explain": """\
        error[usage]: the command line cannot be understood
          why:  --color needs one of auto, always, never, not 'purple'
          fix:    runctl --help
        """,
    "explain --log-file": """\
        error[usage]: the command line cannot be understood
          why:  --log-file needs a path
          fix:    runctl --help
        """,
    "explain no-such-cod": """\
        error[unknown-code]: no such error code: no-such-cod
          fix:    runctl explain
        """,
    "explain confirmaton-neded": """\
        error[unknown-code]: no such error code: confirmaton-neded
          fix:    runctl explain confirmation-needed
                  runctl explain
        """,
}


@pytest.mark.parametrize("line", list(ERRORS))
def test_a_wrong_line_is_answered_with_the_right_one(world: World, line: str) -> None:
    import shlex

    got = world.runctl(*shlex.split(line))
    said = "\n".join(row for row in got.err.splitlines() if not row.startswith(("  more:", "  at:"))) + "\n"
    assert (got.code, got.out, said) == (2, "", textwrap.dedent(ERRORS[line]))
    assert "Traceback" not in got.err


def test_every_suggested_line_is_one_runctl_takes(world: World) -> None:
    import shlex

    from runctl.cli.parsing import parse

    lines = [
        row.split("runctl ", 1)[1]
        for text in ERRORS.values()
        for row in text.splitlines()
        if "  runctl " in row
    ]
    for suggestion in lines:
        line = read(shlex.split(suggestion))
        if line.command in COMMANDS and "--help" not in line.words:
            assert line.problem is None
            parse(line)
    assert len(lines) > len(ERRORS) / 2


def test_under_json_an_error_is_one_object_on_stdout(world: World) -> None:
    for words in (["--json", "explian"], ["explian", "--json"], ["train", "x.py", "--json", "--epochs", "1"]):
        got = world.runctl(*words)
        (event,) = got.events()
        assert (got.code, got.err) == (2, "")
        assert (event["v"], event["kind"], event["error"]["exit_code"]) == (1, "error", 2)
        assert event["error"]["fix"][0].startswith("  runctl ")


def test_a_bug_is_shown_without_a_traceback_unless_asked(world: World) -> None:
    broken = world.root / "broken"
    broken.mkdir()
    # a module that shadows one of the standard library's: the nearest thing to a bug one can have from outside
    (broken / "string.py").write_text("raise ZeroDivisionError('made for the test')\n")
    path = os.pathsep.join(filter(None, (str(broken), world.env.get("PYTHONPATH"))))
    quiet = world.runctl("explain", PYTHONPATH=path)
    loud = world.runctl("explain", "--debug", PYTHONPATH=path)
    assert (quiet.code, quiet.out) == (70, "")
    assert quiet.err.startswith("error[bug]: runctl has a bug: ZeroDivisionError: made for the test\n")
    assert "Traceback" not in quiet.err
    assert loud.err.count("Traceback") >= 1
    assert "ZeroDivisionError" in loud.err.splitlines()[-1] or "bug" in loud.err.splitlines()[-1]


def test_a_reader_that_leaves_is_no_error(world: World) -> None:
    writer = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from runctl.cli.main import main; sys.exit(main(['explain', '--json']))",
        ],
        env=world.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=world.root,
    )
    assert writer.stdout is not None
    writer.stdout.close()  # before it has written anything
    _, err = writer.communicate(timeout=30)
    assert (writer.returncode, err) == (141, b"")


def test_explain_prints_a_page_or_the_list_or_json(world: World) -> None:
    page = world.runctl("explain", "unknown-option")
    assert page.out == textwrap.dedent("""\
        error[unknown-option]: no such option: OPTION

        runctl does not know the option. Options are never abbreviated. An option of your own script
        belongs behind `--`, and the error prints the line with the two kept apart. `runctl COMMAND
        --help` lists the options of a command.

        To fix it:
            runctl --help

        Exit status 2: The command line, the configuration or the project is wrong: the user acts.
        """)
    assert world.runctl("explain", "error[unknown-option]:").out == page.out
    listed = world.runctl("explain").out
    assert "unknown-option" in listed
    entries = json.loads(world.runctl("explain", "--json").out)
    assert [entry["code"] for entry in entries] == [row.split()[0] for row in listed.splitlines()]


def test_a_log_that_cannot_be_written_ends_the_command_before_it_starts(world: World) -> None:
    (world.root / "file").touch()
    got = world.runctl("explain", "--log-file", world.root / "file" / "x.log")
    assert (got.code, got.out) == (2, "")
    assert got.err.startswith("error[log-unwritable]")


@pytest.mark.parametrize(
    ("words", "own", "theirs"),
    [
        (["t.py", "--epochs", "20", "-d"], ["t.py", "-d"], ["--epochs", "20"]),
        (["--lr", "1", "t.py", "x"], ["t.py"], ["--lr", "1", "x"]),
        (["--max-hours", "2", "t.py", "--a=b"], ["--max-hours", "2", "t.py"], ["--a=b"]),
        (["--flag", "script", "data"], ["data"], ["--flag", "script"]),
        (["script", "-", "-5"], ["script"], ["-", "-5"]),
        (["t.py", "--deps=skip", "--verbos"], ["t.py", "--deps=skip"], ["--verbos"]),
    ],
)
def test_runctls_words_are_told_from_the_scripts(words: list[str], own: list[str], theirs: list[str]) -> None:
    assert split_script_args(words, parser_for("train").options()) == (own, theirs)


def test_global_options_are_taken_from_anywhere_but_behind_the_dashes() -> None:
    line = read(
        ["-qv", "train", "--json", "t.py", "--log-file=x", "--config", "c", "--", "--json", "--", "-q"]
    )
    assert line.globals == {"quiet": True, "verbose": True, "json": True, "log_file": "x", "config": "c"}
    assert (line.command, line.words, line.script_args) == ("train", ["t.py"], ["--json", "--", "-q"])
    assert line.global_words == ["-qv", "--json", "--log-file=x", "--config", "c"]


@pytest.mark.parametrize(
    "command", [("train",), ("resources",), ("aws", "terminate"), ("aws", "list"), ("exec",)]
)
def test_prose_below_a_help_page_keeps_to_the_terminal_and_examples_stay_whole(
    world: World, command: tuple[str, ...]
) -> None:
    page = world.runctl(*command, "--help", COLUMNS="80").out
    below = page.partition("read FILE in place of the project's own configuration\n")[2]
    prose = [line for line in below.splitlines() if line and not line.startswith(" ")]
    assert prose
    assert all(len(line) <= 80 for line in prose)
    assert ("examples:" in prose) == ("\nexamples:\n  runctl " in below)
