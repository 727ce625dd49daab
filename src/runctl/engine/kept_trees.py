"""The trees of recorded runs, each once: which file had which content. Small, compressed, deleted with the last run.

``<state folder>/trees/<tree digest>``: zlib over JSON ``{path: content}``; a link's content is ``-> TARGET``.
"""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

_MOST: Final = 20_000  # entries; a larger tree takes longer to keep than a start may wait


def keep(state_dir: Path, digest: str, entries: Iterable[Mapping[str, Any]]) -> None:
    """Keep a tree, unless it is kept or too large. What cannot be written is not kept: only ``diff`` misses it."""
    path = _place(state_dir, digest)
    listed = list(entries)
    if len(listed) > _MOST or path.exists():
        return
    found = {entry["path"]: _content(entry) for entry in listed}
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        part = path.with_name(f"{digest}.{os.getpid()}.tmp")
        part.write_bytes(zlib.compress(json.dumps(found, separators=(",", ":")).encode(), 1))
        part.replace(path)


def _content(entry: Mapping[str, Any]) -> str:
    if entry["type"] == "link":
        return f"-> {entry['target']}"
    return f"{entry.get('digest', '')}{' x' if entry.get('exec') else ''}"


def read(state_dir: Path, digest: str) -> dict[str, str] | None:
    """What every path of a tree is; None when it was not kept."""
    try:
        found: dict[str, str] = json.loads(zlib.decompress(_place(state_dir, digest).read_bytes()))
    except (OSError, ValueError, zlib.error):
        return None
    return found


def forget_all_but(state_dir: Path, digests: Collection[str]) -> None:
    """Delete the trees of no run. Safe to repeat."""
    with contextlib.suppress(OSError):
        for path in _place(state_dir, "").iterdir():
            if path.name not in digests and not path.name.endswith(".tmp"):
                path.unlink(missing_ok=True)


def _place(state_dir: Path, digest: str) -> Path:
    return state_dir / "trees" / digest
