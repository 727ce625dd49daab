"""Follow a run on its machine and in its store at once: by the machine when it answers, by the store when it does not.

Before its agent can be reached, and when the machine is gone, the store has everything; while the machine answers, its
own stream is faster. Both give the same bytes at the same offsets, so what comes from one is never taken from the other
again.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from runctl.core.cancel import together
from runctl.core.errors import Cancelled, MachineGone, RunctlError
from runctl.core.events import RunEnded
from runctl.engine.follow import Frame
from runctl.engine.store_reader import EVENTS, OUTPUT

if TYPE_CHECKING:
    from collections.abc import Callable

    from runctl.core.cancel import CancelToken
    from runctl.core.clock import Clock
    from runctl.engine.follow import Follower
    from runctl.engine.store_reader import StoreReader

POLL_FIRST, POLL_LONGEST = (
    0.2,
    1.0,
)  # seconds between two looks into the store, while the machine does not answer
STREAM_FRESH = (
    5.0  # seconds of silence after which a stream that says something every second is taken for broken
)
RETRY_FIRST, RETRY_LONGEST = 0.5, 15.0  # seconds between two tries to reach the machine
LOST_AFTER, ASK_LONGEST = (
    10.0,
    60.0,
)  # seconds without news before the provider is asked for the machine, and again
SILENT = float("-inf")
STATUS_EVERY = 1.0  # seconds between two looks at the status in the store


class FollowBoth:
    """One attempt of a run, watched from two sides.

    Args:
        follower: takes what either side says, and can ask the machine.
        reader: the store's side.
        gone: asks the provider whether the machine has ended; the reason, or None while it exists.
    """

    def __init__(
        self, follower: Follower, reader: StoreReader, *, gone: Callable[[], str | None], clock: Clock
    ) -> None:
        self._follower = follower
        self._reader = reader
        self._gone = gone
        self._clock = clock
        self._lock = threading.Lock()
        self._heard = SILENT  # when the machine's own stream last said anything
        self._news = clock.monotonic()  # when either side did
        self._status_read = float("-inf")

    def follow(self, *, cancel: CancelToken) -> dict[str, Any]:
        """Emit output and events until the run has ended; its status, made up when its machine died before writing one.

        Raises:
            Cancelled: the token was set. The run goes on.
        """
        with together(cancel) as scope:
            scope.start("machine", lambda: self._direct(scope.cancel))
            status = self._watch(scope.cancel)
            scope.cancel.cancel("the run has ended")
        self._follower.tell_end()
        return status

    def _direct(self, cancel: CancelToken) -> None:
        """Ask the machine, again and again, until the run has ended."""
        delay = RETRY_FIRST
        while not self._follower.ended:
            with suppress(RunctlError):  # whatever keeps us from the machine, the store goes on telling
                try:
                    self._follower.once(wait=True, cancel=cancel, take=self._take_direct)
                except (Cancelled, MachineGone):
                    return
            answered, self._heard = (
                self._heard != SILENT,
                SILENT,
            )  # the store has the word until it answers again
            delay = RETRY_FIRST if answered else min(delay * 2, RETRY_LONGEST)
            self._clock.sleep(delay, cancel)

    def _take_direct(self, frame: Frame) -> None:
        with self._lock:
            self._heard = self._news = self._clock.monotonic()
            self._take(frame)

    def _take(self, frame: Frame) -> None:
        """Pass on what is new of a frame; called with the lock held."""
        if frame.kind in "OE":
            known = (self._follower.output if frame.kind == "O" else self._follower.events) or 0
            if frame.offset > known:
                return  # bytes before it have not been seen: they come first, from whoever has them
            frame = Frame(frame.kind, max(known, frame.offset), frame.data[known - frame.offset :])
            if not frame.data:
                return
        self._follower.take(frame)

    def _watch(self, cancel: CancelToken) -> dict[str, Any]:
        pause, patience = POLL_FIRST, LOST_AFTER
        while True:
            now = self._clock.monotonic()
            if now - self._heard > STREAM_FRESH:
                before = self._news
                self._poll(cancel)
                pause = POLL_FIRST if self._news != before else min(pause * 1.5, POLL_LONGEST)
            if self._follower.ended and self._complete():
                return self._follower.status
            if now - self._news > patience:
                reason = self._gone()
                if reason is not None:
                    return self._lost(reason, cancel)
                self._news = self._clock.monotonic()  # it lives, and is quiet
                patience = min(patience * 2, ASK_LONGEST)
            self._clock.sleep(pause, cancel)

    def _complete(self) -> bool:
        """Whether all of the output and the end itself have been taken; only then is there nothing to wait for."""
        return (self._follower.output or 0) >= (self._follower.status.get("output_bytes") or 0)

    def _poll(self, cancel: CancelToken) -> None:
        """Take what the store has beyond what was seen."""
        status = self._status(cancel)
        for stream, kind in ((EVENTS, "E"), (OUTPUT, "O")):
            offset = (self._follower.events if kind == "E" else self._follower.output) or 0
            for at, data in self._reader.read(stream, offset, cancel):
                whole = data if kind == "O" else data[: data.rfind(b"\n") + 1]
                with self._lock:
                    if whole:
                        self._news = self._clock.monotonic()
                        self._take(Frame(kind, at, whole))
        with self._lock:
            if status is not None and not self._follower.ended:  # the machine may have said more meanwhile
                self._follower.status = status  # read before the output it speaks of, taken after it

    def _status(self, cancel: CancelToken) -> dict[str, Any] | None:
        now = self._clock.monotonic()
        if now - self._status_read < STATUS_EVERY:
            return None
        self._status_read = now
        status = self._reader.json("status.json", cancel)
        if status is not None and status != self._follower.status:
            self._news = now
        return status

    def _lost(self, reason: str, cancel: CancelToken) -> dict[str, Any]:
        """The machine is no more: take the last that it could save, and say how the run ended."""
        self._status_read = float("-inf")
        self._poll(cancel)
        status = self._follower.status
        if self._follower.ended:
            return status
        end = RunEnded("preempted", None, reason=reason)
        self._follower.end_with(end)
        return preempted(status, reason, last_seen=self._reader.last_seen(cancel))


def preempted(status: dict[str, Any], reason: str, *, last_seen: str | None) -> dict[str, Any]:
    """The status of a run whose machine ended before it could write one; it ended when it was last seen. Pure."""
    nothing = dict.fromkeys(("exit_code", "signal", "script_started_at", "ended_at", "error"))
    return {
        "env_key": "",
        "attempt": 1,
        "output_bytes": 0,
        "killed": [],
        **nothing,
        **status,
        "state": "ended",
        "outcome": "preempted",
        "reason": reason,
        "ended_at": status.get("ended_at") or last_seen,
    }
