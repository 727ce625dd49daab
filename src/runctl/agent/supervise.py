"""One run from its acceptance to its end: prepare, start, watch, end, and say what became of it."""

from __future__ import annotations

import os
import signal
import time

from runctl.agent import cgroups, container, ending, outcome, processes, script, secrets
from runctl.agent.failure import AgentFailure, disk_failure
from runctl.agent.home import Home, RunFolder, size_of
from runctl.agent.journal import Journal, timestamp
from runctl.agent.prepare import Preparation
from runctl.agent.record import Record
from runctl.agent.stop import Stop
from runctl.agent.wake import Wake
from runctl.agent.watch import CheckpointWatch, OutputTimes

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

LOOK = 0.2  # seconds between looks at output and clocks; ends and cancels wake us at once
SECRETS_WAIT = (
    900.0  # seconds a client has to hand over secrets once all else is ready: the machine may cost money
)
SECRETS_LOOK = 0.05
LEFTOVER_GRACE = 5.0  # seconds a process gets that outlived its script
SAME_MOMENT = 1.0  # seconds between the script's TERM and ours when the machine goes down
DEFAULT_GRACE = 30.0  # seconds, as core.model.Limits
PR_SET_CHILD_SUBREAPER, PR_SET_NAME = 36, 15  # <linux/prctl.h>


def supervise(request: dict[str, Any], *, run: RunFolder, home: Home, ready: Callable[[], None]) -> None:
    """Do all of the run's work in this process, which is nobody's child; ``ready`` is called once it has taken over.

    Signals: USR1 says that ``cancel.json`` was written; TERM that the machine is going down, so the script gets its
    grace and the run is preempted; HUP and INT are not for us.
    """
    Supervisor(request, run=run, home=home).work(ready)


