"""``runctl show``: everything known of one run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from runctl.cli.arguments import add_run

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping
    from pathlib import Path

    from runctl.cli.session import Session
    from runctl.core.model import Run


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the argument."""
    parser.epilog = "--json prints one object: the record, its steps, the plan's command, the machine's receipt, and where its files are."
    add_run(parser)


def run(args: argparse.Namespace, session: Session) -> int:
    """Print the page, 0. Raises ``run-not-found`` or ``run-ambiguous``."""
    from runctl import api  # noqa: PLC0415 - `show --help` does without the engine
    from runctl.engine.folders import read_plan  # noqa: PLC0415
    from runctl.engine.records import recorded_receipt  # noqa: PLC0415

    runtime = session.runtime
    found = api.get_run(runtime, args.run)
    with runtime.index() as index:
        steps = index.steps(found.id)
        folder = index.folder(found.id)
    plan = read_plan(folder)
    receipt = recorded_receipt(folder, found.attempt)
    paths = places(found, folder.path, plan)
    if session.options.json:
        session.out_json(
            {
                **found.to_json(),
                "steps": [{k: v for k, v in step._asdict().items() if k != "run"} for step in steps],
                "command": None if plan is None else plan["command"],
                "receipt": receipt,
                "paths": paths,
            }
        )
        return 0
    from runctl.cli.output import out_style  # noqa: PLC0415 - not for --json
    from runctl.views.runs import page  # noqa: PLC0415

    text = page(
        found.to_json(),
        steps=steps,
        plan=plan,
        receipt=receipt,
        paths=paths,
        now=time.time(),
        style=out_style(session),
    )
    session.out(text)
    return 0


def places(found: Run, record: Path, plan: Mapping[str, Any] | None) -> dict[str, str]:
    """Where the run's files are: its record here; its output and checkpoints in its store, else on its machine."""
    if found.store:
        attempt = f"{found.store}/runs/{found.id}/{found.attempt}"
        return {
            "record": str(record),
            **{name: f"{attempt}/{name}" for name in ("output", "checkpoints", "outputs")},
        }
    if plan is None:
        return {"record": str(record)}
    home = f"{plan['machine']['home']}/runs/{found.id}"
    return {"record": str(record), "output": f"{home}/output.log", "checkpoints": f"{home}/checkpoints"}
