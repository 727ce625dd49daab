"""What a terminal shows of a command, and answers given to its questions."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pexpect
from tests.conftest import World

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def on_terminal(
    world: World, *words: str, answers: Sequence[str] = (), columns: int = 80, **env: str
) -> tuple[str, int]:
    """Everything a terminal is sent, as it is, and the status; each answer is typed at a ``[y/N]``."""
    program, *rest = world.argv(*words)
    child = pexpect.spawn(
        program, rest, env={**world.env, **env}, dimensions=(60, columns), encoding="utf-8", timeout=60
    )
    seen = ""
    for answer in answers:
        child.expect_exact("[y/N] ")
        seen += str(child.before) + str(child.after)
        child.sendline(answer)
    child.expect(pexpect.EOF)
    child.close()
    return seen + str(child.before), int(child.exitstatus or 0)


def plain(sent: str) -> str:
    """The text in what was sent, drawn over or not: without escape sequences and carriage returns."""
    return ESCAPES.sub("", sent).replace("\r", "")
