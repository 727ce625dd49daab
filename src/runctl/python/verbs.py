"""The functions of ``import runctl``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from runctl import api
from runctl.core.catalogue import known
from runctl.core.errors import Cancelled
from runctl.core.model import run_from_json
from runctl.engine.plan_json import to_json
from runctl.python import pages
from runctl.python.attend import Face
from runctl.python.handle import Run
from runctl.python.log import EventLog
from runctl.python.place import Place, as_warning
from runctl.python.show import agreed
from runctl.python.work import call
from runctl.views.html import pre

if TYPE_CHECKING:
    from typing import Unpack

    from runctl.core import model
    from runctl.engine.plan import Plan as EnginePlan
    from runctl.python.options import Options


class Plan:
    """What ``train`` would do, decided and not done. ``str`` and a notebook show it as ``runctl plan`` does."""

    def __init__(self, place: Place, plan: EnginePlan, log: EventLog) -> None:
        self._place = place
        self._plan = plan
        self._log = log

    @property
    def name(self) -> str:
        """The name the run would have."""
        return self._plan.name

    @property
    def buys(self) -> bool:
        """Whether it would cost money."""
        return self._plan.buys

    def to_json(self) -> dict[str, Any]:
        """All of it as plain JSON values: what ``runctl plan --json`` prints."""
        return to_json(self._plan)

    def __str__(self) -> str:
        return pages.of_plan(self._plan)

    def _repr_html_(self) -> str:
        return pre(str(self))

    def _apply(self, face: Face, *, wait: bool, detach: bool, yes: bool) -> Run:
        plan = self._plan
        if plan.buys and not yes:
            face.say(str(self))
            face.settle()
            price = f"{plan.offer.price_per_hour} {plan.offer.currency} an hour"
            if not agreed(f"Buy it for {price}?"):
                raise Cancelled(what="not bought: the answer was no")
        record = call(self._place, lambda rt: api.new_run(rt, plan), as_warning)
        run = Run(self._place, record, log=self._log)
        run._begin(plan, detach=detach, allow=_allow(yes=yes))  # noqa: SLF001 - made here
        if detach and wait:
            run._handed_over(face)  # noqa: SLF001 - as above
        elif wait:
            run._followed(face)  # noqa: SLF001 - as above
        return run


def _allow(*, yes: bool) -> Any:
    def allow(offer: model.Offer, instead_of: model.Offer) -> bool:
        del instead_of
        if not yes:
            price = f"{offer.price_per_hour} {offer.currency} an hour"
            raise known(
                "confirmation-needed", question=f"no spot machine is to be had; on demand for {price}?"
            )
        return True

    return allow


def plan(
    script: str | os.PathLike[str], *args: str, resume: str | Run | None = None, **options: Unpack[Options]
) -> Plan:
    """Decide what ``train`` would do with the same arguments. Writes nothing, anywhere; safe to repeat.

    Raises:
        UsageError: the script, the project, a setting or a keyword is wrong.
    """
    place = Place.of_script(script, options, function="plan")
    with Face(place, quiet=True) as face:
        return _planned(place, face, script, args, resume, dry=True)


def train(
    script: str | os.PathLike[str],
    *args: str,
    resume: str | Run | None = None,
    wait: bool = True,
    detach: bool = False,
    check: bool = True,
    quiet: bool = False,
    yes: bool = False,
    **options: Unpack[Options],
) -> Run:
    """Run a training script on a machine, as ``runctl train`` does, and give its handle.

    What happens is shown as on the command line, or in the notebook's cell. Ctrl+C before the machine has the run undoes
    everything; after that it ends only the watching. ``KeyboardInterrupt`` is raised either way.

    Args:
        script: the script, by any path that leads to it.
        args: the script's own arguments.
        resume: a run, or a checkpoint's path on the machine, to start from.
        wait: False returns at once, showing nothing: ``events`` and ``wait`` of the handle follow what this program
            goes on doing. A program that ends leaves the run to its machine.
        detach: return once the machine has the run; this program does no more for it.
        check: raise the error that says how the run ended, if not well.
        quiet: show nothing.
        yes: buy without asking, on demand too where no spot machine is to be had.
        options: every option of ``runctl train`` with underscores (``on="aws"``, ``max_hours=2``), and ``settings``.

    Raises:
        RunctlError: whatever ``runctl train`` ends with, by family: ``UsageError``, ``CapacityError``, ``ScriptFailed``
            and so on. ``confirmation-needed`` where there is nobody to ask.
    """
    place = Place.of_script(script, options, function="train")
    with Face(place, quiet=quiet or not wait) as face:
        planned = _planned(place, face, script, args, resume, dry=False)
        run = planned._apply(face, wait=wait, detach=detach, yes=yes)  # noqa: SLF001 - as above
    if check and wait and not detach:
        run._check()  # noqa: SLF001 - as above
    return run


def _planned(
    place: Place,
    face: Face,
    script: str | os.PathLike[str],
    args: tuple[str, ...],
    resume: str | Run | None,
    *,
    dry: bool,
) -> Plan:
    every: tuple[object, ...] = args  # a notebook checks no types
    for arg in every:
        if not isinstance(arg, str):
            why = f"the script's arguments are text, not {arg!r}"
            raise known("wrong-keyword", function="plan" if dry else "train", why=why)
    log = EventLog()
    start = resume.id if isinstance(resume, Run) else resume

    def make(rt: api.Runtime) -> EnginePlan:
        return api.make_plan(rt, os.fspath(script), args=args, cwd=place.cwd, resume=start, dry=dry)

    return Plan(place, face.shown(make, log), log)


def run(reference: str = "latest") -> Run:
    """The run of that name, id or unique beginning of either, or the newest; as its machine sees it now.

    Raises:
        UsageError: ``run-not-found``, ``run-ambiguous``.
    """
    place = Place.here()
    return Run(place, call(place, lambda rt: api.get_run(rt, reference), as_warning))


class Runs(list[Run]):
    """Runs, newest first; ``print`` and a notebook show the table of ``runctl runs``."""

    def __str__(self) -> str:
        return pages.of_runs([each._last.to_json() for each in self])  # noqa: SLF001 - as it was listed

    def _repr_html_(self) -> str:
        return pre(str(self))


def runs(*, limit: int | None = None, state: str | None = None) -> Runs:
    """The runs recorded here, newest first, as their machines see them now.

    A machine that does not answer leaves its runs as they were last seen, with a ``RunctlWarning``.

    Args:
        limit: at most so many.
        state: only those in that state or with that outcome; ``active``: those that have not ended.
    """
    place = Place.here()
    if not place.state.is_dir():
        return Runs()

    def listed(rt: api.Runtime) -> list[dict[str, Any]]:
        return api.refresh(rt, api.list_runs(rt, limit=limit, state=state))

    return Runs(Run(place, run_from_json(record)) for record in call(place, listed, as_warning))
