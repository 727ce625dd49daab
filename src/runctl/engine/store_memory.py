"""What this computer knows of a store: the last whole tree of a project there, and the packs sent since.

It saves questions, and the sending again of what a killed client had sent; it is never believed without asking the store
whether the objects are there. ``$XDG_CACHE_HOME/runctl/stores/<hash of the store>/<hash of the project>/``: ``base``, a
tree object, and ``packs``, one line of JSON for each pack. Anything that cannot be read
counts as nothing known.
"""

from __future__ import annotations

import contextlib
import json
import os
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from runctl.engine import tree_object
from runctl.engine.tree_object import Block
from runctl.project import sealed
from runctl.project.places import cache_dir

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runctl.engine.tree_object import TreeObject

_KIND: Final = "base 1"


class StoreMemory:
    """The memory of one project and one store. Reading creates nothing; may be used side by side."""

    def __init__(self, url: str, root: str, *, env: Mapping[str, str]) -> None:
        names = (sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32] for text in (url, root))
        self._folder = cache_dir(env).joinpath("stores", *names)

    def base(self) -> TreeObject | None:
        """The last whole tree that was sent."""
        data = sealed.read(self._folder / "base", _KIND)
        return None if data is None else tree_object.decode(data)

    def packs(self) -> list[Block]:
        """The blocks of the packs that were sent since."""
        try:
            lines = (self._folder / "packs").read_bytes().split(b"\n")
        except OSError:
            return []
        found = []
        for line in lines:
            with contextlib.suppress(ValueError, TypeError):  # the end of a line whose writer was killed
                name, blocks = json.loads(line)
                found += [Block(name, offset, length, tuple(pieces)) for offset, length, pieces in blocks]
        return found

    def add_pack(self, name: str, blocks: Sequence[Block]) -> None:
        """Note a pack that is in the store now. What cannot be written is not noted: that costs time, not a run."""
        rows = [[block.offset, block.length, block.pieces] for block in blocks]
        line = json.dumps([name, rows], separators=(",", ":")).encode()
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            place = os.open(
                self._folder / "packs", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
            )
            try:
                os.write(
                    place, b"\n" + line + b"\n"
                )  # one write: side by side with others, and behind a torn line
            finally:
                os.close(place)

    def set_base(self, data: bytes) -> None:
        """Note a whole tree that is in the store now; the packs before it are in it."""
        with contextlib.suppress(OSError):
            sealed.write(self._folder / "base", _KIND, data)
            (self._folder / "packs").unlink(missing_ok=True)

    def forget(self) -> None:
        """Know nothing any more: the store turned out to lack something."""
        for name in ("base", "packs"):
            with contextlib.suppress(OSError):
                (self._folder / name).unlink(missing_ok=True)
