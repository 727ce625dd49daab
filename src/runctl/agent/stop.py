"""Why and how softly a run is to be ended before its own end."""

from __future__ import annotations

from runctl.agent.home import RunFolder, read_json


class Stop:
    """The request to stop, once there is one. The first kind stays; the grace only ever shrinks.

    But for a machine that is taken back: its script gets all the time there is left, which may be more than a user's
    cancel would give it.
    """

    def __init__(self, run: RunFolder, *, grace: float) -> None:
        self._run = run
        self._grace = grace
        self.kind = ""  # cancelled, preempted, time limit
        self.why = ""

    @property
    def asked(self) -> bool:
        """Whether the run is to be ended."""
        return bool(self.kind)

    @property
    def grace(self) -> float:
        """Seconds between TERM and KILL."""
        return self._grace

    def ask(self, kind: str, why: str = "", *, grace: float | None = None) -> None:
        """Note a request. Safe to repeat."""
        first = not self.kind
        if first:
            self.kind, self.why = kind, why
        if grace is not None:
            self._grace = max(0.0, grace if first and kind == "preempted" else min(self._grace, grace))

    def look(self) -> None:
        """Read ``cancel.json``, which the ``cancel`` command leaves before it sends us a signal."""
        try:
            wanted = read_json(self._run.cancel)
            if wanted is not None:
                kind = str(wanted.get("kind") or "cancelled")
                self.ask(kind, str(wanted["reason"]), grace=float(wanted["grace"]))
        except (OSError, KeyError, TypeError, ValueError):
            pass  # called from a signal's handler: nothing may be raised into whatever was going on
