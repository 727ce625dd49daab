"""Zip archives, read strictly: what torch.save and numpy.savez write, and nothing a lenient reader would forgive.

The end record must be the last bytes of the file, the central directory must lie right before it, and every entry
must lie before the central directory without touching another. A file cut anywhere, an archive inside an archive and
a zip bomb made of overlapping entries therefore never pass. ``zipfile`` forgives all three.
"""

from __future__ import annotations

import struct
import zlib
from typing import Dict, Iterator, List, NamedTuple, Tuple

from runctl.formats.base import Rejected, Window

STORED, DEFLATED = 0, 8
MAX_DIRECTORY = 128 << 20  # bytes; a million entries of ordinary names
MAX_COMMENT = 0xFFFF  # the field is 16 bits wide
CHUNK = 1 << 20

_END = struct.Struct("<4sHHHHIIH")
_END64_LOCATOR = struct.Struct("<4sIQI")
_END64 = struct.Struct("<4sQHHIIQQQQ")
_CENTRAL = struct.Struct("<4sHHHHHHIIIHHHHHII")
_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_MAX = 0xFFFFFFFF  # "see the 64-bit record"
MAGIC = b"PK\x03\x04"


class Entry(NamedTuple):
    """One entry as the central directory states it."""

    name: str
    method: int
    crc: int
    stored: int  # bytes in the archive
    size: int  # bytes after decompression
    header: int  # offset of its local header


class Archive:
    """The entries of a complete archive by name. Raises ``Rejected`` for one that is not complete."""

    def __init__(self, window: Window) -> None:
        self._window = window
        start, size, count = _directory(window)
        self.entries = _entries(window, start, size, count)
        self._data = _data_offsets(window, list(self.entries.values()), start)

    def part(self, name: str) -> Window:
        """The bytes of a stored (not compressed) entry."""
        entry = self.entries[name]
        if entry.method != STORED:
            raise Rejected(f"entry {name} is compressed where its format stores")
        return self._window.part(self._data[name], entry.stored)

    def head(self, name: str, length: int) -> bytes:
        """At most the first ``length`` bytes of an entry, decompressed."""
        for chunk in self._chunks(name, limit=length):
            return chunk[:length]
        return b""

    def read(self, name: str, *, limit: int) -> bytes:
        """A whole entry. Raises ``Rejected`` when it states more than ``limit`` bytes."""
        if self.entries[name].size > limit:
            raise Rejected(f"entry {name} is larger than the {limit} bytes that are looked at")
        return b"".join(self._chunks(name))

    def verify(self) -> None:
        """Decompress every entry and compare its checksum and size; memory stays at a chunk. Raises ``Rejected``."""
        for name, entry in self.entries.items():
            crc = size = 0
            for chunk in self._chunks(name):
                crc = zlib.crc32(chunk, crc)
                size += len(chunk)
            if size != entry.size:
                raise Rejected(f"entry {name} holds {size} bytes and not the {entry.size} it states")
            if crc != entry.crc:
                raise Rejected(f"entry {name} does not match its checksum")

    def _chunks(self, name: str, *, limit: int = 0) -> Iterator[bytes]:
        """The entry's bytes; never more than it states, so that a bomb costs what it admits to. Empty chunks left out."""
        entry = self.entries[name]
        part = self._window.part(self._data[name], entry.stored)
        inflate = zlib.decompressobj(-15) if entry.method == DEFLATED else None
        offset = 0
        left = entry.size
        step = min(CHUNK, limit) if limit else CHUNK
        while offset < part.size:
            raw = part.at(offset, min(step, part.size - offset))
            offset += len(raw)
            while raw:
                data, raw = _inflated(inflate, raw, name) if inflate else (raw, b"")
                left -= len(data)
                if left < 0:
                    raise Rejected(f"entry {name} holds more than the {entry.size} bytes it states")
                if data:
                    yield data
        if inflate and not inflate.eof:
            raise Rejected(f"entry {name} ends before its compressed data does")


def _inflated(inflate: zlib._Decompress, raw: bytes, name: str) -> Tuple[bytes, bytes]:
    try:
        data = inflate.decompress(raw, CHUNK)
    except zlib.error as error:
        raise Rejected(f"entry {name} cannot be decompressed") from error
    return data, b"" if inflate.eof else inflate.unconsumed_tail


