"""Prove what a run ran: what was decided here, against what its machine computes anew, or what its store has."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from runctl.api.watching import get_run
from runctl.core.errors import MachineGone, RunctlError, UnreachableError
from runctl.core.quantities import count
from runctl.engine.folders import read_plan
from runctl.engine.hand_over import get_request
from runctl.engine.records import RECEIPT, newest_receipt, recorded_receipt
from runctl.engine.store_reader import EVENTS, StoreReader
from runctl.project.text import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runctl.api.runtime import Runtime
    from runctl.core.model import Run


@dataclass(frozen=True)
class Proof:
    """One thing that was looked at. ``holds``: True, False, or None where it cannot be told any more."""

    what: str
    holds: bool | None
    detail: str


@dataclass(frozen=True)
class Verified:
    """All of a run. ``by`` is who was asked: ``machine``, ``store``, ``receipt`` or ``record``."""

    run: Run
    by: str
    proofs: tuple[Proof, ...]

    @property
    def holds(self) -> bool:
        """Whether nothing contradicts the record."""
        return all(proof.holds is not False for proof in self.proofs)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        proofs = [asdict(proof) for proof in self.proofs]
        return {"run": self.run.name, "id": self.run.id, "by": self.by, "holds": self.holds, "proofs": proofs}


def verify(rt: Runtime, reference: str) -> Verified:
    """Compare the record of a run with its machine; where that is gone, with the store. Reads only.

    Raises:
        UsageError: ``run-not-found``, ``run-ambiguous``.
    """
    run = get_run(rt, reference)
    with rt.index(read_only=True) as index:
        plan = read_plan(index.folder(run.id))
    try:
        said = rt.agent(run.endpoint).call("verify", {"run": run.id}, cancel=rt.cancel)
    except (MachineGone, UnreachableError) as error:
        return _afterwards(rt, run, plan, error)
    except RunctlError as error:
        if error.code != "run-unknown":
            raise
        return _afterwards(rt, run, plan, error)
    return Verified(run, "machine", (_code(run, said), _command(plan, said), *_environment(run, plan, said)))


def _code(run: Run, said: Mapping[str, Any]) -> Proof:
    if said["asked"] != run.code or said["told"] != run.code:
        return Proof(
            "code", False, f"recorded {run.code[:12]}, the machine was asked for {said['asked'][:12]}"
        )
    if said["changes"]:
        names = ", ".join(shown(path) for path in said["changed"][:5])
        more = f" and {said['changes'] - 5} more" if said["changes"] > 5 else ""
        detail = f"changed on the machine since it was assembled: {names}{more}"
        return Proof("code", False, detail)
    return Proof(
        "code", True, f"{run.code[:12]}, {count(said['files'], 'entries')} hashed on the machine now"
    )


def _command(plan: Mapping[str, Any] | None, said: Mapping[str, Any]) -> Proof:
    ran = " ".join([said["script"], *said["args"]])
    if plan is None:
        return Proof("command", None, f"{ran}; the plan is not kept here")
    tail = [said["script"], *said["args"]]
    same = list(plan["command"])[-len(tail) :] == tail
    return Proof("command", same, ran if same else f"planned {' '.join(plan['command'])}, asked for {ran}")


def _environment(run: Run, plan: Mapping[str, Any] | None, said: Mapping[str, Any]) -> list[Proof]:
    key, found = said["env_key"], said["environment"]
    if not key:
        return [Proof("environment", None, "none: the machine's own Python")]
    if run.env_key and key != run.env_key:
        return [Proof("environment", False, f"recorded {run.env_key[:12]}, used {key[:12]}")]
    if found is None:
        return [Proof("environment", None, f"{key[:12]}; it is not on the machine any more")]
    wanted = "" if plan is None else plan["environment"]["digest"]
    if wanted and found["request"] != wanted:
        detail = f"planned for requirements {wanted[:12]}, it is of {str(found['request'])[:12]}"
        return [Proof("environment", False, detail)]
    words = (
        f"{key[:12]}, {count(found['packages'], 'packages')}, Python {found['python']}, {found['platform']}"
    )
    return [Proof("environment", True, words)]


def _afterwards(rt: Runtime, run: Run, plan: Mapping[str, Any] | None, why: RunctlError) -> Verified:
    """What its last machine said before it went (the receipt), and what it was asked for, as its store has it."""
    gone = Proof("machine", None, f"{run.machine}: {why.what}")
    with rt.index(read_only=True) as index:
        said = recorded_receipt(index.folder(run.id), run.attempt)
    if not run.store:
        return _by_receipt(run, plan, said, gone)
    try:
        store = rt.store(run.store, read_only=True)
        request = get_request(store, run.id, run.attempt, cancel=rt.cancel)
        said = said or _stored_receipt(rt, StoreReader(store, run.id, run.attempt))
    except RunctlError as error:
        return _by_receipt(run, plan, said, Proof("store", None, error.what))
    same = request["tree_digest"] == run.code and (said is None or said["code"] == run.code)
    code = Proof(
        "code",
        same,
        f"{run.code[:12]}, as the machine was asked for it, and checked before it began"
        if same
        else f"recorded {run.code[:12]}, asked for {request['tree_digest'][:12]}",
    )
    environment = [] if said is None else _environment(run, plan, _as_seen(run, said))
    return Verified(run, "store", (gone, code, _command(plan, request), *environment))


def _stored_receipt(rt: Runtime, reader: StoreReader) -> dict[str, Any] | None:
    """The receipt among the events that the machine stored."""
    told = b"".join(data for _, data in reader.read(EVENTS, 0, rt.cancel))
    return newest_receipt(json.loads(line) for line in told.split(b"\n")[:-1] if RECEIPT in line)


def _by_receipt(
    run: Run, plan: Mapping[str, Any] | None, said: Mapping[str, Any] | None, gone: Proof
) -> Verified:
    """What the machine said when it started the script, as it was copied here then; else the record alone."""
    if said is None:
        return Verified(run, "record", (gone, Proof("code", None, f"recorded {run.code[:12]}")))
    same = said["code"] == run.code
    code = f"{run.code[:12]}, {count(said['files'], 'entries')} compared by the machine before it began"
    proof = Proof("code", same, code if same else f"recorded {run.code[:12]}, it ran {said['code'][:12]}")
    asked = None if plan is None else list(plan["command"])
    tail = [run.script, *run.args]
    ran = list(said["command"])[-len(tail) :]
    command = Proof("command", ran == tail, " ".join(ran))
    if asked is not None and asked[-len(tail) :] != ran:
        command = Proof("command", False, f"planned {' '.join(asked)}, ran {' '.join(ran)}")
    return Verified(run, "receipt", (gone, proof, command, *_environment(run, plan, _as_seen(run, said))))


def _as_seen(run: Run, said: Mapping[str, Any]) -> dict[str, Any]:
    """A receipt's environment in the words of the machine's own answer."""
    found = said["environment"]
    return {"env_key": run.env_key if found is None else found["key"], "environment": found}
