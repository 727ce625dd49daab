"""The pages say what the code does, and the table of errors and the code know the same codes."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest

from docs import generate
from runctl.cli.commands import COMMANDS
from runctl.cli.parsing import parse, parser_for, read
from runctl.core import errors
from runctl.core.catalogue import CATALOGUE
from runctl.project.settings import OTHER_VARIABLES

SOURCES = sorted((Path(__file__).parents[2] / "src" / "runctl").rglob("*.py"))
RAISERS = (
    "known",
    "_known",
    "AgentFailure",
    "KnownFailure",
    "Passing",
)  # the calls whose first argument is a code
CODE = re.compile(r"[a-z]+(-[a-z0-9]+)*\Z")


def raised() -> set[str]:
    """Every code that is given as a literal to a call that makes an error."""
    found = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and node.args:
                name = (
                    node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                )
                first = node.args[0]
                if name in RAISERS and isinstance(first, ast.Constant) and isinstance(first.value, str):
                    found.add(first.value)
    return found


def mentioned() -> set[str]:
    """Every quoted word in the code outside of the table: tables of translations and conditions hold codes too."""
    text = "\n".join(path.read_text() for path in SOURCES if path.name != "catalogue.py")
    return set(re.findall(r"\"([a-z0-9-]+)\"", text))


def test_the_pages_are_fresh() -> None:
    assert [path.name for path in generate.stale()] == [], "run: make docs"


def test_every_code_that_is_raised_is_in_the_table() -> None:
    assert sorted(raised() - set(CATALOGUE)) == []
    assert len(raised()) > 20


def test_every_code_in_the_table_is_raised_somewhere() -> None:
    assert (
        sorted(set(CATALOGUE) - mentioned() - {"cancelled"}) == []
    )  # core.errors.Cancelled raises that one itself


@pytest.mark.parametrize("code", sorted(CATALOGUE))
def test_an_entry_is_complete(code: str) -> None:
    entry = CATALOGUE[code]
    assert CODE.match(code)
    assert entry.family in errors.RunctlError.__subclasses__()
    assert entry.what
    assert "\n" not in entry.what
    assert not entry.what.endswith(".")
    sentences = re.findall(r"[.?!](?:\s|\Z)", entry.explain)
    assert 1 <= len(sentences) <= 7
    assert entry.fix or code == "cancelled"


@pytest.mark.parametrize("code", sorted(CATALOGUE))
def test_the_commands_of_a_fix_are_ones_runctl_takes(code: str) -> None:
    facts = {name: "1" for line in CATALOGUE[code].fix for name in re.findall(r"{(\w+)", line)}
    for line in CATALOGUE[code].fix:
        command = line.format_map(facts).strip()
        if line.startswith("  ") and command.startswith("runctl "):
            _assert_taken(shlex.split(command)[1:])
    for quoted in re.findall(r"`runctl ([^`]*)`", CATALOGUE[code].explain):
        name = quoted.split()[0] if quoted.split() else ""
        assert name in COMMANDS or name == "COMMAND" or name.startswith("-"), quoted


def _assert_taken(words: list[str]) -> None:
    line = read(words)
    assert line.problem is None
    if line.command is None or line.command.startswith("-"):
        assert words in (["--help"], ["--version"])
        return
    assert line.command in COMMANDS, words
    if "--help" in line.words:
        assert not parser_for(line.command).subcommands() or line.words[0] in (
            "--help",
            *parser_for(line.command).subcommands(),
        )
        return
    parse(line)


def test_every_variable_has_its_words() -> None:
    assert set(generate.VARIABLES) == set(OTHER_VARIABLES)


def test_every_anchor_in_a_table_leads_to_a_heading() -> None:
    for path, text in generate.pages().items():
        headings = {
            generate._anchor(line.lstrip("#").strip()) for line in text.splitlines() if line.startswith("#")
        }
        for target in re.findall(r"\]\(#([^)]*)\)", text):
            assert target in headings, (path.name, target)
