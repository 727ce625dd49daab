"""Look at everything a run needs, before anything is bought."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from runctl.api.wanted import resources
from runctl.core.checks import Probe, run_checks
from runctl.core.ports import Examined
from runctl.engine import doctor as here

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runctl.api.runtime import Runtime
    from runctl.core.checks import Check
    from runctl.core.events import Emit
    from runctl.core.model import Resources
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
