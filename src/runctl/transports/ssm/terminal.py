"""A shell on an instance: the account's standard session, as its preferences have it (RunAs, logging, profile)."""

from __future__ import annotations

import contextlib
import json
import queue
import time
from typing import TYPE_CHECKING

from runctl.core import ssm_frames
from runctl.core.catalogue import known
from runctl.core.errors import RunctlError
from runctl.transports.ssm.channel import SEPARATES, Channel, Ending

if TYPE_CHECKING:
    from runctl.core.cancel import CancelToken
    from runctl.core.ports import Terminal
    from runctl.transports.ssm.gateway import Gateway

SILENT_SECONDS = 5.0  # a shell that says nothing for so long is taken to be there all the same
LOOK_SECONDS = 0.02  # between looks at the keys while the shell is silent


class _Screen:
    """Hears the session; what it says waits for whoever shows it."""

    def __init__(self) -> None:
        self.said: queue.SimpleQueue[bytes | Ending] = queue.SimpleQueue()

    def heard(self, kind: int, payload: bytes) -> None:
        """Output."""
        if kind == ssm_frames.DATA:
            self.said.put(payload)

    def lost(self) -> None:
        """What was typed meanwhile arrives later."""

    def resumed(self) -> None:
        """It goes on where it was."""

    def ended(self, ending: Ending) -> None:
        """The shell has ended."""
        self.said.put(ending)


def shell(gateway: Gateway, terminal: Terminal, cancel: CancelToken) -> None:
    """Until the shell ends, the terminal is gone, or the token is set; the session is ended then.

    Raises:
        RunctlError: what AWS refuses; ``session-cut``, ``session-refused``, ``session-encrypted``.
        Cancelled: the token was set.
    """
    screen = _Screen()
    channel = Channel(gateway, gateway.start("", {}, cancel), screen, version=SEPARATES)
    try:
        _converse(channel, screen, terminal, cancel)
    finally:
        channel.close()
        with contextlib.suppress(RunctlError):
            gateway.terminate(channel.session, cancel)


def _converse(channel: Channel, screen: _Screen, terminal: Terminal, cancel: CancelToken) -> None:
    told: tuple[object, ...] = ()
    limit = time.monotonic() + SILENT_SECONDS
    while True:
        cancel.check()
        # again once the shell is there: agents drop what they get before
        if told != (now := (*terminal.size(), channel.began)):
            told = now
            size = json.dumps({"cols": now[0], "rows": now[1]}).encode()
            channel.send(size, ssm_frames.SIZE, cancel=cancel)
        with contextlib.suppress(queue.Empty):
            while True:
                said = screen.said.get_nowait()
                if isinstance(said, Ending):
                    _check(said, channel)
                    return
                terminal.show(said)
        if not channel.began and time.monotonic() < limit:
            cancel.wait(
                LOOK_SECONDS
            )  # what comes before the shell is there is lost; it waits in the terminal
            continue
        typed = terminal.keys(LOOK_SECONDS)
        if typed == b"":
            return
        if typed:
            channel.send(typed, cancel=cancel)


def _check(ending: Ending, channel: Channel) -> None:
    """Raise why a shell ended that did not end by itself."""
    if ending.error is not None:
        raise ending.error
    if not channel.began:
        raise known(
            "session-refused", instance=channel.instance, detail=ending.words or "no reason was given"
        )