class Supervisor:
    """Everything here runs in the main thread; only ``Preparation`` has threads."""

    def __init__(self, request: dict[str, Any], *, run: RunFolder, home: Home) -> None:
        self._request = request
        self._run = run
        self._home = home
        self._wake = Wake()
        grace = request.get("grace")
        self._stop = Stop(run, grace=DEFAULT_GRACE if grace is None else float(grace))
        self._listen()
        self._adopts = _system_setup(request["name"])
        self._secrets = secrets.Awaited(run) if secrets.awaited(request) else None
        self._record = Record(run, request)
        self._journal = Journal(run.events, run.id)
        self._preparation = Preparation(
            request, run=run, home=home, journal=self._journal, stop=self._stop, wake=self._wake
        )
        self._groups: list[str] = []
        self._pid = 0
        self._stamped: dict[str, Any] | None = None
        self._container: container.Container | None = None
        self._child: script.Child | None = None
        self._deadline: float | None = None
        self._times = OutputTimes(run)
        self._checkpoints = CheckpointWatch(run, self._journal)

    def _listen(self) -> None:
        for number in (signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        self._wake.on(signal.SIGCHLD, lambda: None)
        self._wake.on(signal.SIGUSR1, self._stop.look)
        self._wake.on(signal.SIGTERM, lambda: self._stop.ask("preempted", "the machine is going down"))

    def work(self, ready: Callable[[], None]) -> None:
        """The run, whole. Whatever happens, it ends with a status that says so."""
        ready()
        failure = None
        ended = None
        oom = None
        killed: list[dict[str, Any]] = []
        try:
            self._journal.emit("run.changed", state="preparing", pid=None)
            python, variables = self._preparation.run()
            self._await_secrets()
            if not self._stop.asked:
                self._start(python, variables)
                oom = cgroups.OomWatch(self._groups)
                killed = self._watch()
        except AgentFailure as error:
            failure = error
        except Exception as error:
            failure = _crashed(error, self._run.path)
        try:
            killed += self._end_leftovers()
            if self._child is not None:
                ended = self._child.collect()
                if self._container is not None:
                    self._container.check_started(ended)
                self._await_own_term(ended)
        except AgentFailure as error:
            failure = failure or error
        except Exception as error:
            failure = failure or _crashed(error, self._run.path)
        sent_kill = any(one["pid"] == self._pid and one["signal"] == "SIGKILL" for one in killed)
        by_sigkill = ended is not None and not sent_kill and self._died_by_kill(ended)
        fields = outcome.decide(
            stop=self._stop.kind,
            why=self._stop.why,
            ended=ended,
            out_of_memory=oom is not None and oom.killed(by_sigkill=by_sigkill),
            failure=failure,
        )
        self._finish(self._copy_output(fields), ended, killed)

    def _copy_output(self, fields: dict[str, Any]) -> dict[str, Any]:
        """What the script left, to where the user wants it; a training whose results are not there did not succeed."""
        if self._child is None or not self._request.get("output"):
            return fields
        from runctl.agent import output_copy  # noqa: PLC0415 - few runs want it

        before = self._stop.asked
        failure = output_copy.copy(
            self._request,
            run=self._run,
            journal=self._journal,
            stopped=lambda: self._stop.asked and not before,
        )
        if failure is None or fields["outcome"] != "succeeded":
            return fields
        return dict(fields, outcome="failed", reason=failure.code, error=failure.to_json())

    def _died_by_kill(self, ended: script.Ended) -> bool:
        in_container = self._container is not None and ended.exit_code == 128 + signal.SIGKILL
        return ended.signal == "SIGKILL" or in_container

    def _await_secrets(self) -> None:
        """Until a client has handed over the values that stand in no file. Raises ``secrets-missing``."""
        if self._secrets is None:
            return
        names = ", ".join(secrets.awaited(self._request))
        deadline = time.monotonic() + SECRETS_WAIT
        with self._preparation.step("secrets", "wait for the values of %s" % names):
            while not self._stop.asked:
                values = self._secrets.look()
                if values is not None:
                    self._request["env"] = dict(self._request["env"], **values)
                    return
                if time.monotonic() >= deadline:
                    raise AgentFailure("secrets-missing", names=names, seconds=round(SECRETS_WAIT))
                self._wake.wait(SECRETS_LOOK)

    def _start(self, python: str, variables: dict[str, str]) -> None:
        if self._request.get("image"):
            self._start_container()
            return
        argv = script.command(self._request, python=python)
        with self._preparation.step("start", "start the script") as step:
            env = script.variables(
                self._request,
                run=self._run,
                inherited=dict(os.environ),
                environment=variables,
                inputs=self._preparation.inputs,
            )
            self._groups = cgroups.create(self._run)
            begun = time.monotonic()
            child = script.start(argv, env=env, run=self._run)
            self._child, self._pid = child, child.pid
            # It is still starting its interpreter: whatever it starts later is born in the groups.
            joined = cgroups.add(self._groups, self._pid)
            cgroups.remove(set(self._groups) - set(joined))
            self._groups = joined
            step.summary = "pid %d" % self._pid
        self._started(argv, begun)

    def _start_container(self) -> None:
        """As ``_start``. The engine's command is our child; the script is whose pid is recorded."""
        held = container.Container(self._run, engine=self._preparation.engine, image=self._request["image"])
        command = script.command(self._request, python="python3")
        with self._preparation.step("start", "start the container") as step:
            self._record.change(container={"engine": held.engine, "name": held.name})
            self._container = held
            begun = time.monotonic()
            self._child = held.start(
                command, self._request, inputs=self._preparation.inputs, data=self._home.data
            )
            held.await_start(self._child, self._wake.wait)
            self._pid = held.pid or self._child.pid
            step.summary = "pid %d in %s" % (self._pid, held.name)
        self._started(command, begun)

    def _started(self, argv: list[str], begun: float) -> None:
        hours = self._request.get("max_hours")
        self._deadline = None if hours is None else begun + hours * 3600
        self._times.begin(begun)
        known = processes.identity(self._pid)
        self._record.change(
            state="running",
            pid=self._pid,
            pid_start=None if known is None else known["start"],
            script_started_at=timestamp(),
            command=argv,
            cgroups=self._groups,
            env_key=self._preparation.env_key,
        )
        self._journal.emit("run.changed", state="running", pid=self._pid)
        self._stamp()

    def _stamp(self) -> None:
        """Say what runs, once; again when the environment it runs in has become complete meanwhile."""
        from runctl.agent import receipt  # noqa: PLC0415 - the script runs already

        now, key = self._record.now, self._preparation.env_key
        if self._stamped is None or (
            self._stamped["environment"] is None and receipt.environment(self._home, key) is not None
        ):
            self._stamped = receipt.receipt(
                self._request, home=self._home, command=now["command"], env_key=key
            )
            self._journal.emit("run.receipt", **self._stamped)

    def _watch(self) -> list[dict[str, Any]]:
        """Until the script has ended, by itself or because we had to; returns whom we told to end."""
        while self._child is not None and not self._child.has_ended():
            if self._deadline is not None and time.monotonic() >= self._deadline:
                self._stop.ask(outcome.TIME_LIMIT)
            if not os.path.exists(self._run.status):  # nobody could ever see, end or delete this run again
                self._stop.ask("cancelled", "its folder was deleted on the machine")
            if self._stop.asked:
                return ending.end(self._family(), grace=lambda: self._stop.grace, pause=self._pause)
            wait = LOOK
            if self._deadline is not None:
                wait = min(wait, self._deadline - time.monotonic())
            self._pause(wait)
        return []

    def _pause(self, seconds: float) -> None:
        self._wake.wait(seconds)
        if self._adopter():
            script.reap_others(self._pid)
        self._times.look()
        self._checkpoints.look()

    def _family(self) -> ending.Family:
        start = self._record.now["pid_start"]
        return ending.Family(
            run=self._run,
            script={"pid": self._pid, "start": start} if self._pid and start else None,
            groups=self._groups,
            adopter=self._adopter,
        )

    def _adopter(self) -> int:
        """Ourselves, once no installer can be among our children."""
        if self._container is not None:
            return 0  # the engine's own processes are among our children, and are to end by themselves
        return os.getpid() if self._adopts and not self._preparation.busy else 0

    def _end_leftovers(self) -> list[dict[str, Any]]:
        """End what outlived the script, and an installation nobody waits for any more."""
        killed = []
        if self._pid:
            grace = min(self._stop.grace, LEFTOVER_GRACE)
            killed = ending.end(self._family(), grace=lambda: grace, pause=self._pause)
        if self._preparation.busy:
            self._preparation.abandon()
            if self._pid:
                killed += ending.end(self._family(), grace=lambda: 0.0, pause=self._pause)
        return killed

    def _await_own_term(self, ended: script.Ended) -> None:
        """A machine that goes down tells everybody at once; the script may have ended before we were told."""
        deadline = time.monotonic() + SAME_MOMENT
        while ended.signal == "SIGTERM" and not self._stop.asked and time.monotonic() < deadline:
            self._wake.wait(LOOK)

    def _leave_cache(self) -> None:
        """Unmount the cache volume before anybody hears of the end, and may end the machine."""
        if self._request.get("cache"):
            from runctl.agent import cache_volume  # noqa: PLC0415 - few runs have one

            volume = cache_volume.CacheVolume(self._home, self._run, self._journal)
            self._record.now["cache"] = volume.leave(last=False)

    def _finish(
        self, fields: dict[str, Any], ended: script.Ended | None, killed: list[dict[str, Any]]
    ) -> None:
        self._times.look(last=True)
        self._checkpoints.look(last=True)
        if self._secrets is not None:
            self._secrets.close()
        cgroups.remove(self._groups)
        if self._stamped is not None:
            self._stamp()
        if self._container is not None:
            container.remove({"engine": self._container.engine, "name": self._container.name})
        self._leave_cache()
        self._journal.emit(
            "run.ended",
            outcome=fields["outcome"],
            exit_code=fields["exit_code"],
            signal=fields["signal"],
            reason=fields["reason"],
            seconds=round(self._times.elapsed(), 3),
            killed=killed,
        )
        self._record.change(
            state="ended",
            ended_at=timestamp(),
            killed=killed,
            output_bytes=size_of(self._run.output),
            peak_memory_bytes=None if ended is None else ended.peak_bytes,
            **fields,
        )


def _crashed(error: Exception, path: str) -> AgentFailure:
    """An error nobody foresaw, as a failure with its traceback; the disk being full has its own name."""
    found = disk_failure(error, path)
    if found is not None:
        return found
    import traceback  # noqa: PLC0415 - the same

    detail = "%s: %s" % (type(error).__name__, error)
    return AgentFailure("agent-crashed", detail=detail, traceback=traceback.format_exc())


def _system_setup(name: str) -> bool:
    """Adopt orphans of our descendants, and show the run's name in ``ps``; whether the system could do the first."""
    import ctypes  # noqa: PLC0415 - 10 ms, only here

    try:
        prctl = ctypes.CDLL(None, use_errno=True).prctl
    except (OSError, AttributeError):
        return False  # not Linux
    prctl(PR_SET_NAME, ctypes.c_char_p(("runctl:" + name).encode()[:15]), 0, 0, 0)
    return bool(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
