"""A large file that is put together from pieces, in any order, and goes on where an earlier try was killed."""

from __future__ import annotations

import fcntl
import os
import time
from hashlib import sha256

from runctl.agent.failure import AgentFailure
from runctl.agent.home import DIGEST, make_folder
from runctl.agent.tree_object import PIECE

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
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
        lacking = set()
        for number, piece in enumerate(self._pieces):
            data = os.pread(self._fd, self._length(number), number * PIECE)
            if sha256(data).hexdigest() != piece:
                lacking.add(piece)
        return lacking

    def _copied(self, lacking: set[str], where: dict[str, list[int]]) -> set[str]:
        """Take what other large files of this machine have; the pieces it was."""
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
                        data = os.pread(source, PIECE, number * PIECE)
                        if sha256(data).hexdigest() == piece:
                            self._write(where[piece], data)
                            got.add(piece)
            finally:
                os.close(source)
        return got

    def _length(self, number: int) -> int:
        return min(PIECE, self._size - number * PIECE)

    def put(self, piece: str, data: bytes) -> int:
        """Put a verified piece everywhere it belongs; the bytes that are. Safe from several threads."""
        numbers = [number for number, name in enumerate(self._pieces) if name == piece]
        self._write(numbers, data)
        return len(numbers) * len(data)

    def _write(self, numbers: list[int], data: bytes) -> None:
        for number in numbers:
            view, at = memoryview(data), number * PIECE
            while view:
                count = os.pwrite(self._fd, view, at)
                view, at = view[count:], at + count

    def finish(self) -> None:
        """Verify the whole and give it its name. Raises ``AgentFailure``: ``blob-corrupt``; the part is thrown away."""
        target = self._home.blob(self.digest)
        if os.path.exists(target):
            os.unlink(self._part)
            return
        os.ftruncate(self._fd, self._size)
        state, at = sha256(), 0
        while at < self._size:
            data = os.pread(self._fd, CHUNK, at)
            if not data:
                break
            state.update(data)
            at += len(data)
        if state.hexdigest() != self.digest:
            os.unlink(self._part)
            raise AgentFailure(
                "blob-corrupt",
                digest=self.digest,
                found=state.hexdigest(),
                where="put together from its pieces",
            )
        os.fchmod(self._fd, 0o400)
        os.rename(self._part, target)
        make_folder(self._home.recipes)
        recipe = os.path.join(self._home.recipes, self.digest)
        with open("%s.%d.tmp" % (recipe, os.getpid()), "wb") as file:
            file.write(bytes.fromhex("".join(self._pieces)))
        os.replace(file.name, recipe)

    def close(self) -> None:
        """Let go of the lock. Safe to repeat; what is not finished stays for the next try."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


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
