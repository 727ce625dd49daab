"""Looks after one run on a machine that is paid for: what it leaves goes to the store, then the machine goes back.

A process beside the run's supervisor, neither its child nor its parent. It moves the machine's deadline forward as long
as the run lives or is being saved, hears when EC2 wants the machine back and when somebody cancels the run in the store,
and shuts the machine down when all is saved. Killed at any moment, it is started again (``guard``) and goes on from
what the store has.
"""

from __future__ import annotations

import os
import signal
import time

from runctl.agent import guard, lease, lock, status
from runctl.agent.boot import Boot
from runctl.agent.depositing import Depositing
from runctl.agent.duty import Duty
from runctl.agent.failure import AgentFailure
from runctl.agent.home import Home, RunFolder, write_json
from runctl.agent.journal import Journal, timestamp
from runctl.agent.launcher import Launcher
from runctl.agent.orders import Orders
from runctl.agent.record import unstarted
from runctl.agent.reporting import Reporting
from runctl.agent.saving import Saving
from runctl.agent.store import open_store
from runctl.agent.wake import Wake
from runctl.s3.patience import Patience

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

TICK = 0.2  # seconds
LOCK_WAIT = 10.0  # seconds a keeper that turns itself into a new one needs to let go
REARMS = 3.0  # times in a lease that the deadline is moved forward
REARM_AGAIN = 60.0  # seconds until that is tried again where it failed
TROUBLE_TOLD = 30.0  # seconds a duty may fail before anybody is told
LAST_WORDS = 20.0  # seconds the last report may take before the machine goes down without it
NICE = 5
SPARED = -900  # of oom_score_adj(5); -1000 would be never
HOPELESS = 24 * 3600.0  # seconds without any progress after which a machine without a deadline is left alone


def _stay_alive() -> None:
    """Be the last that the kernel ends when memory runs out, and the one that waits when the script wants the CPU."""
    try:
        os.nice(NICE)
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write(str(SPARED))
    except OSError:
        pass  # not root, or not Linux


