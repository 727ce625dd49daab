"""Starts a run: checks the request, lets go of the client, and answers once a supervisor has taken over."""

from __future__ import annotations

import os

from runctl.agent import daemon, lock, status, wire
from runctl.agent.failure import AgentFailure
from runctl.agent.home import Home, make_folder, write_json

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from runctl.agent.home import RunFolder

LOCK_WAIT = 30.0  # seconds; a launch holds the lock for some 50 ms
NUMBER = (int, float)


def launch(request: dict[str, Any], *, home: Home) -> dict[str, Any]:
    """Start the run, or say how it stands when it was started before: nothing is ever started twice.

    One launch at a time on a machine: the lock is held from the look at the other runs until this run's supervisor
    has written its first status; the supervisor inherits the lock, so killing this process changes nothing.

    Raises:
        AgentFailure: ``agent-request``, ``machine-busy`` (naming the other run), ``machine-locked``,
            ``agent-crashed`` when the supervisor could not take over.
    """
    check(request)
    run = home.run(request["run"])
    make_folder(home.runs)
    held = lock.take(home.lock, seconds=LOCK_WAIT)
    try:
        before = status.observe(run)
        if before is not None:
            return _answer(before)
        if request.get("exclusive"):
            for other in status.active(home):
                raise AgentFailure("machine-busy", other=other["name"], other_run=other["run"])
        make_folder(run.path)
        write_json(run.spec, recorded(request))
        daemon.start(lambda ready: _supervise(request, run, home, ready), log=run.log, keep=held)
        return _answer(status.known(run))
    finally:
        os.close(held)


def check(request: dict[str, Any]) -> None:
    """Refuse a request that is not a ``RunRequest``; raises ``agent-request`` naming the field."""
    for name in ("run", "name", "script", "tree_digest"):
        wire.field(request, name, str)
    wire.field(request, "attempt", int)
    wire.field(request, "env", dict)
    for name in ("tree", "args"):
        wire.field(request, name, list)
    if request.get("grace") is not None:
        wire.field(request, "grace", NUMBER)
    if request.get("max_hours") is not None:
        wire.field(request, "max_hours", NUMBER)
    if request.get("deps", "wait") not in ("wait", "background", "skip"):
        raise AgentFailure("agent-request", detail="deps is %r" % (request["deps"],))
    _check_inputs(request)
    if request.get("image") is not None:
        wire.field(request, "image", str)
    for value in [*request["args"], *request["env"], *request["env"].values()]:
        if not isinstance(value, str) or "\0" in value:
            raise AgentFailure("agent-request", detail="no argument or variable: %r" % (value,))


def _check_inputs(request: dict[str, Any]) -> None:
    """``resume_from``, ``data`` and ``output`` of a request; raises ``agent-request``."""
    resume = request.get("resume_from")
    if isinstance(resume, dict):
        wire.field(resume, "store", str)
        wire.field(request, "store", dict)
    elif resume is not None and not isinstance(resume, str):
        raise AgentFailure("agent-request", detail="resume_from is %r" % (resume,))
    names = set()
    for each in request.get("data") or ():
        wire.field(each, "from", str)
        name = wire.field(each, "to", str)
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            raise AgentFailure("agent-request", detail="no name for a folder of data: %r" % name)
        if name in names:
            raise AgentFailure("data-names", name=name)
        names.add(name)
    if request.get("output") is not None:
        wire.field(request, "output", str)


def recorded(request: dict[str, Any]) -> dict[str, Any]:
    """The request as ``spec.json`` keeps it: values of the variables named in ``secret_env`` are left out. Pure."""
    secret = set(request.get("secret_env") or ())
    env = {name: None if name in secret else value for name, value in request["env"].items()}
    return dict(request, env=env)


def _answer(current: dict[str, Any]) -> dict[str, Any]:
    return {"run": current["run"], "state": current["state"], "pid": current["supervisor"]["pid"]}


def _supervise(request: dict[str, Any], run: RunFolder, home: Home, ready: Callable[[], None]) -> None:
    from runctl.agent import supervise  # noqa: PLC0415 - compiled only in the supervisor

    supervise.supervise(request, run=run, home=home, ready=ready)
