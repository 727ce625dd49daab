"""Who may end a run from outside: somebody who cancels it in the store, and EC2, which takes the machine back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

from runctl.agent import guard, notice, processes, status
from runctl.agent.duty import Duty
from runctl.agent.failure import AgentFailure
from runctl.agent.home import Home, RunFolder, read_json
from runctl.agent.journal import timestamp
from runctl.agent.metadata import Metadata

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from typing import Any

    from runctl.agent.journal import Journal
    from runctl.agent.store import Store

CANCEL_EVERY = 5.0  # seconds between two looks for cancel.json
NOTICE_EVERY = 2.0  # seconds; AWS recommends to look every five
NO_EC2 = 3  # failures in a row after which there is no metadata service here
DEFAULT_GRACE = 30.0  # seconds, as core.model.Limits
WAIT = 30.0  # seconds the command that stops a run may take


class Stopping:
    """What ended the run from outside: ``kind`` is ``cancelled`` or ``preempted``."""

    def __init__(self, kind: str, reason: str, grace: float) -> None:
        self.kind = kind
        self.reason = reason
        self.grace = grace


class Orders:
    """Looks for both, and hands them to the run. ``stopping`` is set before the run is told."""

    def __init__(
        self,
        request: dict[str, Any],
        *,
        run: RunFolder,
        home: Home,
        journal: Journal,
        store: Store,
        digest: str,
    ) -> None:
        self._request, self._run, self._home, self._digest = request, run, home, digest
        self._store, self._journal = store, journal
        self._metadata = Metadata()
        self._obeyed = b""
        self._failures = 0
        self._rebalance = False
        self.stopping: Stopping | None = None
        self.machine = ""  # the instance's id
        self.notice: dict[str, Any] | None = None  # EC2's, once there is one

    def duties(self) -> list[Duty]:
        """What is to be done all the time."""
        found = [Duty("orders", self._look_in_store)]
        if os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() != "true":
            found.append(Duty("notice", self._ask_ec2))
        return found

    def _look_in_store(self) -> float:
        try:
            data = self._store.get("runs/%s/cancel.json" % self._run.id)
        except AgentFailure as error:
            if error.code == "store-missing":
                return CANCEL_EVERY
            raise
        if data != self._obeyed:
            try:
                order = json.loads(data)
                meant = int(order.get("attempt") or self._request["attempt"])
                grace = float(order.get("grace", DEFAULT_GRACE))
            except (ValueError, TypeError, AttributeError):
                meant, grace, order = self._request["attempt"], DEFAULT_GRACE, {}
            if meant < self._request["attempt"] or self._stop(
                Stopping("cancelled", str(order.get("reason") or "cancelled in the store"), grace)
            ):
                self._obeyed = data
        return CANCEL_EVERY

    def _ask_ec2(self) -> float:
        try:
            if not self.machine:
                self.machine = self._metadata.get("meta-data/instance-id") or ""
            found = notice.interruption(self._metadata)
            rebalance = not self._rebalance and found is None and notice.rebalance(self._metadata)
        except AgentFailure:
            self._failures += 1
            if not self.machine and self._failures >= NO_EC2:
                return -1.0
            raise
        if rebalance:
            self._rebalance = True
            text = "EC2 may take this machine back soon (a rebalance recommendation)"
            self._journal.emit("notice", level="info", text=text)
        if found is None:
            return NOTICE_EVERY
        return self._taken_back(found)

    def _taken_back(self, found: notice.Interruption) -> float:
        at = timestamp(found.at)
        if self.notice is None:
            self.notice = {"action": found.action, "at": at}
            text = "EC2 takes this machine back at %s (%s)" % (at, found.action)
            self._journal.emit("notice", level="warning", text=text)
        grace = notice.grace(found.at, time.time())
        if not self._stop(Stopping("preempted", "EC2 takes the machine back (%s)" % found.action, grace)):
            return NOTICE_EVERY / 4
        return -1.0

    def _stop(self, wanted: Stopping) -> bool:
        """End the run; whether it has been told. A run that has not begun is told by ``stopping`` alone."""
        if self.stopping is None:
            self.stopping = wanted
        now = status.observe(self._run)
        if now is None:
            return False
        if now["state"] == "ended":
            return True
        # The command is run by a process of its own: this one has threads, and what it forks may hang.
        request = {"run": self._run.id, "kind": wanted.kind, "reason": wanted.reason, "grace": wanted.grace}
        try:
            done = subprocess.run(
                guard.argv_of("cancel", home=self._home, digest=self._digest),
                input=json.dumps(request).encode() + b"\n",
                stdout=subprocess.PIPE,
                timeout=WAIT,
                check=False,
            )
            heard = done.returncode == 0
        except (OSError, subprocess.TimeoutExpired):
            heard = False
        if not heard and wanted.kind == "preempted":
            heard = self.terminate()
        return heard

    def terminate(self) -> bool:
        """TERM to the supervisor, which means that the machine goes down; needs no disk. Whether there is one."""
        known = (read_json(self._run.status) or {}).get("supervisor") or {"pid": 0}
        supervisor = processes.find(known["pid"]) if processes.alive(known) else None
        return supervisor is not None and processes.send(supervisor, signal.SIGTERM)