class Keeper:
    """The main thread: deadline, phases, end. What talks to the store or to EC2 has threads of its own."""

    def __init__(
        self, request: dict[str, Any], *, run: RunFolder, home: Home, digest: str, boots: bool
    ) -> None:
        self._request, self._run, self._home = request, run, home
        self._digest, self._boots = digest, boots
        self._guardian = os.getppid()
        self._lease = float(request.get("lease_seconds") or 0)
        self._phase = "waiting"
        self._state = ""
        self._over = False
        self._arm_at = 0.0
        self._expires = ""
        self._progress_at = time.monotonic()
        self._told: dict[str, str] = {}
        self._fate: dict[str, Any] | None = None

    def work(self) -> None:
        """To the end of the run and of the lease; returns when there is nothing left to keep."""
        held = self._alone()
        if held is None:
            return
        launcher = Launcher(self._home) if self._boots and status.observe(self._run) is None else None
        self._begin()
        if launcher is not None:
            self._boot(launcher)
        self._keep()
        self._end()

    def _alone(self) -> int | None:
        """The lock that only one keeper of the run has; None when another one keeps it."""
        fd = os.open(self._run.keeper_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + LOCK_WAIT
        while not lock.try_take(fd):
            if time.monotonic() > deadline:
                os.close(fd)
                return None
            time.sleep(TICK / 10)
        return fd

    def _begin(self) -> None:
        self._wake = Wake()
        self._note()
        self._expires = lease.expires_at(self._home)
        self._arm_at = time.monotonic() + self._lease / REARMS
        patience = Patience(attempts=2, seconds=10.0, stopped=lambda: self._over)
        self._store = store = open_store(self._request["store"], patience=patience)
        attempt = "runs/%s/%d/" % (self._run.id, self._request["attempt"])
        self._journal = Journal(self._run.events, self._run.id)
        self._reporting = Reporting(store, attempt, self._run, self._progressed)
        self._orders = Orders(
            self._request,
            run=self._run,
            home=self._home,
            journal=self._journal,
            store=store,
            digest=self._digest,
        )
        self._saving = Saving(
            store,
            attempt,
            run=self._run,
            journal=self._journal,
            progress=self._progressed,
            ended=lambda: self._state == "ended",
        )
        self._depositing = Depositing(
            store,
            run=self._run,
            home=self._home,
            journal=self._journal,
            progress=self._progressed,
            leaves=lambda: self._orders.stopping is not None or self._orders.notice is not None,
            ended=lambda: self._state == "ended",
        )
        self._reports = Duty("report", self._report)
        self._saves = Duty("save", self._saving.step)
        self._duties = [self._reports, *self._orders.duties()]
        for duty in self._duties:
            duty.start()
        self._wake.on(signal.SIGTERM, self._hurry)

    def _report(self) -> float:
        self._reporting.report(
            self._status(),
            {
                "phase": self._phase,
                "expires_at": self._expires,
                "machine": self._orders.machine,
                "notice": self._orders.notice,
            },
        )
        return TICK

    def _status(self) -> dict[str, Any] | None:
        """The run's, or how it ended before there was one to write down; None when there is none on this machine."""
        return status.observe(self._run) or self._fate

    def _hurry(self) -> None:
        """The machine goes down, and there is little time. Others may not have been told yet."""
        if self._phase == "done":
            os._exit(0)  # it does so because we said so, and waits for nobody but us
        self._orders.terminate()
        self._reporting.hurry()
        for duty in (*self._duties, self._saves):
            duty.hurry()

    def _progressed(self, _count: int) -> None:
        self._progress_at = time.monotonic()

    def _boot(self, launcher: Launcher) -> None:
        """Until the run is on its way, or has ended without having begun."""
        boot = Boot(
            self._request,
            home=self._home,
            journal=self._journal,
            launcher=launcher,
            stopped=lambda: self._orders.stopping is not None,
        )
        duty = Duty("boot", boot.work)
        duty.start()
        while not duty.over:
            self._tick(renew=boot.called)
        launcher.close()
        if status.observe(self._run) is not None:
            return
        attempt, stopping, error = self._request["attempt"], self._orders.stopping, boot.failure
        if stopping is not None:
            self._fate = unstarted(self._run, attempt, outcome=stopping.kind, reason=stopping.reason)
        else:
            told = error.to_json()
            self._fate = unstarted(self._run, attempt, outcome="failed", reason=error.code, error=told)

    def _keep(self) -> None:
        """Until the run has ended and all of it is in the store, or there is no hope for that."""
        self._saves.start()
        deposits = Duty("environment", self._depositing.step)
        deposits.start()
        self._duties += [self._saves, deposits]
        Duty("cache", self._keep_large).start()
        _stay_alive()
        while True:
            now = self._status()
            if now is None:
                return  # somebody removed the run from this machine: there is nothing to save
            self._state = now["state"]
            phase = "saving" if self._state == "ended" else "running"
            if phase != self._phase:
                self._phase = phase
                self._saves.hurry()  # somebody may wait for it
            idle = time.monotonic() - self._progress_at
            hopeful = self._state != "ended" or idle < self._lease
            if self._saving.over and self._reporting.said_end and not self._depositing.patient():
                return
            if not hopeful and not self._lease and idle > HOPELESS:
                return
            self._tick(renew=lambda hopeful=hopeful: hopeful)  # type: ignore[misc]

    def _end(self) -> None:
        """The cache volume, the last report, then the machine: given back, or kept until its deadline."""
        self._leave_cache()
        self._phase = "done"
        limit = time.monotonic() + LAST_WORDS
        while not self._reporting.said("done") and time.monotonic() < limit:
            self._tick(renew=lambda: True)
        if not self._lease or self._request["release"] == "keep":
            if self._lease:
                self._arm()
            self._note(over=True)
            return
        while True:
            while status.active(self._home):
                self._tick(renew=lambda: True)  # another run shares the machine; its own keeper has no lease
            self._release()

    def _keep_large(self) -> float:
        """Once: the project's large files go to the cache volume, if there is one, while the script runs."""
        from runctl.agent import cache_blobs, cache_volume  # noqa: PLC0415 - few runs have one

        path = cache_volume.CacheVolume(self._home, self._run, self._journal).mounted()
        if path:
            cache_blobs.keep(self._run, path, home=self._home, stopped=lambda: self._state == "ended")
        return -1.0

    def _leave_cache(self) -> None:
        """Unmount the cache volume where the supervisor did not, or was killed before."""
        from runctl.agent import cache_volume  # noqa: PLC0415 - few runs have one

        cache_volume.CacheVolume(self._home, self._run, self._journal).leave(last=True)

    def _release(self) -> None:
        try:
            lease.release()
        except AgentFailure as error:
            os.write(2, ("the machine could not be shut down: %s\n" % error.facts["detail"]).encode())
        limit = time.monotonic() + REARM_AGAIN
        while time.monotonic() < limit:
            self._wake.wait(TICK)

    def _tick(self, *, renew: Callable[[], bool]) -> None:
        """Wait a little; see to the deadline, to the guardian, and to what nobody has been told yet."""
        self._wake.wait(TICK)
        if os.getppid() != self._guardian:
            guard.become(
                "boot" if self._boots else "keep", self._request, home=self._home, digest=self._digest
            )
            self._guardian = os.getppid()  # it could not be done: go on without
        if self._lease and time.monotonic() >= self._arm_at and renew():
            self._arm()
        self._tell_troubles()

    def _arm(self) -> None:
        """Move the machine's deadline a whole lease forward."""
        try:
            self._expires = timestamp(lease.arm(self._home, self._lease))
            self._arm_at = time.monotonic() + self._lease / REARMS
        except AgentFailure as error:
            self._arm_at = time.monotonic() + REARM_AGAIN
            self._tell("deadline", "the machine's deadline cannot be moved: %s" % error.facts["detail"])

    def _tell_troubles(self) -> None:
        for duty in self._duties:
            if not duty.trouble:
                if self._told.pop(duty.name, ""):
                    self._journal.emit("notice", level="info", text="the store can be reached again")
            elif time.monotonic() - duty.since > TROUBLE_TOLD and duty.name in ("report", "save"):
                self._tell(duty.name, "what the run leaves cannot be stored now: %s" % duty.trouble)

    def _tell(self, about: str, text: str) -> None:
        """A warning, once."""
        if about not in self._told:
            self._told[about] = text
            self._journal.emit("notice", level="warning", text=text)

    def _note(self, *, over: bool = False) -> None:
        """Write down who keeps the run, for tests and for people; a full disk costs the note."""
        known = {
            "attempt": self._request["attempt"],
            "pid": os.getpid(),
            "guardian": self._guardian,
            "over": over,
        }
        try:
            write_json(self._run.keeper, known)
        except OSError:
            pass
