"""What a checkpoint format is: values, a bounded window on a file, and the two kinds of format.

A format decides over a *listing* (paths, sizes, times) and a ``read(path, offset, length)`` function and touches
nothing else, so that the same code runs over a folder, over a store, and over a dictionary in a test. It never
unpickles and never trusts a number it read: every offset is checked against the size of the file before it is used.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

from runctl.formats.order import position_from_name


class File(NamedTuple):
    """One regular file of a listing: path relative to the folder, POSIX separators; seconds since the epoch."""

    path: str
    size: int
    modified: float

    @property
    def folder(self) -> str:
        """The folder it lies in, empty for the folder that was listed."""
        return self.path.rpartition("/")[0]

    @property
    def name(self) -> str:
        """The last component."""
        return self.path.rpartition("/")[2]


Read = Callable[[str, int, int], bytes]
"""``read(path, offset, length)``: the bytes there, fewer at the end of the file. Raises ``OSError``."""

DAMAGED = "damaged"  # ends early, or contradicts itself
WRITING = "writing"  # a temporary name, or it changed while being looked at
UNVERIFIABLE = "unverifiable"  # recognised, but nothing in it tells where it should end


class Rejected(Exception):
    """A file is not a complete checkpoint; the text says why, ``kind`` is one of the three above."""

    def __init__(self, why: str, *, kind: str = DAMAGED) -> None:
        super().__init__(why)
        self.why = why
        self.kind = kind


@dataclass(frozen=True)
class Tensor:
    """One array: its name in the checkpoint, ``float32`` and the like, and its shape."""

    name: str
    dtype: str
    shape: Tuple[int, ...]

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        count = 1
        for length in self.shape:
            count *= length
        return count


@dataclass(frozen=True)
class Contents:
    """What a file says about itself. ``tensors`` is None where it does not say."""

    tensors: Optional[List[Tensor]] = None
    step: Optional[int] = None
    epoch: Optional[int] = None
    metadata: Dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint. ``path`` is a file, or the folder of one made of several ``files``; size in bytes."""

    path: str
    format: str
    size: int
    modified: float
    step: Optional[int]
    epoch: Optional[int]
    contents: Contents
    files: Tuple[str, ...]


@dataclass(frozen=True)
class Incomplete:
    """Something that looks like a checkpoint and is not a complete one, with the reason."""

    path: str
    format: str
    why: str
    kind: str = DAMAGED


@dataclass
class Found:
    """What formats made of a listing. ``claimed`` paths belong to something already reported."""

    complete: List[Checkpoint] = field(default_factory=list)
    incomplete: List[Incomplete] = field(default_factory=list)
    claimed: Set[str] = field(default_factory=set)


