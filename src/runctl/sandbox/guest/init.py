"""PID 1 of an instance: starts its services and, once in its life, its user data; reaps; powers off when asked.

Standard library only; it is run by path (`python -I -S init.py`) inside the instance, where `/run/runctl/boot.json`
says what to do. How it ends says what becomes of the instance: 0 is powered off, REBOOT wants to be booted again.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import signal
import sys
import time
from typing import Any

BOOT = "/run/runctl/boot.json"
SCHEDULE = "/run/runctl/shutdown.json"  # written by power.py before it sends SIGUSR1
USER_DATA = "/run/runctl/user-data"
SEED = "/var/lib/cloud/data/instance-id"  # the instance whose user data was run from this disk
SCRIPT = "/var/lib/cloud/instance/user-data.txt"
PER_BOOT = "/var/lib/cloud/scripts/per-boot"  # programs that cloud-init runs at every boot
CLOUD_LOG = "/var/log/cloud-init-output.log"
REBOOT = 64
GRACE = 2.0  # seconds between TERM and KILL of what runs when the instance goes down
RESPAWN = 1.0  # seconds before a service that ended is started again

# The signals systemd understands as halt, power off and reboot; SIGTERM asks a container's init to stop.
HALT, POWEROFF, RESTART = signal.SIGRTMIN + 3, signal.SIGRTMIN + 4, signal.SIGRTMIN + 5
WATCHED = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, HALT, POWEROFF, RESTART}


def say(text: str) -> None:
    """A line on the console."""
    sys.stdout.write(f"[{time.clock_gettime(time.CLOCK_MONOTONIC):12.3f}] {text}\n")
    sys.stdout.flush()


def spawn(argv: list[str], env: dict[str, str], output: int, *, stdin: int = 0) -> int:
    """Starts a child in a session of its own with no signal blocked; its pid. Raises OSError."""
    moves = [
        (os.POSIX_SPAWN_DUP2, stdin, 0),
        (os.POSIX_SPAWN_DUP2, output, 1),
        (os.POSIX_SPAWN_DUP2, output, 2),
    ]
    return os.posix_spawnp(argv[0], argv, env, file_actions=moves, setsigmask=[], setsid=True)


class Service:
    """A program that is started again whenever it ends; `pid` is 0 while it is not running."""

    def __init__(self, argv: list[str], env: dict[str, str], log: str) -> None:
        self.argv, self.env, self.log = argv, env, log
        self.pid = 0
        self.due = 0.0

    def start(self) -> None:
        """Starts it; a program that cannot be started is said on the console and tried again later."""
        try:
            os.makedirs(os.path.dirname(self.log), exist_ok=True)
            output = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            try:
                self.pid = spawn(self.argv, self.env, output)
            finally:
                os.close(output)
        except OSError as error:
            say(f"cannot start {self.argv[0]}: {error}")
            self.ended()

    def ended(self) -> None:
        """Takes note that it is not running; `due` is when it is to be started again."""
        self.pid = 0
        self.due = time.monotonic() + RESPAWN


def run_user_data(instance_id: str, env: dict[str, str]) -> None:
    """Runs the user data if this disk has not seen this instance before; its output goes to the log and console."""
    with contextlib.suppress(OSError), open(SEED) as file:
        if file.read() == instance_id:
            return
    for path in (SEED, SCRIPT):
        os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(USER_DATA, "rb") as file:
        data = file.read()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    with open(SCRIPT, "wb") as file:
        file.write(data)
    os.chmod(SCRIPT, 0o700)
    with open(SEED, "w") as file:
        file.write(instance_id)
    if data[:2] == b"#!":
        start_script(env)
    elif data:
        with open(CLOUD_LOG, "ab") as log:
            log.write(
                b"user data that does not begin with #! is kept at " + SCRIPT.encode() + b" but not run\n"
            )
        say("user data is not a script; not run")


def run_per_boot(env: dict[str, str]) -> None:
    """Starts what lies in PER_BOOT, in the order of the names."""
    with contextlib.suppress(FileNotFoundError):
        for name in sorted(os.listdir(PER_BOOT)):
            path = os.path.join(PER_BOOT, name)
            if os.access(path, os.X_OK):
                start_script(env, path)


def start_script(env: dict[str, str], path: str = SCRIPT) -> None:
    """Starts a script with its output copied to the log and to the console."""
    reading, writing = os.pipe()
    spawn(["tee", "-a", CLOUD_LOG], env, 1, stdin=reading)
    os.close(reading)
    try:
        spawn([path], env, writing)
    except OSError as error:
        os.write(writing, f"cannot run {path}: {error}\n".encode())
    finally:
        os.close(writing)


def reap(services: list[Service]) -> None:
    """Collects every child that ended, orphans too."""
    with contextlib.suppress(ChildProcessError):
        while pid := os.waitpid(-1, os.WNOHANG)[0]:
            for service in services:
                if service.pid == pid:
                    service.ended()


def scheduled() -> tuple[float, str] | None:
    """When `shutdown +N` wants the end, and which; None when nothing is planned."""
    try:
        with open(SCHEDULE) as file:
            plan = json.load(file)
    except (OSError, ValueError):
        return None
    return float(plan["at"]), str(plan["kind"])


def serve(services: list[Service]) -> int:
    """Watches over everything until the instance is to end; the exit status that says how."""
    plan = None
    while True:
        now = time.monotonic()
        for service in services:
            if not service.pid and service.due <= now:
                service.start()
        waits = [service.due - now for service in services if not service.pid]
        waits += [plan[0] - time.time()] if plan else []
        got = signal.sigtimedwait(WATCHED, max(0.0, min(waits, default=3600.0)))
        if plan and time.time() >= plan[0]:
            return REBOOT if plan[1] == "reboot" else 0
        if got is None or got.si_signo == signal.SIGCHLD:
            reap(services)
        elif got.si_signo == signal.SIGUSR1:
            plan = scheduled()
        else:
            return REBOOT if got.si_signo in {RESTART, signal.SIGINT} else 0


def end_everything() -> None:
    """TERM to all, GRACE to obey, then KILL."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, number)
        limit = time.monotonic() + GRACE
        with contextlib.suppress(ChildProcessError):
            while time.monotonic() < limit:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    signal.sigtimedwait({signal.SIGCHLD}, 0.05)


def main() -> int:
    """Boots, serves, goes down; the exit status."""
    signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
    with open(BOOT) as file:
        boot: dict[str, Any] = json.load(file)
    say(f"runctl sandbox: {boot['instance_id']} is starting as {boot['hostname']} ({boot['address']})")
    os.umask(0o022)
    services = [
        Service(each["argv"], {**boot["env"], **each["env"]}, each["log"]) for each in boot["services"]
    ]
    for service in services:
        service.start()
    try:
        run_per_boot(boot["env"])
        run_user_data(boot["instance_id"], boot["env"])
    except OSError as error:  # a full disk must not keep the machine from coming up
        say(f"cannot run the user data: {error}")
    say("boot finished")
    status = serve(services)
    say("going down: " + ("reboot" if status == REBOOT else "power off"))
    end_everything()
    say("down")
    return status


if __name__ == "__main__":
    sys.exit(main())
