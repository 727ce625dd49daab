"""Uploads of this computer that were cut off and that nobody went on with: their parts are billed until somebody does."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from runctl.s3.continuing import noted

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from runctl.api.runtime import Runtime


class Unfinished(NamedTuple):
    """An upload of ``key`` to ``url``, not touched ``since`` (seconds since the epoch)."""

    url: str
    key: str
    since: float
    notes: Path

    @property
    def address(self) -> str:
        """Where its object would be."""
        return f"{self.url}/{self.key}"


def uploads_folder(rt: Runtime) -> Path:
    """Where it is noted what is under way."""
    return rt.state_dir / "uploads"


def unfinished_uploads(rt: Runtime, below: str = "") -> list[Unfinished]:
    """Those at ``below`` or in it as in a folder, the oldest first. Reads only; what goes on now is not among them."""
    found = []
    folder = uploads_folder(rt)
    for path in folder.iterdir() if folder.is_dir() else ():
        try:
            since, to = path.stat().st_mtime, noted(str(path))
        except OSError:
            continue  # it has just ended
        if to is not None:
            found.append(Unfinished(*to, since, path))
    top = below.rstrip("/")
    inside = (each for each in found if not top or each.address == top or each.address.startswith(top + "/"))
    return sorted(inside, key=lambda each: each.since)


def give_up_uploads(rt: Runtime, uploads: Iterable[Unfinished]) -> None:
    """Delete the parts of each in its bucket. Safe to repeat."""
    for each in uploads:
        rt.store(each.url).give_up(each.key, each.notes, rt.cancel)
