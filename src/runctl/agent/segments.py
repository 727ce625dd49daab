"""A growing file in the store: pieces of 1 MiB named by the offset of their first byte, the last one still growing."""

from __future__ import annotations

from runctl.agent.failure import AgentFailure
from runctl.agent.home import size_of

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from runctl.agent.store import Store

SEGMENT = 1 << 20  # bytes


class Segments:
    """Keeps the objects below ``prefix`` equal to the file at ``path``, byte for byte, as it grows.

    Segments are written one after the other: at every moment there is no gap, and all but the last are whole.
    What is in the store already is asked once, so another process may go on where one was killed. A file that became
    shorter was emptied by somebody: what the store has stays, and what the file gets from then on is added behind.
    """

    def __init__(self, store: Store, prefix: str, path: str) -> None:
        self._store, self._prefix, self._path = store, prefix, path
        self._stored = -1  # bytes in the store; -1: not asked yet
        self._shift = 0  # where in the store the file's first byte is

    def store(self) -> bool:
        """Store what is new up to now; whether there was anything. Safe to repeat.

        Raises:
            AgentFailure: the store; what it has got by then is not sent again.
        """
        size = size_of(self._path)
        if self._stored < 0:
            if not size:
                return False
            self._stored = self._found()
        if self._shift + size < self._stored:
            self._shift = self._stored
        end = self._shift + size
        if end == self._stored:
            return False
        while self._stored < end:
            first = self._stored - self._stored % SEGMENT
            length = min(SEGMENT, end - first)
            self._put(first, length)
            self._stored = first + length
        return True

    def _put(self, offset: int, length: int) -> None:
        """Write one segment; its beginning may be known only to the store, when the file was emptied meanwhile."""
        key = "%s%016d" % (self._prefix, offset)
        kept = b"" if offset >= self._shift else self._store.get(key, length=self._shift - offset)
        with open(self._path, "rb") as file:
            file.seek(max(offset - self._shift, 0))
            data = file.read(length - len(kept))
        if len(kept) + len(data) != length:
            raise AgentFailure("store-file-changed", detail="%s became shorter" % self._path)
        self._store.put(key, kept + data if kept else data)

    def _found(self) -> int:
        """How many bytes the store has: they were written in order, so the last segment tells."""
        end = 0
        for each in self._store.list(self._prefix):
            end = int(each.key[len(self._prefix) :]) + each.size
        return end
