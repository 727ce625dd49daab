"""What a shell gets at Tab, through argcomplete's own protocol and through a real bash."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from runctl.cli.commands import COMMANDS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import World


def tab(world: World, line: str, *, cwd: Path | None = None) -> list[str]:
    """The words offered at the end of ``line``."""
    answer = world.root / "answer"
    answer.unlink(missing_ok=True)
    env = {
        **world.env,
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
    }
    done = subprocess.run(
        [sys.executable, "-m", "runctl"],
        env=env,
        cwd=cwd or world.root,
        capture_output=True,
        check=False,
        timeout=30,
    )
    assert (done.stdout, done.stderr) == (b"", b"")
    return [word.strip() for word in answer.read_text().split("\n") if word.strip()]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("runctl co", ["config", "completion"]),
        ("runctl --col", ["--color"]),
        ("runctl --color ", ["auto", "always", "never"]),
        ("runctl config s", ["show", "set"]),
        ("runctl --json config g", ["get"]),
        ("runctl config set ui.c", ["ui.color"]),
        ("runctl config set ui.color a", ["auto", "always"]),
        ("runctl config set share ", ["true", "false"]),
        ("runctl config set deps wait --u", ["--user"]),
        ("runctl train t.py --deps ", ["wait", "background", "skip"]),
        ("runctl train t.py --det", ["--detach"]),
        ("runctl train t.py --on lo", ["local"]),
        ("runctl explain confirmation", ["confirmation-needed"]),
        ("runctl completion z", ["zsh"]),
    ],
)
def test_commands_options_choices_keys_and_codes_are_offered(
    world: World, line: str, words: list[str]
) -> None:
    assert tab(world, line) == words


def test_all_commands_are_offered_at_the_start(world: World) -> None:
    assert set(tab(world, "runctl ")) >= set(COMMANDS)


def test_files_are_left_to_the_shell_and_nothing_is_written(world: World) -> None:
    project = world.project({"train.py": "", "data/x.csv": ""})
    assert "train.py" in tab(world, "runctl train tr", cwd=project)
    assert tab(world, "runctl show ") == []
    assert not (world.home / ".local").exists()


def test_names_of_runs_are_offered(world: World) -> None:
    from runctl.core.model import Run, RunState
    from runctl.engine.index import Index
    from runctl.project.places import state_dir

    with Index(state_dir(world.env)) as index:
        for name in ("brave-otter-7k2m", "calm-heron-1a2b"):
            index.add(
                Run(id=f"id-{name}", name=name, state=RunState.ENDED, created_at="2026-01-01T00:00:00Z")
            )
    assert tab(world, "runctl show br") == ["brave-otter-7k2m"]
    assert sorted(tab(world, "runctl logs ")) == ["brave-otter-7k2m", "calm-heron-1a2b"]
    assert tab(world, "runctl train t.py --resume ca") == ["calm-heron-1a2b"]


def test_a_broken_configuration_does_not_break_the_prompt(world: World) -> None:
    project = world.project({".runctl.toml": "= 1\n"})
    assert tab(world, "runctl conf", cwd=project) == ["config"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell_is_one_it_can_read(world: World, shell: str) -> None:
    got = world.runctl("completion", shell)
    assert (got.code, got.err) == (0, "")
    assert "runctl" in got.out
    program = shutil.which(shell)
    if program:
        checked = subprocess.run([program, "-n"], input=got.out, text=True, capture_output=True, check=False)
        assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here to press Tab in")
def test_bash_completes_after_loading_the_script(world: World) -> None:
    bin_dir = world.root / "bin"
    bin_dir.mkdir()
    (bin_dir / "runctl").write_text(f'#!/bin/sh\nexec {sys.executable} -m runctl "$@"\n')
    (bin_dir / "runctl").chmod(0o755)
    script = (
        'eval "$(runctl completion bash)"\n'
        "complete -p runctl\n"
        'COMP_LINE="runctl config val"; COMP_POINT=${#COMP_LINE}; COMP_WORDS=(runctl config val); COMP_CWORD=2; COMP_TYPE=9\n'
        '_python_argcomplete runctl val config; echo "got: ${COMPREPLY[*]}"\n'
    )
    env = {**world.env, "PATH": f"{bin_dir}{os.pathsep}{world.env['PATH']}"}
    done = subprocess.run(
        ["bash", "--norc", "-c", script], env=env, cwd=world.root, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1].split() == ["got:", "validate"]
