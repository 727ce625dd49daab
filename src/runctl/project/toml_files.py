"""Reads a TOML file of the project; a mistake in it becomes one clear error with its line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runctl.core.catalogue import known
from runctl.project.inline_metadata import toml_line

if TYPE_CHECKING:
    from pathlib import Path


def load_toml(root: Path, path: str) -> dict[str, Any]:
    """The tables of the file ``path`` (a project path). Raises ``pyproject-invalid`` with the line."""
    import tomllib  # noqa: PLC0415 - a project without such a file does not pay for it

    data = (root / path).read_bytes()
    try:
        text = data.decode("utf-8-sig")
        return tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise known("pyproject-invalid", path=path, line=line, detail="it is not UTF-8 text") from error
    except tomllib.TOMLDecodeError as error:
        raise known(
            "pyproject-invalid", path=path, line=toml_line(str(error), text), detail=str(error)
        ) from error
