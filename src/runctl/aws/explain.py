"""Why a step failed: probes that run by themselves, and what each found, said with the error."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from runctl.aws.probes import caller, machine
from runctl.core.checks import CheckState, Probe, run_checks
from runctl.core.errors import Cancelled, RunctlError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from runctl.aws.probes.account import Account
    from runctl.core.cancel import CancelToken
    from runctl.core.checks import Check
    from runctl.core.model import Offer

SECONDS = 3.0  # for all probes together: whoever waits has just been told that it failed
ATTEMPTS = 2
_WHO = "identity"
E = TypeVar("E", bound=RunctlError)


def explain(
    error: E,
    account: Account,
    *,
    cancel: CancelToken,
    machine_id: str = "",
    offer: Offer | None = None,
    more: Iterable[Probe] = (),
) -> E:
    """``error``, with what the probes found in its ``why`` and ``context``; it is the same object.

    Never raises, and never takes longer than ``SECONDS``: what did not answer by then says so. A cancel leaves the
    error as it is.

    Args:
        error: what failed. Mistakes of the user, and cancellations, are not looked into.
        account: where.
        cancel: ends the looking.
        machine_id: the instance it was about (``i-0abc``, or ``i-0abc@region``): its state, profile and SSM agent.
        offer: what was not to be had: its quota.
        more: probes of other parts, as of this computer's disk.
    """
    if isinstance(error, (UsageError, Cancelled)) or cancel.cancelled:
        return error
    brief = replace(account.calls.policy, attempts=ATTEMPTS, deadline_seconds=SECONDS)
    there = replace(account, calls=replace(account.calls, policy=brief))
    try:
        found = run_checks(
            [*_probes(there, machine_id, offer), *more],
            cancel=cancel,
            clock=account.calls.clock,
            seconds=SECONDS,
        )
    except Exception:  # noqa: BLE001 - the failure itself is what has to be told, whatever becomes of its explanation
        return error
    told = [what for check in found if (what := _said(check))]
    if told:
        error.why = "\n".join(filter(None, [error.why, *told]))
    error.fix = tuple(
        dict.fromkeys([*(line for check in found if _said(check) for line in check.fix), *error.fix])
    )
    error.context = {**error.context, **{check.name: check.what for check in found}}
    return error


def _said(check: Check) -> str:
    """What of a finding belongs to the cause: what failed, and how the machine and its like stand, but not who asks."""
    bad = check.state is CheckState.FAIL or (check.state is CheckState.WARN and check.name != _WHO)
    return check.what if bad else ""


def _probes(account: Account, machine_id: str, offer: Offer | None) -> list[Probe]:
    found = [
        Probe(_WHO, "identity", partial(caller.credentials, account)),
        Probe("clock", "clock", partial(caller.clock, account)),
    ]
    if machine_id:
        found.append(Probe("instance", "instance", partial(machine.instance, account, machine_id=machine_id)))
        found.append(Probe("ssm", "SSM", partial(machine.ping, account, machine_id=machine_id)))
    if offer is not None:
        found.append(Probe("quota", "quota", partial(machine.quota, account, offer)))
    return found
