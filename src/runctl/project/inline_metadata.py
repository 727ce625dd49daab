"""Inline script metadata (PEP 723): the comment block in a script that names what it needs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from runctl.core.catalogue import known

# The reference expression of PEP 723.
_BLOCK: Final = re.compile(r"(?m)^# /// (?P<type>[a-zA-Z0-9-]+)$\s(?P<content>(^#(| .*)$\s)+)^# ///$")
_OPENING: Final = re.compile(r"(?m)^# /// script[ \t]*$")


@dataclass(frozen=True)
class ScriptBlock:
    """A ``script`` block: the line its marker stands on, its TOML text, and what that says."""

    line: int
    text: str
    table: dict[str, Any]


def read(source: str, *, script: str) -> ScriptBlock | None:
    """The ``script`` block of a source text, None when there is none. Line ends may be of any kind.

    Raises:
        UsageError: ``script-metadata-invalid`` with the line: two blocks, one that does not end, no TOML, or a
            value of the wrong type.
    """
    text = source.replace("\r\n", "\n").replace("\r", "\n") + "\n"
    found = [match for match in _BLOCK.finditer(text) if match["type"] == "script"]
    if len(found) > 1:
        line = _line(text, found[1].start())
        raise _invalid(
            script,
            line,
            f"there is a second block; the first one begins on line {_line(text, found[0].start())}",
        )
    if not found:
        opening = _OPENING.search(text)
        if opening is None:
            return None
        detail = 'the block never ends: after lines that begin with "#", a line "# ///" has to follow'
        raise _invalid(script, _line(text, opening.start()), detail)
    begin = _line(text, found[0].start())
    content = "".join(
        line[2:] if line.startswith("# ") else line[1:]
        for line in found[0]["content"].splitlines(keepends=True)
    )
    return ScriptBlock(begin, content, _table(content, script=script, begin=begin))


def _table(content: str, *, script: str, begin: int) -> dict[str, Any]:
    import tomllib  # noqa: PLC0415 - only for a script that has a block

    try:
        table = tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        raise _invalid(script, begin + toml_line(str(error), content), str(error)) from error
    dependencies = table.get("dependencies", [])
    if not isinstance(dependencies, list) or not all(isinstance(item, str) for item in dependencies):
        raise _invalid(script, begin, 'dependencies has to be a list of texts, such as ["numpy>=2"]')
    if not isinstance(table.get("requires-python", ""), str):
        raise _invalid(script, begin, 'requires-python has to be a text, such as ">=3.11"')
    return table


def toml_line(message: str, text: str) -> int:
    """The line a TOML parser's message speaks of; the last one when it speaks of the end."""
    found = re.search(r"at line (\d+)", message)
    return int(found[1]) if found else max(1, text.count("\n"))


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def _invalid(script: str, line: int, detail: str) -> Exception:
    return known("script-metadata-invalid", script=script, line=line, detail=detail)
