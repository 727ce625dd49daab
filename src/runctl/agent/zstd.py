"""Zstandard, where this machine has it: Python 3.14 does, and nearly every Linux has the library itself."""

from __future__ import annotations

from functools import lru_cache

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Optional

    Decompress = Callable[[bytes, int], bytes]

LIBRARIES = ("libzstd.so.1", "libzstd.1.dylib")
UNKNOWN, BROKEN = (1 << 64) - 1, (1 << 64) - 2  # what the library says of a frame without a size, and of none


@lru_cache(maxsize=1)
def decompressor() -> Optional[Decompress]:
    """A function of (one frame, the most bytes it may hold); None where there is no Zstandard.

    The function raises ``ValueError`` for what is no frame, holds more, or does not say how much.
    """
    return _of_python() or _of_library()


def _of_python() -> Optional[Decompress]:
    try:
        from compression import zstd  # novm # noqa: PLC0415 - from Python 3.14 on
    except ImportError:
        return None

    def decompress(data: bytes, limit: int) -> bytes:
        if zstd.get_frame_info(data).decompressed_size is None:
            raise ValueError("a frame that does not say how large it is")
        if zstd.get_frame_info(data).decompressed_size > limit:
            raise ValueError("larger than it may be")
        try:
            found: bytes = zstd.decompress(data)
        except zstd.ZstdError as error:
            raise ValueError(str(error)) from error
        return found

    return decompress


def _of_library() -> Optional[Decompress]:
    try:
        import ctypes  # noqa: PLC0415 - for this alone
    except ImportError:
        return None
    for name in LIBRARIES:
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        break
    else:
        return None
    size_of, unpack, wrong = library.ZSTD_getFrameContentSize, library.ZSTD_decompress, library.ZSTD_isError
    size_of.argtypes, size_of.restype = [ctypes.c_char_p, ctypes.c_size_t], ctypes.c_ulonglong
    unpack.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]
    unpack.restype = ctypes.c_size_t
    wrong.argtypes, wrong.restype = [ctypes.c_size_t], ctypes.c_uint

    def decompress(data: bytes, limit: int) -> bytes:
        size = size_of(data, len(data))
        if size in (UNKNOWN, BROKEN) or size > limit:
            raise ValueError("no frame, or larger than it may be")
        out = ctypes.create_string_buffer(max(1, size))
        done = unpack(out, size, data, len(data))
        if wrong(done) or done != size:
            raise ValueError("a broken frame")
        return out.raw[:size]

    return decompress
