"""Ending a run's processes, all of them: also those that left its process group, its session or their parents."""

from __future__ import annotations

import os
import signal
import time

from runctl.agent import cgroups, processes

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from runctl.agent.home import RunFolder
    from runctl.agent.processes import Process

FIRST_LOOK, SLOWEST_LOOK = 0.01, 0.25  # seconds between two looks at whether they are gone
GIVE_UP = 10.0  # seconds of KILL after which a process is stuck in the kernel and waiting helps nobody


class Family:
    """The processes of one run.

    They are: what is in its control groups; what is in the script's session; what carries its checkpoint folder in
    its environment (an id alone could be another home's run); what we adopted as their subreaper; and the
    descendants of all of these.
    """

    def __init__(
        self,
        *,
        run: RunFolder,
        script: dict[str, Any] | None,
        groups: list[str],
        adopter: Callable[[], int] = lambda: 0,
    ) -> None:
        """``adopter`` says whose children, but for the script's, are the run's too; 0: nobody's."""
        self._mark = b"RUNCTL_CHECKPOINT_DIR=" + os.fsencode(run.checkpoints)
        self._script = script
        self._groups = groups
        self._adopter = adopter

    def alive(self) -> list[Process]:
        """Those that run now, zombies left out, oldest first as far as pids tell."""
        among = processes.table()
        adopter = self._adopter()
        session = self._session(among)
        spared = self._spared(among)
        roots = cgroups.pids(self._groups)
        for process in among.values():
            if (
                (session and session in (process.session, process.group))
                or (adopter and process.parent == adopter)
                or processes.carries(process.pid, self._mark)
            ):
                roots.add(process.pid)
        ours = processes.descendants(roots - spared, among) - spared
        return [among[pid] for pid in sorted(ours) if among[pid].state not in processes.GONE]

    def _session(self, among: dict[int, Process]) -> int:
        """The script's session; 0 when its number belongs to somebody else by now."""
        if self._script is None:
            return 0
        leader = among.get(self._script["pid"])
        return 0 if leader is not None and leader.start != self._script["start"] else self._script["pid"]

    @staticmethod
    def _spared(among: dict[int, Process]) -> set[int]:
        """We ourselves and what is above us: a run may itself have started what ends it."""
        found = set()
        pid = os.getpid()
        while pid in among and pid not in found:
            found.add(pid)
            pid = among[pid].parent
        return found

    def kill_groups(self) -> None:
        """The kernel's own way to kill all of a group at once, where it has one."""
        cgroups.kill(self._groups)


def end(
    family: Family,
    *,
    grace: Callable[[], float],
    pause: Callable[[float], None],
) -> list[dict[str, Any]]:
    """TERM everybody, wait ``grace()`` seconds, KILL who is left; returns when all are gone.

    Args:
        family: who.
        grace: seconds between TERM and KILL; asked again and again, so it may be shortened meanwhile.
        pause: waits that long, or shorter when something happened.

    Returns:
        Whom we told: ``{"pid", "command", "signal"}``, the last signal being the one that is recorded. A process
        that survives KILL for ten seconds is listed with ``"stuck": true``.
    """
    told: dict[tuple[int, str], dict[str, Any]] = {}
    begun = time.monotonic()
    look = FIRST_LOOK
    while True:
        left = family.alive()
        waited = time.monotonic() - begun
        if not left:
            return list(told.values())
        if waited > grace() + GIVE_UP:
            for process in left:
                told[process.pid, process.start]["stuck"] = True
            return list(told.values())
        hard = waited >= grace()
        for process in left:
            _tell(process, told, hard=hard)
        if hard:
            family.kill_groups()
            look = FIRST_LOOK
        pause(min(look, max(grace() - waited, FIRST_LOOK)))
        look = min(look * 2, SLOWEST_LOOK)


def _tell(process: Process, told: dict[tuple[int, str], dict[str, Any]], *, hard: bool) -> None:
    key = (process.pid, process.start)
    if key not in told:
        told[key] = {"pid": process.pid, "command": processes.command(process.pid), "signal": "SIGTERM"}
        if not hard:
            processes.send(process, signal.SIGTERM)
            processes.send(process, signal.SIGCONT)  # a stopped process hears TERM only once it goes on
    if hard:
        told[key]["signal"] = "SIGKILL"
        processes.send(process, signal.SIGKILL)
