"""The answers that are asked thousands of times import next to nothing."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import World

LIGHTEST = {"__future__", "runctl", "runctl.cli", "runctl.cli.main", "runctl.cli.commands"}


def imported(world: World, *words: str) -> set[str]:
    """The modules that ``python -m runctl`` loads for ``words`` and a bare interpreter started the same way does not."""

    def modules(*argv: str) -> set[str]:
        done = subprocess.run(
            [sys.executable, "-X", "importtime", *argv],
            env=world.env,
            cwd=world.root,
            capture_output=True,
            text=True,
            check=True,
        )
        return {
            line.rpartition("|")[2].strip()
            for line in done.stderr.splitlines()
            if line.startswith("import time:")
        }

    empty = world.root / "empty.py"
    empty.write_text("")
    return modules("-m", "runctl", *words) - modules("-m", "empty")


@pytest.mark.parametrize("words", [("--help",), ("-h",), ("help",), ()])
def test_the_root_help_loads_the_table_of_commands_alone(world: World, words: tuple[str, ...]) -> None:
    assert imported(world, *words) <= LIGHTEST


def test_the_version_loads_the_number_besides(world: World) -> None:
    assert imported(world, "--version") <= LIGHTEST | {"runctl.version"}


def test_an_ordinary_command_loads_no_terminal_library_and_no_engine(world: World) -> None:
    loaded = imported(world, "explain", "usage")
    assert not {
        name
        for name in loaded
        if name.split(".")[0] in ("rich", "tomlkit", "pathspec", "argcomplete", "tomllib")
    }
    assert not {name for name in loaded if name.startswith(("runctl.engine", "runctl.api", "runctl.views"))}
    assert not loaded & {"difflib", "subprocess", "socket", "sqlite3", "tempfile", "asyncio", "logging"}
