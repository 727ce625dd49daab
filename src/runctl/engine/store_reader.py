"""Reads a run from its store, by offset, while its machine writes it and after the machine is gone.

Output and events lie there in segments, each named by the offset of its first byte. The last one grows until it holds
``SEGMENT`` bytes, then the next begins: where it begins follows from the length of the one before, so nothing has to
be listed to go on reading.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from runctl.core.errors import RunctlError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runctl.core.cancel import CancelToken
    from runctl.core.ports import Store

SEGMENT = 1 << 20  # bytes at which the machine begins a new segment
OUTPUT, EVENTS = "output", "events"


def missing(error: RunctlError) -> bool:
    """Whether a store said that there is no such object."""
    return error.code == "store-missing"


class StoreReader:
    """One attempt of a run, as its store has it."""

    def __init__(self, store: Store, run_id: str, attempt: int) -> None:
        self.store = store
        self.prefix = f"runs/{run_id}/{attempt}"
        self._begin = {OUTPUT: 0, EVENTS: 0}  # of the segment read last

    def json(self, name: str, cancel: CancelToken) -> dict[str, Any] | None:
        """The object ``name`` (``status.json``, ``heartbeat.json``, ...); None where the machine has not written it yet."""
        try:
            value: dict[str, Any] = json.loads(self.store.get(f"{self.prefix}/{name}", cancel=cancel))
        except RunctlError as error:
            if missing(error):
                return None
            raise
        return value

    def last_seen(self, cancel: CancelToken) -> str | None:
        """When the machine last gave a sign of life, by its own clock; None where it never did."""
        beat = self.json("heartbeat.json", cancel)
        return None if beat is None else str(beat["at"])

    def read(self, stream: str, offset: int, cancel: CancelToken) -> Iterator[tuple[int, bytes]]:
        """What there is of ``stream`` from ``offset`` on, in order, as ``(offset, bytes)``; nothing when that is all.

        Safe to repeat. A segment that is being replaced is seen as it was or as it is: it only grows.
        """
        begin = self._begin[stream] if self._begin[stream] <= offset else self._find(stream, offset, cancel)
        while True:
            try:
                data = self.store.get(self._key(stream, begin), start=offset - begin, cancel=cancel)
            except RunctlError as error:
                if missing(error):
                    return
                raise
            self._begin[stream] = begin
            if data:
                yield offset, data
            offset += len(data)
            if offset - begin < SEGMENT:
                return
            begin = offset  # this one is whole; the next begins where it ends

    def length(self, stream: str, cancel: CancelToken) -> int:
        """How many bytes of ``stream`` there are."""
        return max((begin + size for begin, size in self._segments(stream, cancel)), default=0)

    def _find(self, stream: str, offset: int, cancel: CancelToken) -> int:
        """Where the segment begins that holds ``offset``."""
        return max((begin for begin, _ in self._segments(stream, cancel) if begin <= offset), default=0)

    def _segments(self, stream: str, cancel: CancelToken) -> Iterator[tuple[int, int]]:
        for stored in self.store.list(f"{self.prefix}/{stream}/", cancel=cancel):
            name = stored.key.rpartition("/")[2]
            if name.isdigit():
                yield int(name), stored.size

    def _key(self, stream: str, begin: int) -> str:
        return f"{self.prefix}/{stream}/{begin:016d}"


def tail_offset(reader: StoreReader, lines: int, cancel: CancelToken) -> int:
    """Where the last ``lines`` lines of the output begin; its end for 0."""
    end = reader.length(OUTPUT, cancel)
    start, data = end, b""
    while start and lines and data.rstrip(b"\n").count(b"\n") < lines:
        start = max(0, start - SEGMENT)
        data = b"".join(chunk for _, chunk in reader.read(OUTPUT, start, cancel))[: end - start]
    if not lines:
        return end
    at = len(data.rstrip(b"\n"))
    for _ in range(lines):
        at = data.rfind(b"\n", 0, at)
        if at < 0:
            return start
    return start + at + 1
