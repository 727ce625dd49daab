"""Look at everything a run needs, before anything is bought."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from runctl.api.wanted import resources
from runctl.core.checks import CheckState, Probe, one_error, run_checks
from runctl.core.errors import RunctlError
from runctl.core.ports import Examined
from runctl.core.quantities import count
from runctl.engine import doctor as here
from runctl.engine.steps import step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runctl.api.runtime import Runtime
    from runctl.core.checks import Check
    from runctl.core.events import Emit
    from runctl.core.model import Offer, Resources
    from runctl.core.ports import Provider

SECONDS = 20.0  # for all of it; what does not answer by then says so


def check(
    rt: Runtime, target: str, *, emit: Emit | None = None, seconds: float = SECONDS
) -> tuple[Check, ...]:
    """Look at this computer and at ``target``, side by side. Writes nothing but what a provider says it writes.

    What the settings ask of a machine is what the target is looked at for.

    Args:
        rt: the runtime.
        target: the name of a provider, as of ``--on``.
        emit: hears of each check as a step, for a live view.
        seconds: how long all of it may take.

    Raises:
        UsageError: ``unknown-target``.
    """
    provider = rt.provider(target, read_only=True)
    need = resources(rt.config)
    return run_checks(
        [*here.probes_here(rt.state_dir, rt.ledger()), *_of_target(rt, provider, need)],
        cancel=rt.cancel,
        clock=rt.clock,
        emit=emit,
        seconds=seconds,
    )


def _of_target(rt: Runtime, provider: Provider, need: Resources) -> Sequence[Probe]:
    """What the provider itself looks at, or the machine that is there already."""
    if isinstance(provider, Examined):
        return provider.probes(need)
    endpoint = provider.endpoint(provider.offers(need, rt.cancel)[0])
    if endpoint is None:
        return ()
    agent = rt.agent(endpoint, keep=False)
    return [Probe("machine", "machine", partial(here.machine, agent), "machine")]


def checks_for_plan(
    rt: Runtime,
    target: str,
    offers: Sequence[Offer],
    *,
    data: Sequence[str] = (),
    seconds: float = SECONDS,
) -> tuple[Check, ...]:
    """What has to hold before one of ``offers`` is bought, looked at side by side; writes nothing.

    Raises what failed, all of it as one error: a plan that cannot succeed is no plan. What comes back is fine, or worth a
    warning.

    Args:
        rt: the runtime.
        target: the provider that makes the offers.
        offers: in the order they will be tried.
        data: addresses that the run reads on its machine.
        seconds: how long all of it may take; what does not answer by then says so and holds up nobody.
    """
    provider = rt.provider(target, read_only=True)
    of_target = provider.probes_for(offers, data) if isinstance(provider, Examined) else ()
    with step("check", "check what it takes", emit=rt.emit, clock=rt.clock) as doing:
        found = run_checks(
            [*here.probes_here(rt.state_dir, rt.ledger()), *of_target],
            cancel=rt.cancel,
            clock=rt.clock,
            seconds=seconds,
        )
        failure = one_error(found)
        if failure is not None:
            raise failure
        worth = [check for check in found if check.state is CheckState.WARN]
        doing.summary = f"{count(len(found), 'checks')}" + (f", {len(worth)} to look at" if worth else "")
    return found


def explain(
    rt: Runtime, target: str, error: RunctlError, *, machine_id: str = "", offer: Offer | None = None
) -> RunctlError:
    """``error``, with what can be found out about it in three seconds in its cause and its facts; the same object.

    Never raises. Where the target cannot look, or somebody asked to stop, the error stays as it is.

    Args:
        rt: the runtime.
        target: the provider the failed step spoke to.
        error: what failed.
        machine_id: the machine it was about, as its endpoint's address or its id.
        offer: what was not to be had.
    """
    try:
        provider = rt.provider(target, read_only=True)
    except RunctlError:
        return error
    if not isinstance(provider, Examined):
        return error
    room = Probe("disk", "disk", lambda _cancel: here.disk(rt.state_dir))
    return provider.explain(error, cancel=rt.cancel, machine_id=machine_id, offer=offer, more=[room])
