"""The first signal cancels, the second hurries, the third leaves; real processes, real signals."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from runctl.cli.signals import install_signals
from runctl.core.cancel import CancelToken

if TYPE_CHECKING:
    from tests.conftest import World

PROGRAM = """
import sys, time, threading
from runctl.cli.signals import install_signals
from runctl.core.cancel import CancelToken

cancel = CancelToken()
with install_signals(cancel, say=lambda text: print(text.strip(), flush=True)):
    print("ready", flush=True)
    {wait}
print("left", cancel.cancelled, cancel.hurried, cancel.reason, flush=True)
"""
POLITE = "cancel.wait(30); print('cleaning', flush=True); [time.sleep(0.02) for _ in range(1500) if not cancel.hurried]"
STUBBORN = "threading.Lock().acquire() and time.sleep(30)\n    while True: time.sleep(30)"


class Child:
    """The program above, line by line."""

    def __init__(self, world: World, wait: str, **more: object) -> None:
        self.process: subprocess.Popen[bytes] = subprocess.Popen(
            [sys.executable, "-c", PROGRAM.format(wait=wait)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=world.env,
            bufsize=0,  # select sees what a buffer would hide
            **more,  # type: ignore[call-overload]
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], 20)
        assert ready, "nothing was printed for 20 s"
        return self.process.stdout.readline().decode().strip()

    def signal(self, number: int) -> float:
        os.kill(self.process.pid, number)
        return time.monotonic()

    def end(self) -> int:
        try:
            return self.process.wait(20)
        finally:
            self.process.kill()
            self.process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_cancels_and_the_second_hurries(world: World, number: signal.Signals) -> None:
    child = Child(world, POLITE)
    assert child.line() == "ready"
    sent = child.signal(number)
    said = {child.line(), child.line()}  # two threads speak
    assert "cleaning" in said
    assert any(text.endswith("; once more to hurry") for text in said)
    assert time.monotonic() - sent < 1
    child.signal(number)
    assert child.line().startswith("hurrying")
    assert child.line().startswith("left True True")
    assert child.end() == 0


def test_the_third_leaves_at_once_even_when_the_main_thread_is_stuck(world: World) -> None:
    child = Child(world, STUBBORN)
    assert child.line() == "ready"
    for words in ("Ctrl+C; once more", "hurrying"):
        child.signal(signal.SIGINT)
        assert child.line().startswith(words)
    sent = child.signal(signal.SIGINT)
    assert child.end() == 130
    assert time.monotonic() - sent < 1


def test_what_was_ignored_stays_ignored(world: World) -> None:
    child = Child(world, "time.sleep(0.3)", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    assert child.line() == "ready"
    child.signal(signal.SIGHUP)
    assert child.line() == "left False False"
    assert child.end() == 0


def test_the_handlers_from_before_come_back_and_nothing_is_left(world: World) -> None:
    del world
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    fds = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    threads = threading.active_count()
    for _ in range(3):
        with install_signals(CancelToken(), say=lambda _: None):
            assert signal.getsignal(signal.SIGTERM) is not before[signal.SIGTERM]
    assert {number: signal.getsignal(number) for number in before} == before
    assert threading.active_count() == threads
    if fds:
        assert len(os.listdir("/proc/self/fd")) == fds


def test_in_another_thread_nothing_changes() -> None:
    seen: list[object] = []

    def work() -> None:
        before = signal.getsignal(signal.SIGTERM)
        with install_signals(CancelToken(), say=lambda _: None):
            seen.append(signal.getsignal(signal.SIGTERM) is before)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [True]


def test_a_terminal_that_is_gone_does_not_swallow_the_signal() -> None:
    cancel = CancelToken()

    def say(text: str) -> None:
        raise BrokenPipeError(text)

    with install_signals(cancel, say=say):
        os.kill(os.getpid(), signal.SIGTERM)
        assert cancel.wait(10)
    assert cancel.reason == "asked to end (SIGTERM)"
