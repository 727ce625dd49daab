"""Build an environment because somebody asks for it, not because a run needs it: the whole time he is told how it goes.

Lines of JSON: the events of the step, an empty line where a second passed without any, and the answer last. Who asked
and does not listen any more has cancelled.
"""

from __future__ import annotations

import signal
import threading

from runctl.agent import environment, wire
from runctl.agent.env_recipe import Place
from runctl.agent.failure import AgentFailure
from runctl.agent.home import read_json
from runctl.agent.journal import Teller

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from typing import Any

    from runctl.agent.home import Home

HEARTBEAT = 1.0  # seconds of silence after which a client that is gone is noticed


def build(request: dict[str, Any], *, home: Home) -> dict[str, Any]:
    """Build what ``environment`` asks for, or find it: ``{key, python, packages, seconds, built}``. Safe to repeat.

    ``code`` is the folder the files of the request are in, ``store`` (or None) a ``StoreAccess`` that may hold the
    environment and gets it; ``not_stored`` says why it did not. TERM, HUP and a client that is gone end the installer and leave nothing that is taken for complete.

    Raises:
        AgentFailure: as ``environment.ensure``.
    """
    told = Telling()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda _number, _frame: told.gone.set())
    beating = threading.Thread(target=told.beat, daemon=True)
    beating.start()
    try:
        made = environment.ensure(
            wire.field(request, "environment", dict),
            home=home.path,
            code=wire.field(request, "code", str),
            journal=told,
            cancelled=told.gone.is_set,
            store=request.get("store"),
        )
    finally:
        told.over.set()
        beating.join()  # before the answer: that is the last line
    place = Place(home.path, made.key)
    record = read_json(place.marker) or {}
    return {
        "key": made.key,
        "not_stored": "" if request.get("store") is None else _deposited(place, request["store"], home),
        "python": record.get("python", ""),
        "packages": record.get("packages", 0),
        "seconds": record.get("seconds", 0.0),
        "built": told.worked,
    }


def _deposited(place: Place, access: dict[str, Any], home: Home) -> str:
    """Put it into the store as a run would; empty, or why it is not there."""
    from runctl.agent import env_deposit  # noqa: PLC0415 - a machine without a store does without
    from runctl.agent.env_parts import Unpackable  # noqa: PLC0415
    from runctl.agent.store import open_store  # noqa: PLC0415

    store = open_store(access)
    try:
        env_deposit.deposit(place, store, home=home.path)
    except (Unpackable, AgentFailure) as error:
        return str(error.facts.get("detail") or error.code) if isinstance(error, AgentFailure) else str(error)
    finally:
        store.close()
    return ""


class Telling(Teller):
    """Events as lines on stdout, in place of a run's journal. ``gone`` is set once nobody reads them."""

    def __init__(self) -> None:
        super().__init__("")
        self.gone = threading.Event()
        self.over = threading.Event()
        self.worked = False  # whether it was not simply there

    def emit(self, kind: str, **fields: Any) -> None:
        """Tell one event."""
        if kind == "step.finished":
            self.worked = not fields.get("skipped")
        super().emit(kind, **fields)

    def beat(self) -> None:
        """An empty line every second, until it is over."""
        while not self.over.wait(HEARTBEAT):
            self._send(b"\n")

    def _send(self, line: bytes) -> None:
        with self._lock:
            try:
                wire.send(line)
            except OSError:
                self.gone.set()
