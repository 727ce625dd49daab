"""Runs and plans as text and as HTML. Reads records; asks nobody."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from runctl.engine.folders import RunFolder
from runctl.engine.plan_lines import lines
from runctl.engine.records import recorded_steps
from runctl.views import plan as plan_view
from runctl.views import runs as runs_view
from runctl.views.html import pre
from runctl.views.style import Style

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runctl.core import model
    from runctl.engine.plan import Plan
    from runctl.python.place import Place

WIDTH = 100  # columns


def of_run(place: Place, run: model.Run) -> str:
    """What ``runctl show`` says of a run, as HTML."""
    steps = recorded_steps(RunFolder(place.state, run.id), run.id)
    page = runs_view.page(
        run.to_json(),
        steps=steps,
        plan=None,
        receipt=None,
        paths={},
        now=time.time(),
        style=Style(color=False),
    )
    return pre(page)


def of_plan(plan: Plan) -> str:
    """What ``runctl train --dry-run`` says, as text."""
    return plan_view.render(plan.name, lines(plan), width=WIDTH)


def of_runs(records: Sequence[dict[str, Any]]) -> str:
    """The table of ``runctl runs``, as text."""
    return runs_view.listing(records, now=time.time(), width=WIDTH, style=Style(color=False))
