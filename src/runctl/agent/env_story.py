"""Tells what a build of an environment does: events, the log file, and the state the gate and waiting runs read."""

from __future__ import annotations

import json
import os
import time

from runctl.agent.install_progress import Progress
from runctl.agent.masking import mask

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from runctl.agent.env_recipe import Place
    from runctl.agent.journal import Teller

STEP = "environment"
BEAT = 0.2  # seconds between two progress events at least: five a second is all a view can show
STATE_BEAT = 1.0  # seconds between two writes of the state file


def process_start(pid: int) -> int | None:
    """When a process began, in the kernel's ticks: with its number it names it for good. None without /proc."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None


class Story:
    """One build, told. ``now`` is monotonic seconds; ``stall_after`` seconds without a move is a notice."""

    def __init__(
        self, place: Place, journal: Teller, *, stall_after: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.place = place
        self.progress = Progress()
        self.lines: list[str] = []
        self._journal = journal
        self._now = now
        self._stall_after = stall_after
        self._moved = self._told = self._written = now()
        self._last_line = ""
        self._sent: dict[str, Any] = {}
        self._waiting: dict[str, tuple[str, float]] = {}
        self._log = open(place.log, "w", encoding="utf-8", errors="replace")  # noqa: SIM115 - closed by close()
        me = os.getpid()
        self._state: dict[str, Any] = {
            "state": "installing",
            "builder": [me, process_start(me)],
            "reason": "",
        }

    def close(self) -> None:
        """Close the log. Safe to repeat."""
        self._log.close()

    def names(self, names: list[str], *, bare: set[str]) -> None:
        """For the gate: which distributions are asked for, and which modules were there before."""
        self._state["names"] = sorted(names)
        self._state["bare"] = sorted(bare)

    def notice(self, text: str, level: str = "info") -> None:
        """Something the user should read."""
        self._journal.emit("notice", level=level, text=text)

    def command(self, argv: list[str], seconds: float, exit_code: int | None) -> None:
        """A command that was run, for ``--verbose``."""
        self._journal.emit(
            "command",
            argv=[mask(each) for each in argv],
            where="machine",
            seconds=seconds,
            exit_code=exit_code,
        )

    def begin(self) -> None:
        """A command begins: what earlier ones said no longer explains a failure."""
        self.lines.clear()
        self.progress.cut = False

    def started(self, group: int) -> None:
        """An installer runs: whoever finds it without its builder may end it."""
        self._state["installer"] = [group, process_start(group)]
        self.write_state()

    def text(self, text: str, *, stays: bool, installer: str) -> None:
        """A text of the installer: into progress, and if it stays, into the log and the record, masked."""
        moved = (self.progress.read_uv if installer == "uv" else self.progress.read_pip)(text, stays=stays)
        if stays and not text.startswith("Progress "):
            shown = mask(text)
            self.lines.append(shown)
            self._log.write(shown + "\n")
            self._log.flush()
            self._journal.emit("installer.output", step=STEP, text=shown)
            self._last_line = shown.strip() or self._last_line
        if moved or stays:
            self._moved = self._now()

    def tick(self) -> None:
        """Tell what is due: progress, a stall, imports that wait."""
        now = self._now()
        if now - self._told >= BEAT:
            self._told = now
            self._count_installed()
            self._tell_progress()
            self._tell_waiting(now)
        if now - self._written >= STATE_BEAT:
            self.write_state()
        if now - self._moved >= self._stall_after:
            last = mask(self.progress.event()["item"]) or self._last_line
            self.notice(
                "the installer has been silent for %d s; last: %s" % (now - self._moved, last), "warning"
            )
            self._moved = now

    def flush(self) -> None:
        """Tell the last state now."""
        self._tell_progress()
        self._tell_waiting(self._now())

    def write_state(self, **changes: Any) -> None:
        """Replace the state file; not synced: it is about processes, which a power cut ends too."""
        self._state.update(changes)
        self._state["progress"] = self.progress.event()
        self._written = self._now()
        part = self.place.state + ".tmp"
        try:
            with open(part, "w") as file:
                json.dump(self._state, file)
            os.replace(part, self.place.state)
        except OSError:
            pass  # a full disk fails the build itself, with its own words

    def _count_installed(self) -> None:
        """pip says nothing between the first and the last package it installs: count those that are in place."""
        if self.progress.phase != "installing" or self.progress.installed >= self.progress.packages:
            return
        try:
            site = self.place.site_packages()
            found = [name for name in os.listdir(site) if name.endswith(".dist-info")]
        except OSError:
            return
        count = sum(os.path.exists(os.path.join(site, name, "INSTALLER")) for name in found)
        self.progress.counted(count)

    def _tell_progress(self) -> None:
        event = self.progress.event()
        event["item"] = mask(event["item"])
        if event != self._sent:
            self._sent = event
            self._journal.emit("step.progress", step=STEP, **event)

    def _tell_waiting(self, now: float) -> None:
        try:
            marks = {name for name in os.listdir(self.place.waiting) if not name.endswith(".tmp")}
        except OSError:
            marks = set()
        told = {name for name, _ in self._waiting.values()}
        for mark in marks - set(self._waiting):
            try:
                with open(os.path.join(self.place.waiting, mark)) as file:
                    name = file.read()
            except OSError:
                continue
            self._waiting[mark] = (name, now)
            if name not in told:
                self.notice("the script waits for %s (%s)" % (name, self._how_far()))
        for mark in set(self._waiting) - marks:
            name, since = self._waiting.pop(mark)
            if name not in {other for other, _ in self._waiting.values()}:
                self.notice("%s is there; the script waited %.1f s for it" % (name, now - since))

    def _how_far(self) -> str:
        event = self.progress.event()
        if event["total"]:
            return "%s, %d %%" % (self.progress.phase, 100 * event["done"] / event["total"])
        return self.progress.phase
