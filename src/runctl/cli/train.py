"""``runctl train``: plan, apply, follow."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runctl.core.catalogue import known
from runctl.core.errors import Cancelled
from runctl.core.events import RunPlanned
from runctl.project.settings import SETTINGS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from runctl.cli.session import Session
    from runctl.core.model import Run
    from runctl.engine.plan import Plan
    from runctl.project.settings import Setting

EPILOG = """\
Everything after -- goes to the script as it is. Each option above but --dry-run, --detach and --resume is also a
setting: see `runctl config show --origin` for where a value comes from.

examples:
  runctl train train.py -- --epochs 20
  runctl train training/train.py --dry-run
  runctl train train.py --detach --max-hours 8
  runctl train train.py --resume brave-otter-7k2m
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options: those of this command, and one for every setting that has a flag here."""
    parser.epilog = EPILOG
    parser.add_argument("script", help="the script, by any path that leads to it")
    parser.add_argument(
        "-n", "--dry-run", action="store_true", help="show the whole plan and write nothing, anywhere"
    )
    parser.add_argument(
        "-d", "--detach", action="store_true", help="return once the machine has the run; print its name"
    )
    parser.add_argument(
        "--resume",
        metavar="RUN|PATH",
        help="start from the newest complete checkpoint of a run, or from a path",
    )
    for setting in _own_settings():
        _add_option(parser, setting)


def _own_settings() -> Iterator[Setting]:
    return (each for each in SETTINGS.values() if each.flag and not each.key.startswith(("ui.", "log.")))


def _add_option(parser: argparse.ArgumentParser, setting: Setting) -> None:
    text = setting.doc.replace("%", "%%")
    if setting.kind == "bool":
        parser.add_argument(setting.flag, dest=setting.key, action="store_const", const="true", help=text)
        return
    more: dict[str, Any] = {"choices": setting.choices} if setting.choices else {}
    if setting.kind in ("list", "table"):
        more = {"action": "append", "metavar": "NAME=VALUE" if setting.kind == "table" else "ITEM"}
    elif not setting.choices:
        more["metavar"] = "N" if setting.kind == "number" else "TEXT"
    parser.add_argument(setting.flag, dest=setting.key, help=text, **more)


def settings_given(args: argparse.Namespace) -> dict[str, Any]:
    """The settings this command line sets, for the configuration's topmost layer; None where it says nothing.

    Raises:
        UsageError: ``usage`` for an item of a table that is no NAME=VALUE.
    """
    found = {setting.key: getattr(args, setting.key) for setting in _own_settings()}
    for setting in _own_settings():
        if setting.kind == "table" and found[setting.key] is not None:
            pairs = [item.partition("=") for item in found[setting.key]]
            wrong = [name for name, equals, _ in pairs if not equals]
            if wrong:
                raise known("usage", why=f"{setting.flag} {wrong[0]} needs NAME=VALUE")
            found[setting.key] = {name: value for name, _, value in pairs}
    return found


def run(args: argparse.Namespace, session: Session) -> int:
    """Run the command; the status is 0, or that of the error that says how the run ended."""
    from runctl import api  # noqa: PLC0415 - `train --help` does without the engine
    from runctl.cli.signals import install_signals  # noqa: PLC0415

    cwd = session.cwd
    session.use_project((cwd / Path(args.script).expanduser()).parent, flags=settings_given(args))
    if args.dry_run:
        session.write_nothing()
    with install_signals(session.cancel, say=session.say):
        plan = api.make_plan(session.runtime, args.script, args=args.script_args, cwd=cwd, resume=args.resume)
        if args.dry_run:
            return _show_plan(plan, session)
        if plan.offer.price_per_hour:
            _show_plan(plan, session)
            if not session.confirm(f"Buy it for {plan.offer.price_per_hour} {plan.offer.currency} an hour?"):
                return 0
        return _train(plan, session, detach=args.detach)


def _show_plan(plan: Plan, session: Session) -> int:
    if session.options.json:
        session.view.emit(RunPlanned(plan.to_json()))
    else:
        from runctl.views import plan as plan_view  # noqa: PLC0415 - only when one is shown

        session.out(plan_view.render(plan, verbose=session.options.verbose, width=_width()))
    return 0


def _width() -> int:
    import shutil  # noqa: PLC0415

    return shutil.get_terminal_size((100, 24)).columns


def _train(plan: Plan, session: Session, *, detach: bool) -> int:
    from runctl import api  # noqa: PLC0415

    started: list[Run] = []
    try:
        ended = api.train(session.runtime, plan, detach=detach, on_start=started.append)
    except Cancelled:
        if not started:
            raise
        return detached(started[0], session)
    except OSError:  # nobody reads stdout any more, or it cannot be written
        if started:
            detached(started[0], session)
        raise
    if detach:
        return _handed_over(ended, session)
    api.raise_for_outcome(session.runtime, ended)
    return 0


def _handed_over(run: Run, session: Session) -> int:
    """``--detach``: the name alone is data (with --json the events have told it); how to come back is talk."""
    if not session.options.json:
        session.out(run.name)
        session.say(f"{run.name} goes on without this terminal. Follow it with:\n  runctl attach {run.name}")
    return os.EX_OK


def detached(run: Run, session: Session) -> int:
    """Ctrl+C while following: the run goes on; say how to come back, how to end it, and what it costs."""
    price = "nothing" if run.price_per_hour in ("", "0") else f"{run.price_per_hour} an hour"
    session.view.settle()  # the last word stands below the tree, not above it
    session.say(
        f"\ndetached; {run.name} goes on on {run.machine} and costs {price}\n"
        f"  follow it:  runctl attach {run.name}\n"
        f"  end it:     runctl cancel {run.name}"
    )
    return Cancelled.exit_code
