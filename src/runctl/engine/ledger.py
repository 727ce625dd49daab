"""What may be owed: an append-only, fsynced file. A debt is written before anything is bought.

A debt is struck only when the purchase's fate is known: refused for good, or bought and since confirmed gone.
Never on a timeout, never because a listing happened to be empty.
"""

from __future__ import annotations

import fcntl
import json
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from runctl.core.catalogue import known

if TYPE_CHECKING:
    from pathlib import Path

    from runctl.core.clock import Clock
    from runctl.core.model import Offer


class Debt(NamedTuple):
    """A lease not yet proven ended."""

    run_id: str
    provider: str
    machine_type: str
    region: str
    price_per_hour: str
    owed_at: str
    machine_id: str = ""  # empty until the provider has answered


class Ledger:
    """The file ``ledger.jsonl`` of a state folder. Several processes may write it; every line is whole."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock

    def owe(self, run_id: str, offer: Offer) -> None:
        """Write that a machine may be bought for ``run_id``. On disk when this returns; raises ``state-unwritable``."""
        self._append(
            {
                "entry": "owed",
                "run": run_id,
                "provider": offer.provider,
                "machine_type": offer.machine_type,
                "region": offer.region,
                "price_per_hour": str(offer.price_per_hour),
            }
        )

    def bought(self, run_id: str, machine_id: str) -> None:
        """Write which machine the purchase became."""
        self._append({"entry": "bought", "run": run_id, "machine": machine_id})

    def strike(self, run_id: str, fate: str) -> None:
        """Write that nothing is owed any more, and why we know: ``refused`` or ``gone``. Safe to repeat."""
        self._append({"entry": "struck", "run": run_id, "fate": fate})

    def debts(self) -> tuple[Debt, ...]:
        """What may still be owed, oldest first. A torn last line (power loss) is ignored: it was never promised."""
        open_debts: dict[str, Debt] = {}
        for line in self._read().splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                continue
            run = record["run"]
            if record["entry"] == "owed":
                open_debts[run] = Debt(
                    run,
                    record["provider"],
                    record["machine_type"],
                    record["region"],
                    record["price_per_hour"],
                    record["ts"],
                )
            elif record["entry"] == "bought" and run in open_debts:
                open_debts[run] = open_debts[run]._replace(machine_id=record["machine"])
            elif record["entry"] == "struck":
                open_debts.pop(run, None)
        return tuple(open_debts.values())

    def _read(self) -> str:
        try:
            return self._path.read_text()
        except FileNotFoundError:
            return ""
        except OSError as error:
            detail = error.strerror or str(error)
            raise known("state-unwritable", path=str(self._path), detail=detail) from error

    def _append(self, record: dict[str, Any]) -> None:
        record["ts"] = self._clock.now().isoformat()
        line = json.dumps(record).encode() + b"\n"
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                size = os.fstat(fd).st_size
                if size and os.pread(fd, 1, size - 1) != b"\n":
                    line = b"\n" + line  # a torn line before ours must not swallow it
                os.write(fd, line)
                os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise known(
                "state-unwritable", path=str(self._path), detail=error.strerror or str(error)
            ) from error
