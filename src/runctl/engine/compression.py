"""How contents are compressed on their way: by what the other side knows, and as strongly as the line leaves time for."""

from __future__ import annotations

import threading
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_SLOW: Final = 3.0  # sending takes so many times as long as compressing: there is time to compress more
_FAST: Final = 1.0  # and here there is not


@dataclass(frozen=True)
class Codec:
    """A way to compress. ``letter`` says it in a block; ``levels`` from the fastest to the strongest worth having."""

    letter: bytes
    compress: Callable[[bytes, int], bytes]
    levels: tuple[int, ...]


ZLIB: Final = Codec(b"Z", zlib.compress, (1, 3, 6))


def best(*, zstd: bool) -> Codec:
    """What to use for a machine that knows Zstandard, or does not. This side may not have it either."""
    found = _zstd() if zstd else None
    return found or ZLIB


def _zstd() -> Codec | None:
    try:
        from compression.zstd import compress  # noqa: PLC0415 - from Python 3.14 on
    except ImportError:
        try:
            from backports.zstd import compress  # noqa: PLC0415
        except ImportError:
            return None
    return Codec(b"S", compress, (1, 3, 6, 9, 12))


class Pace:
    """Which level to use now: as much time goes into compressing as the line gives. Safe from several threads."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self._at = 1
        self._lock = threading.Lock()

    def pack(self, raw: bytes) -> bytes:
        """``raw``, compressed."""
        return self.codec.compress(raw, self.codec.levels[self._at])

    def took(self, *, compressing: float, sending: float) -> None:
        """Hear how long both took for the same bytes, in seconds, and go up or down a level."""
        with self._lock:
            if sending > compressing * _SLOW:
                self._at = min(self._at + 1, len(self.codec.levels) - 1)
            elif sending < compressing * _FAST:
                self._at = max(self._at - 1, 0)
