"""Input for a command without a session: taken as it comes, brought to the machine in pieces through the bucket."""

from __future__ import annotations

import hashlib
import tempfile
import threading
from typing import IO, TYPE_CHECKING

from runctl.core.cancel import SLICE, CancelToken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from runctl.transports.ssm.parcels import Parcel

IN_MEMORY = 8 << 20  # bytes of a piece; more goes to a temporary file
FIRST_SECONDS = 0.1  # how long the first piece waits for the input to be complete
AHEAD = 64 << 20  # bytes that are taken before they are brought


class Giving:
    """What there is of an input, and what of it was brought.

    Args:
        stdin: where it comes from; read on a thread of its own, for it may wait for the output.
        parcel: makes the object of a piece, by its number.
        cancel: ends the reading.
    """

    def __init__(self, stdin: Iterable[bytes], parcel: Callable[[int], Parcel], cancel: CancelToken) -> None:
        self.error: BaseException | None = None
        self._parcel = parcel
        self._cancel = cancel
        self._changed = threading.Condition()
        self._waiting: list[bytes] = []
        self._size = 0
        self._number = 0
        self._complete = isinstance(stdin, (tuple, list)) and not stdin
        self.over = False  # the last piece was taken
        if not self._complete:
            threading.Thread(target=self._take, args=(stdin,), name="ssm input", daemon=True).start()

    def _take(self, stdin: Iterable[bytes]) -> None:
        try:
            for chunk in stdin:
                with self._changed:
                    while self._size > AHEAD and not self._cancel.cancelled:
                        self._changed.wait(SLICE)
                    if self._cancel.cancelled:
                        return
                    self._waiting.append(chunk)
                    self._size += len(chunk)
                    self._changed.notify_all()
        except BaseException as error:  # noqa: BLE001 - raised by whoever takes the output
            self.error = error
        with self._changed:
            self._complete = True
            self._changed.notify_all()

    def first(self) -> list[str]:
        """The piece that goes along with the beginning: all there is, if it is complete within a moment. Raises as ``next``."""
        with self._changed:
            self._changed.wait_for(lambda: self._complete, FIRST_SECONDS)
        return self._given()

    def next(self) -> list[str] | None:
        """The next piece, once there is one; None when there is none within a moment.

        Raises:
            BaseException: what the source of the input raised.
            RunctlError: what is wrong with the bucket.
        """
        with self._changed:
            self._changed.wait_for(lambda: bool(self._waiting) or self._complete, SLICE)
            if not self._waiting and not self._complete:
                return None
        return self._given()

    def _given(self) -> list[str]:
        """Number, address, digest, and whether it is the last; what is there is put in the bucket."""
        if self.error is not None:
            raise self.error
        with self._changed:
            taken, self._waiting, self._size = self._waiting, [], 0
            self.over = self._complete
            self._changed.notify_all()
        number, last = self._number, "end" if self.over else "more"
        if not any(taken):
            return [str(number), "-", "-", last]
        self._number += 1
        with tempfile.SpooledTemporaryFile(IN_MEMORY) as source:
            digest = _copied(taken, source)
            return [str(number), self._parcel(number).fill(source, self._cancel), digest, last]

    def remove(self) -> None:
        """Take away the objects there were."""
        for number in range(self._number):
            self._parcel(number).remove()


def _copied(chunks: list[bytes], target: IO[bytes]) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
        target.write(chunk)
    return digest.hexdigest()