class Window:
    """The bytes ``[start, start+size)`` of a file; reading outside of them is refused, not shortened."""

    def __init__(self, read: Read, path: str, *, size: int, start: int = 0) -> None:
        self._read = read
        self.path = path
        self.start = start
        self.size = size

    def at(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes at ``offset``. Raises ``Rejected`` when the window or the file ends before."""
        if offset < 0 or length < 0 or offset + length > self.size:
            raise Rejected(f"needs {length} bytes at {offset}, but there are {self.size} in all")
        data = self._read(self.path, self.start + offset, length)
        if len(data) != length:
            raise Rejected("became shorter while it was read", kind=WRITING)
        return data

    def part(self, offset: int, size: int) -> Window:
        """A window on a part of this one. Raises ``Rejected`` when the part does not lie within."""
        if offset < 0 or size < 0 or offset + size > self.size:
            raise Rejected(f"names bytes {offset} to {offset + size}, but there are {self.size} in all")
        return Window(self._read, self.path, size=size, start=self.start + offset)


class Format(ABC):
    """A kind of checkpoint. Subclasses answer ``find``; it is pure over its arguments and safe to repeat."""

    name = ""

    @abstractmethod
    def find(self, listing: Sequence[File], read: Read, *, verify: bool = False) -> Found:
        """The checkpoints of this kind in ``listing``, the incomplete ones with their reasons.

        Args:
            listing: regular files that no earlier format has claimed.
            read: gives bytes of them; an ``OSError`` makes that checkpoint incomplete.
            verify: read everything (checksums, every opcode) instead of headers, sizes and indexes only.
        """


class FileFormat(Format):
    """A kind whose checkpoints are single files, recognised by the end of their names and by their first bytes."""

    suffixes: Tuple[str, ...] = ()

    def matches(self, name: str) -> bool:
        """Whether a file of that name is expected to be of this kind."""
        return name.lower().endswith(self.suffixes)

    @abstractmethod
    def inspect(self, window: Window, *, verify: bool) -> Optional[Contents]:
        """What a complete file says; None for one that is of no kind of ours. Raises ``Rejected``."""

    def find(self, listing: Sequence[File], read: Read, *, verify: bool = False) -> Found:
        """See ``Format.find``; a temporary name is reported as being written and not read."""
        found = Found()
        for file in listing:
            final = final_name(file.name)
            if not self.matches(final):
                continue
            if final != file.name:
                why = "has a temporary name: still being written, or left by a crash"
                found.incomplete.append(Incomplete(file.path, self.name, why, WRITING))
                found.claimed.add(file.path)
                continue
            try:
                contents = self.inspect(Window(read, file.path, size=file.size), verify=verify)
            except Rejected as error:
                found.incomplete.append(Incomplete(file.path, self.name, error.why, error.kind))
            except OSError as error:
                found.incomplete.append(Incomplete(file.path, self.name, unreadable(error)))
            else:
                if contents is None:
                    continue
                found.complete.append(describe(file.path, self.name, [file], contents))
            found.claimed.add(file.path)
        return found


def describe(path: str, name: str, files: Sequence[File], contents: Contents) -> Checkpoint:
    """A complete checkpoint made of ``files``; step and epoch it does not state are read off its name."""
    step, epoch = position_from_name(path)
    return Checkpoint(
        path=path,
        format=name,
        size=sum(file.size for file in files),
        modified=max(file.modified for file in files),
        step=step if contents.step is None else contents.step,
        epoch=epoch if contents.epoch is None else contents.epoch,
        contents=contents,
        files=tuple(file.path for file in files),
    )


def merged(parts: Sequence[Contents], **stated: Any) -> Contents:
    """The contents of a checkpoint made of several files: all their tensors; ``stated`` fields win."""
    tensors = [tensor for part in parts for tensor in part.tensors or []]
    whole = Contents(tensors=tensors)
    for part in parts:
        whole = replace(
            whole,
            step=part.step if whole.step is None else whole.step,
            epoch=part.epoch if whole.epoch is None else whole.epoch,
            metadata={**part.metadata, **whole.metadata},
        )
    return replace(whole, **stated)


def unreadable(error: OSError) -> str:
    """An ``OSError`` as the reason why a checkpoint could not be read."""
    return f"cannot be read: {error.strerror or error}"


# `model.pt.tmp`, `model.pt.tmp.1234`, `.model.pt.x7f2ab` (rsync), `tmp-model.pt`, `model.pt~`, `model.pt.part`
_TEMPORARY_TAIL = re.compile(
    r"(\.(tmp|temp|part|partial|incomplete|swp|new|download)([._-]?\w*)?|~)$", re.IGNORECASE
)
_TEMPORARY_HEAD = re.compile(r"^\.?(tmp|temp)[._-]", re.IGNORECASE)
_RSYNC = re.compile(r"^\.(.+)\.\w{6}$")


def final_name(name: str) -> str:
    """The name a file will have once it is complete: ``name`` itself unless it has the look of a temporary one."""
    tail = _TEMPORARY_TAIL.search(name)
    if tail:
        return name[: tail.start()]
    head = _TEMPORARY_HEAD.match(name)
    if head:
        return name[head.end() :]
    rsync = _RSYNC.match(name)
    if rsync:
        return rsync.group(1)
    return name
