"""Change one key of a configuration file and nothing else: comments, order, line ends and marks stay as they are."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runctl.core.catalogue import known
from runctl.project.config_file import PYPROJECT

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    import tomlkit

_BOM = "\ufeff"


def set_key(path: Path, key: str, value: Any) -> bool:
    """Write ``key = value`` into the file at ``path``, which is created when missing, folders too.

    The new text is parsed and compared before it takes the old one's place, atomically; safe to repeat. Gives
    whether the file changed.

    Raises:
        UsageError: ``config-invalid`` for a file that is no TOML, ``config-unwritable``.
    """
    document, text = _read(path)
    want = document.unwrap()
    keys = _keys(path, key)
    _descend(want, keys[:-1], path)[keys[-1]] = value
    _descend(document, keys[:-1], path, make_tables=True)[keys[-1]] = value
    return _write(path, document, text, want)


def unset_key(path: Path, key: str) -> bool:
    """Take ``key`` out of the file at ``path``; gives whether it was there. Raises as ``set_key``; safe to repeat."""
    if not path.is_file():
        return False
    document, text = _read(path)
    want = document.unwrap()
    keys = _keys(path, key)
    table: Any = want
    for name in keys[:-1]:
        table = table.get(name) if isinstance(table, dict) else None
    if not isinstance(table, dict) or keys[-1] not in table:
        return False
    del table[keys[-1]]
    del _descend(document, keys[:-1], path)[keys[-1]]
    return _write(path, document, text, want)


def _keys(path: Path, key: str) -> list[str]:
    """Where ``key`` stands in a file of this name; a variable of ``env`` is a key below its table."""
    return [*(("tool", "runctl") if path.name == PYPROJECT else ()), *key.split(".", 1)]


def _read(path: Path) -> tuple[tomlkit.TOMLDocument, str]:
    """The file as a document and as its text, an empty one when there is none."""
    import tomlkit  # noqa: PLC0415 - 50 ms, only to edit
    from tomlkit.exceptions import TOMLKitError  # noqa: PLC0415 - as above

    try:
        text = path.read_bytes().decode("utf-8") if path.exists() else ""
    except OSError as error:
        raise known(
            "config-unwritable", path=str(path), detail=f"it cannot be read: {error.strerror}"
        ) from error
    except UnicodeDecodeError as error:
        raise _not_toml(path, "is not UTF-8 text") from error
    try:
        return tomlkit.parse(text.removeprefix(_BOM).replace("\r\n", "\n")), text
    except (TOMLKitError, ValueError) as error:
        raise _not_toml(path, f"invalid TOML: {error}") from error


def _not_toml(path: Path, detail: str) -> Exception:
    return known("config-invalid", why=f"{path}: {detail}", count="1 problem")


def _descend(
    table: MutableMapping[str, Any], names: list[str], path: Path, *, make_tables: bool = False
) -> MutableMapping[str, Any]:
    """The table ``names`` below ``table``, made on the way where it is missing."""
    for index, name in enumerate(names):
        if name not in table:
            if make_tables:
                import tomlkit  # noqa: PLC0415 - loaded already

                table[name] = tomlkit.table(is_super_table=index < len(names) - 1)
            else:
                table[name] = {}
        below = table[name]
        if not hasattr(below, "items"):
            raise _not_toml(path, f'"{name}" is no table')
        table = below
    return table


def _write(path: Path, document: tomlkit.TOMLDocument, old: str, want: dict[str, Any]) -> bool:
    import tomllib  # noqa: PLC0415 - only to edit

    new = document.as_string()
    reads = _without_empty_tables(tomllib.loads(new))
    assert reads == _without_empty_tables(want), (
        "the edited file would not read as meant; it was left as it is"
    )
    if "\r\n" in old:
        new = new.replace("\n", "\r\n")
    if old.startswith(_BOM):
        new = _BOM + new
    if new == old:
        return False
    replace_text(path, new)
    return True


def _without_empty_tables(table: dict[str, Any]) -> dict[str, Any]:
    """Where the last dotted key of a table is removed, the table goes with it; it means the same."""
    left = {
        name: _without_empty_tables(value) if isinstance(value, dict) else value
        for name, value in table.items()
    }
    return {name: value for name, value in left.items() if value != {}}


def replace_text(path: Path, text: str) -> None:
    """Put ``text`` at ``path`` whole or not at all, keeping the file's mode; a link's target is what is replaced.

    Raises:
        UsageError: ``config-unwritable``; what was there is untouched then.
    """
    target = Path(os.path.realpath(path))
    temporary = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        mode = target.stat().st_mode & 0o7777 if target.exists() else 0o666 & ~_umask()
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(mode)
        Path(temporary).replace(target)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise known("config-unwritable", path=str(path), detail=error.strerror or str(error)) from error


def _umask() -> int:
    """The process's umask; the only way to read it is to set it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
