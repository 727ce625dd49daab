"""The script as a process: what it is started with, and how it ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from runctl.agent.failure import AgentFailure
from runctl.agent.home import RunFolder, make_folder
from runctl.agent.tree import decoded, encoded

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class Ended:
    """How a process ended: its exit code, or the name of the signal; peak memory of it and of what it waited for."""

    def __init__(self, wait_status: int, peak_bytes: int) -> None:
        number = wait_status & 0x7F
        self.exit_code = None if number else wait_status >> 8
        self.signal = signal_name(number) if number else None
        self.peak_bytes = peak_bytes


def signal_name(number: int) -> str:
    """``SIGTERM`` for 15; the number itself where the system has no name for it (real-time signals)."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return "SIG%d" % number


def command(request: dict[str, Any], *, python: str) -> list[str]:
    """The argv: the interpreter, the script by its path from the project root, the user's arguments. Pure."""
    path = request["script"]
    return [decoded(python), "./" + path if path.startswith("-") else path, *request["args"]]


def variables(
    request: dict[str, Any],
    *,
    run: RunFolder,
    inherited: Mapping[str, str],
    environment: Mapping[str, str],
    inputs: Mapping[str, str],
) -> dict[str, str]:
    """The script's environment: ours, the built environment's, the user's, and runctl's on top. Pure.

    ``PYTHONUNBUFFERED`` comes before the user's own: a script that prints millions of lines may want its buffer.
    """
    found = {decoded(name): decoded(value) for name, value in inherited.items()}
    for name in ("RUNCTL_RESUME_PATH", "RUNCTL_DATA_DIR"):
        found.pop(name, None)
    found.update((name, decoded(value)) for name, value in environment.items())
    found["PYTHONUNBUFFERED"] = "1"
    found.update(request["env"])
    found.update(
        RUNCTL_RUN_ID=request["run"],
        RUNCTL_RUN_NAME=request["name"],
        RUNCTL_ATTEMPT=str(request["attempt"]),
        RUNCTL_CHECKPOINT_DIR=decoded(run.checkpoints),
        RUNCTL_OUTPUT_DIR=decoded(run.outputs),
    )
    if isinstance(request.get("resume_from"), str):
        found["RUNCTL_RESUME_PATH"] = request["resume_from"]
    found.update((name, decoded(value)) for name, value in inputs.items())
    return found


class Child:
    """The script while it runs, as the child of this process."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._ended: Ended | None = None

    def has_ended(self) -> bool:
        """Whether it has ended. Where the system allows it is not reaped by this: its pid stays its own."""
        if hasattr(os, "waitid"):
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
        return self._reap(os.WNOHANG)

    def collect(self) -> Ended:
        """How it ended; waits for that, and reaps it. Safe to repeat."""
        self._reap(0)
        assert self._ended is not None
        return self._ended

    def _reap(self, options: int) -> bool:
        if self._ended is None:
            pid, wait_status, usage = os.wait4(self.pid, options)
            unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2): bytes there, KiB elsewhere
            self._ended = Ended(wait_status, usage.ru_maxrss * unit) if pid else None
        return self._ended is not None


def reap_others(pid: int) -> None:
    """Reap every child that has ended but this one: orphans we adopted, which nobody else will ever wait for."""
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        except ChildProcessError:
            return
        if found is None or found.si_pid == pid:
            return
        os.waitpid(found.si_pid, 0)


def make_folders(run: RunFolder) -> None:
    """What the script may write to. Safe to repeat."""
    make_folder(run.checkpoints)
    make_folder(run.outputs)


def start(argv: list[str], *, env: Mapping[str, str], run: RunFolder) -> Child:
    """Start the script in a session of its own; its stdout and stderr are ``output.log`` itself.

    Raises:
        AgentFailure: ``script-not-started`` with the system's reason.
    """
    make_folders(run)
    output = os.open(run.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        process = subprocess.Popen(
            [encoded(part) for part in argv],
            cwd=os.fsencode(run.code),
            env={encoded(name): encoded(value) for name, value in env.items()},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    except OSError as error:
        detail = error.strerror or str(error)
        raise AgentFailure("script-not-started", command=argv, detail=detail) from error
    finally:
        os.close(output)
    process.returncode = 0  # Child waits for it, and sees more than Popen would; this one must never
    return Child(process.pid)
