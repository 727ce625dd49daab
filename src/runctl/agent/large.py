"""A large file that is put together from pieces, in any order, and goes on where an earlier try was killed."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from hashlib import sha256

from runctl.agent.failure import AgentFailure
from runctl.agent.home import DIGEST, make_folder
from runctl.agent.tree_object import PIECE

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from typing import Optional

    from runctl.agent.home import Home

SLICE = 0.1  # seconds between two looks at a file that somebody else is putting together
CHUNK = 1 << 20  # bytes


class LargeFile:
    """One blob of more than one piece. ``lacking`` are the pieces that have to be brought, once it has begun.

    It grows in ``blobs/incoming/whole.<digest>``, held by a lock: two commands that want the same file do not bring it
    twice. ``recipes/<digest>`` names its pieces, so that the next version of the file is made of what both have.
    """

    def __init__(self, digest: str, size: int, pieces: list[str], *, home: Home) -> None:
        self.digest = digest
        self.lacking: set[str] = set()
        self._size = size
        self._pieces = pieces
        self._home = home
        self._fd = -1
        self._there = bytearray(len(pieces))  # 1 for each piece that is in its place
        self._more = threading.Condition()
        self._hashing: Optional[threading.Thread] = None
        self._hashed = sha256()
        self._taken_from: set[str] = set()  # the other files that pieces were taken from
        self._part = os.path.join(home.incoming, "whole." + digest)

    def begin(self) -> int:
        """Take the lock and see what is here already; the bytes of it."""
        make_folder(self._home.incoming)
        make_folder(os.path.dirname(self._home.blob(self.digest)))
        self._fd = self._locked()
        if os.path.exists(self._home.blob(self.digest)):  # whoever held the lock has finished it
            return self._size
        where: dict[str, list[int]] = {}
        for number, piece in enumerate(self._pieces):
            where.setdefault(piece, []).append(number)
        lacking = self._not_in_part()
        lacking -= self._copied(lacking, where)
        self.lacking = lacking
        for number, piece in enumerate(self._pieces):
            self._there[number] = piece not in lacking
        if len(lacking) < len(where):  # of a file that comes whole nothing is there yet to be hashed ahead
            self._hashing = threading.Thread(target=self._hash, daemon=True)
            self._hashing.start()
        return self._size - sum(self._length(number) for piece in lacking for number in where[piece])

    def _locked(self) -> int:
        while True:
            fd = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.exists(self._part) and os.path.samestat(os.fstat(fd), os.stat(self._part)):
                    return fd
            except OSError:
                time.sleep(SLICE)
            os.close(fd)

    def _not_in_part(self) -> set[str]:
        """The pieces that an earlier try has not left in their place."""
        if not os.fstat(self._fd).st_size:
            return set(self._pieces)
        lacking = set()
        for number, piece in enumerate(self._pieces):
            data = os.pread(self._fd, self._length(number), number * PIECE)
            if sha256(data).hexdigest() != piece:
                lacking.add(piece)
        return lacking

    def _copied(self, lacking: set[str], where: dict[str, list[int]]) -> set[str]:
        """Take what other large files of this machine have; the pieces it was.

        They were verified when they came; whether a disk has kept them well shows when the whole is verified.
        """
        got: set[str] = set()
        for digest, pieces in _recipes(self._home):
            if lacking <= got:
                break
            if lacking.isdisjoint(pieces):
                continue
            try:
                source = os.open(self._home.blob(digest), os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                continue
            try:
                for number, piece in enumerate(pieces):
                    if piece in lacking and piece not in got:
                        for to in where[piece]:
                            copied(source, number * PIECE, self._fd, to * PIECE, self._length(to))
                        got.add(piece)
                        self._taken_from.add(digest)
            finally:
                os.close(source)
        return got

    def _length(self, number: int) -> int:
        return min(PIECE, self._size - number * PIECE)

    def put(self, piece: str, data: bytes) -> int:
        """Put a verified piece everywhere it belongs; the bytes that are. Safe from several threads."""
        numbers = [number for number, name in enumerate(self._pieces) if name == piece]
        self._write(numbers, data)
        with self._more:
            for number in numbers:
                self._there[number] = 1
            self._more.notify_all()
        return len(numbers) * len(data)

    def _write(self, numbers: list[int], data: bytes) -> None:
        for number in numbers:
            view, at = memoryview(data), number * PIECE
            while view:
                count = os.pwrite(self._fd, view, at)
                view, at = view[count:], at + count

    def finish(self) -> None:
        """Verify the whole and give it its name.

        Raises:
            AgentFailure: ``blob-missing`` when a piece has not come; ``blob-corrupt``.
        """
        target = self._home.blob(self.digest)
        if os.path.exists(target):
            os.unlink(self._part)
            return
        os.ftruncate(self._fd, self._size)
        if not all(self._there):  # who sent it counted on what a disk here has not kept
            raise AgentFailure("blob-missing", digest=self._pieces[self._there.index(0)], path=self.digest)
        if self._hashing is None:
            self._hash()
        else:
            self._hashing.join()
        found = self._hashed.hexdigest()
        if found != self.digest:
            self._distrust()
            raise AgentFailure(
                "blob-corrupt",
                digest=self.digest,
                found=found,
                where="put together from its pieces",
            )
        os.fchmod(self._fd, 0o400)
        os.rename(self._part, target)
        make_folder(self._home.recipes)
        recipe = os.path.join(self._home.recipes, self.digest)
        with open("%s.%d.tmp" % (recipe, os.getpid()), "wb") as file:
            file.write(bytes.fromhex("".join(self._pieces)))
        os.replace(file.name, recipe)

    def _hash(self) -> None:
        """Hash the whole from its beginning, as far as it is there: what comes last is all that is left to do then."""
        fd = self._fd
        for number in range(len(self._pieces)):
            with self._more:
                while not self._there[number]:
                    if self._fd < 0:
                        return
                    self._more.wait()
            self._hashed.update(os.pread(fd, self._length(number), number * PIECE))

    def _distrust(self) -> None:
        """Never again take pieces of those files. What came into the part is looked at piece by piece the next time."""
        for digest in self._taken_from:
            try:
                os.unlink(os.path.join(self._home.recipes, digest))
            except FileNotFoundError:
                pass
        if not self._taken_from:
            os.unlink(self._part)

    def close(self) -> None:
        """Let go of the lock. Safe to repeat; what is not finished stays for the next try."""
        if self._fd >= 0:
            fd = self._fd
            with self._more:
                self._fd = -1
                self._more.notify_all()
            if self._hashing is not None:
                self._hashing.join()
            os.close(fd)


def copied(source: int, start: int, target: int, to: int, length: int) -> None:
    """Copy a stretch from one file into another, by the kernel where it can; ends early at the end of the source."""
    step = getattr(os, "copy_file_range", _by_hand)
    while length:
        try:
            count = step(source, target, length, start, to)
        except OSError:
            if step is _by_hand:
                raise
            step = _by_hand  # another file system, or an old kernel
            continue
        if not count:
            return
        start, to, length = start + count, to + count, length - count


def _by_hand(source: int, target: int, length: int, start: int, to: int) -> int:
    return os.pwrite(target, os.pread(source, min(length, CHUNK), start), to)


def _recipes(home: Home) -> list[tuple[str, list[str]]]:
    """The large files of this machine and their pieces."""
    try:
        names = os.listdir(home.recipes)
    except FileNotFoundError:
        return []
    found = []
    for name in names:
        if DIGEST.match(name):
            with open(os.path.join(home.recipes, name), "rb") as file:
                text = file.read().hex()
            found.append((name, [text[n : n + 64] for n in range(0, len(text), 64)]))
    return found
