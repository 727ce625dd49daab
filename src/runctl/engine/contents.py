"""What of a snapshot has to travel, cut into pieces, and reading them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runctl.engine.packs import Piece
from runctl.engine.tree_object import PIECE, pieces_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from runctl.core.cancel import CancelToken
    from runctl.engine.steps import Step
    from runctl.project.snapshot import Snapshot


class Contents:
    """The contents of ``snapshot``. ``recipes`` name the pieces of each file that is larger than one, as far as known."""

    def __init__(self, snapshot: Snapshot, recipes: Mapping[str, tuple[str, ...]]) -> None:
        self._snapshot = snapshot
        self.recipes = dict(recipes)

    def learn(self, entries: Iterable[Mapping[str, Any]], cancel: CancelToken, doing: Step) -> None:
        """Find the pieces of the large files whose pieces nobody knows yet; each is read once.

        Raises:
            UsageError: ``file-changed``.
        """
        for digest, entry in by_content(entries).items():
            if entry["size"] > PIECE and digest not in self.recipes:
                doing.progress(0, None, unit="bytes", item=entry["path"])
                self.recipes[digest] = self._snapshot.pieces(digest, PIECE, cancel)

    def lacking(self, entries: Iterable[Mapping[str, Any]], there: set[str]) -> Iterator[Piece]:
        """The pieces of ``entries`` that are not ``there``, each once, in the order of paths; they count as there then."""
        for digest, entry in by_content(entries).items():
            for number, piece in enumerate(pieces_of(entry, self.recipes)):
                if piece not in there:
                    there.add(piece)
                    start = number * PIECE
                    yield Piece(piece, min(PIECE, entry["size"] - start), digest, start)

    def read(self, piece: Piece) -> bytes:
        """The bytes of a piece, verified. Raises ``UsageError``: ``file-changed``. Safe from several threads."""
        return self._snapshot.read_part(piece.file, piece.start, piece.size, expected=piece.digest)

    def path(self, piece: Piece) -> str:
        """A file that the piece is part of."""
        return self._snapshot.sources[piece.file].path


def by_content(entries: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Each content of a tree once, under its first path, in the order of paths."""
    found: dict[str, Mapping[str, Any]] = {}
    for entry in entries:
        if entry["type"] == "file":
            found.setdefault(entry["digest"], entry)
    return found