def _directory(window: Window) -> Tuple[int, int, int]:
    """Where the central directory starts, its size, and how many entries it has."""
    at = _end_offset(window)
    _, disk, first_disk, here, count, size, start, _ = _END.unpack(window.at(at, _END.size))
    end = at
    locator_at = at - _END64_LOCATOR.size
    if locator_at >= 0 and window.at(locator_at, 4) == b"PK\x06\x07":  # torch writes one whatever the size
        _, _, end, _ = _END64_LOCATOR.unpack(window.at(locator_at, _END64_LOCATOR.size))
        magic, length, *_, disk, first_disk, here, total, long_size, long_start = _END64.unpack(
            window.at(end, _END64.size)
        )
        if magic != b"PK\x06\x06" or end + 12 + length != locator_at:
            raise Rejected("its 64-bit end record is not where it says")
        if count not in (0xFFFF, total) or size not in (_MAX, long_size) or start not in (_MAX, long_start):
            raise Rejected("its two end records contradict each other")
        count, size, start = total, long_size, long_start
    elif count == 0xFFFF or _MAX in (size, start):
        raise Rejected("its 64-bit end record is missing")
    if disk or first_disk or here != count:
        raise Rejected("is a part of an archive split over several files")
    if size > MAX_DIRECTORY:
        raise Rejected(f"states a central directory of {size} bytes")
    if start + size != end:
        raise Rejected("its central directory does not lie right before its end")
    return start, size, count


def _end_offset(window: Window) -> int:
    """Where the end record starts: the one place from which its comment reaches exactly to the end of the file."""
    if window.size < _END.size:
        raise Rejected("is too short for a zip archive" if window.size else "is empty")
    plain = window.size - _END.size
    if window.at(plain, 4) == b"PK\x05\x06" and window.at(plain + 20, 2) == b"\0\0":
        return plain
    tail_at = max(0, window.size - _END.size - MAX_COMMENT)
    tail = window.at(tail_at, window.size - tail_at)
    found = tail.rfind(b"PK\x05\x06", 0, len(tail) - _END.size + 4)
    while found >= 0:
        if found + _END.size + struct.unpack_from("<H", tail, found + 20)[0] == len(tail):
            return tail_at + found
        found = tail.rfind(b"PK\x05\x06", 0, found)
    raise Rejected("its end is missing (cut short, or still being written)")


def _entries(window: Window, start: int, size: int, count: int) -> Dict[str, Entry]:
    directory = window.at(start, size)
    entries: Dict[str, Entry] = {}
    at = 0
    while at < size:
        if at + _CENTRAL.size > size:
            raise Rejected("its central directory is cut")
        fields = _CENTRAL.unpack_from(directory, at)
        magic, flags, method, crc = fields[0], fields[3], fields[4], fields[7]
        name_length, extra_length, comment_length = fields[10], fields[11], fields[12]
        following = at + _CENTRAL.size + name_length + extra_length + comment_length
        if magic != b"PK\x01\x02" or following > size:
            raise Rejected("its central directory is damaged")
        name_at = at + _CENTRAL.size
        name = directory[name_at : name_at + name_length].decode("utf-8", "surrogateescape")
        extra = directory[name_at + name_length : name_at + name_length + extra_length]
        full, stored, header = _sizes(extra, size=fields[9], stored=fields[8], header=fields[16])
        if flags & 1 or method not in (STORED, DEFLATED):
            raise Rejected(f"entry {name} is encrypted or compressed in a way that checkpoints are not")
        if method == STORED and stored != full:
            raise Rejected(f"entry {name} states two sizes")
        if name in entries:
            raise Rejected(f"names entry {name} twice")
        entries[name] = Entry(name, method, crc, stored, full, header)
        at = following
    if len(entries) != count:
        raise Rejected(f"states {count} entries and names {len(entries)}")
    return entries


def _sizes(extra: bytes, *, size: int, stored: int, header: int) -> Tuple[int, int, int]:
    """``(size, stored, header)`` with those of 32 set bits replaced from the zip64 extra field, in this order."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        field = extra[at + 4 : at + 4 + length]
        if kind == 1:
            values = iter(struct.unpack_from(f"<{len(field) // 8}Q", field))
            size = next(values, size) if size == 0xFFFFFFFF else size
            stored = next(values, stored) if stored == 0xFFFFFFFF else stored
            header = next(values, header) if header == 0xFFFFFFFF else header
        at += 4 + length
    return size, stored, header


def _data_offsets(window: Window, entries: List[Entry], end: int) -> Dict[str, int]:
    """Where the data of each entry starts; none reaches into the next one or into the central directory."""
    offsets: Dict[str, int] = {}
    entries = sorted(entries, key=lambda entry: entry.header)
    for entry, following in zip(entries, [*[e.header for e in entries[1:]], end]):
        fields = _LOCAL.unpack(window.at(entry.header, _LOCAL.size))
        if fields[0] != MAGIC:
            raise Rejected(f"entry {entry.name} is not where the central directory says")
        name_at = entry.header + _LOCAL.size
        if window.at(name_at, fields[9]).decode("utf-8", "surrogateescape") != entry.name:
            raise Rejected(f"entry {entry.name} has another name where it lies")
        data = name_at + fields[9] + fields[10]
        if data + entry.stored > following:
            raise Rejected(f"entry {entry.name} reaches into what follows it")
        offsets[entry.name] = data
    return offsets
