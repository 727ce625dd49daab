"""Contents that arrive in pieces, in any order and from anywhere, are verified and kept as blobs."""

from __future__ import annotations

import threading
from hashlib import sha256

from runctl.agent import blobs
from runctl.agent.large import LargeFile
from runctl.agent.tree_object import PIECE, unpacked

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from runctl.agent.home import Home

    Progress = Callable[[int, int], None]


class Placing:
    """What of some entries is missing here, and where a piece of it belongs. To be used with ``with``.

    ``files`` and ``content`` say how many contents are missing, and their bytes. ``progress`` is told bytes that are
    here, and are missing at all.
    """

    def __init__(
        self,
        entries: Iterable[Mapping[str, Any]],
        recipes: Mapping[str, Sequence[str]],
        *,
        home: Home,
        progress: Progress,
    ) -> None:
        lacking = {
            entry["digest"]: entry["size"]
            for entry in entries
            if entry["type"] == "file" and not blobs.is_here(entry["digest"], home=home)
        }
        self.files = len(lacking)
        self.content = sum(lacking.values())
        self._home = home
        self._progress = progress
        self._lock = threading.Lock()
        self._done = 0
        self._small = {digest for digest, size in lacking.items() if size <= PIECE}
        self._large = [
            LargeFile(digest, size, list(recipes[digest]), home=home)
            for digest, size in lacking.items()
            if size > PIECE
        ]
        self._places: dict[str, list[LargeFile]] = {}
        self.arrived: Callable[[str, bytes], None] = _nobody  # told each whole content that is not large

    def __enter__(self) -> Placing:  # noqa: PYI034 - Self is newer than Python 3.8
        try:
            for file in self._large:
                self._tell(file.begin())
                for piece in file.lacking:
                    self._places.setdefault(piece, []).append(file)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._large:
            file.close()

    def lacking(self) -> set[str]:
        """The pieces that have to be brought."""
        return self._small | set(self._places)

    def place(self, pieces: Sequence[str], block: bytes) -> None:
        """Keep what a block brings of what is missing. Safe from several threads, and to repeat.

        Raises:
            ValueError: a piece is not what its name says.
        """
        for piece, content in zip(pieces, unpacked(block)):
            if piece not in self._small and piece not in self._places:
                continue
            found = sha256(content).hexdigest()
            if found != piece:
                raise ValueError(found)
            if piece in self._small:
                blobs.keep(piece, content, home=self._home)
                self.arrived(piece, content)
                self._tell(len(content))
            for file in self._places.get(piece, ()):
                self._tell(file.put(piece, content))

    def finish(self) -> set[str]:
        """Everything has come: put the large files in their place; which ones. Raises ``AgentFailure``: ``blob-corrupt``."""
        for file in self._large:
            file.finish()
        return {file.digest for file in self._large}

    def _tell(self, count: int) -> None:
        with self._lock:
            self._done += count
            self._progress(self._done, self.content)


def _nobody(_digest: str, _content: bytes) -> None:
    """Nobody wants to know."""
