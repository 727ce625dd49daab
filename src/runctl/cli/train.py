"""``runctl train``: plan, apply, follow."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runctl.core.catalogue import known
from runctl.core.errors import Cancelled, ReleaseOwed, RunctlError
from runctl.core.events import RunPlanned
from runctl.project.settings import SETTINGS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Collection, Iterator

    from runctl.cli.session import Session
    from runctl.core.model import Offer, Run
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
    add_what_to_run(parser)
    add_how(parser)


def add_how(parser: argparse.ArgumentParser) -> None:
    """The options ``--dry-run`` and ``--detach``."""
    parser.add_argument(
        "-n", "--dry-run", action="store_true", help="show the whole plan and write nothing, anywhere"
    )
    add_detach(parser)


def add_detach(parser: argparse.ArgumentParser) -> None:
    """The option ``--detach``."""
    parser.add_argument(
        "-d", "--detach", action="store_true", help="return once the machine has the run; print its name"
    )


def add_what_to_run(parser: argparse.ArgumentParser, keys: Collection[str] | None = None) -> None:
    """The script, ``--resume``, and an option for every setting that has a flag, or for those of ``keys``."""
    parser.add_argument("script", help="the script, by any path that leads to it")
    parser.add_argument(
        "--resume",
        metavar="RUN|PATH",
        help="start from the newest complete checkpoint of a run, or from a path",
    )
    add_settings(parser, keys)


def add_settings(parser: argparse.ArgumentParser, keys: Collection[str] | None = None) -> None:
    """An option for every setting that has a flag here, or for those of ``keys``."""
    for setting in _own_settings(keys):
        _add_option(parser, setting)


def _own_settings(keys: Collection[str] | None = None) -> Iterator[Setting]:
    own = (each for each in SETTINGS.values() if each.flag and not each.key.startswith(("ui.", "log.")))
    return (each for each in own if keys is None or each.key in keys)


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


def settings_given(args: argparse.Namespace, keys: Collection[str] | None = None) -> dict[str, Any]:
    """The settings this command line sets, for the configuration's topmost layer; None where it says nothing.

    ``keys``: only those, where the command has no options for others.

    Raises:
        UsageError: ``usage`` for an item of a table that is no NAME=VALUE.
    """
    found = {setting.key: getattr(args, setting.key) for setting in _own_settings(keys)}
    for setting in _own_settings(keys):
        if setting.kind == "table" and found[setting.key] is not None:
            pairs = [item.partition("=") for item in found[setting.key]]
            wrong = [name for name, equals, _ in pairs if not equals]
            if wrong:
                raise known("usage", why=f"{setting.flag} {wrong[0]} needs NAME=VALUE")
            found[setting.key] = {name: value for name, _, value in pairs}
    return found


def run(args: argparse.Namespace, session: Session, *, cwd: Path | None = None) -> int:
    """Run the command; the status is 0, or that of the error that says how the run ended.

    ``cwd`` is where it was typed, where the session has gone on from there.
    """
    from runctl import api  # noqa: PLC0415 - `train --help` does without the engine
    from runctl.cli.signals import install_signals  # noqa: PLC0415

    cwd = cwd or session.cwd
    session.use_project((cwd / Path(args.script).expanduser()).parent, flags=settings_given(args))
    if args.dry_run:
        session.write_nothing()
    with install_signals(session.cancel, say=session.say):
        plan = api.make_plan(
            session.runtime, args.script, args=args.script_args, cwd=cwd, resume=args.resume, dry=args.dry_run
        )
        if args.dry_run:
            return show_plan(plan, session)
        if plan.buys:
            if not session.options.json:
                session.say(_rendered(plan, session))
            if not session.confirm(f"Buy it for {plan.offer.price_per_hour} {plan.offer.currency} an hour?"):
                return 0
        return apply(plan, session, detach=args.detach)


def show_plan(plan: Plan, session: Session) -> int:
    """The plan as what the command is for: text or an event on stdout."""
    if session.options.json:
        from runctl.engine.plan_json import to_json  # noqa: PLC0415 - only when one is shown

        session.view.emit(RunPlanned(to_json(plan)))
    else:
        session.out(_rendered(plan, session))
    return 0


def _rendered(plan: Plan, session: Session) -> str:
    from runctl.engine.plan_lines import lines  # noqa: PLC0415 - only when one is shown
    from runctl.views import plan as plan_view  # noqa: PLC0415 - as above

    return plan_view.render(plan.name, lines(plan), verbose=session.options.verbose, width=_width())


def _width() -> int:
    import shutil  # noqa: PLC0415

    return shutil.get_terminal_size((100, 24)).columns


def apply(plan: Plan, session: Session, *, detach: bool) -> int:
    """Do what the plan says; the status as ``run`` gives it."""
    from runctl import api  # noqa: PLC0415

    return follow_started(
        session,
        lambda on_start: api.train(
            session.runtime, plan, detach=detach, on_start=on_start, allow=fallback(session)
        ),
        detach=detach,
    )


def follow_started(session: Session, start: Callable[[Callable[[Run], None]], Run], *, detach: bool) -> int:
    """Run ``start``, which follows a run that it tells of; Ctrl+C after that detaches."""
    from runctl import api  # noqa: PLC0415

    started: list[Run] = []
    try:
        ended = start(started.append)
    except Cancelled:
        if not started:
            raise
        return detached(started[-1], session)
    except ReleaseOwed:  # the run has ended
        raise
    except (OSError, RunctlError):  # nobody reads stdout any more, or nobody can watch; the run goes on
        if started:
            detached(started[-1], session)
        raise
    if detach:
        return _handed_over(ended, session)
    api.raise_for_outcome(session.runtime, ended)
    return 0


def fallback(session: Session) -> Callable[[Offer, Offer], bool]:
    """Asks whether to buy on demand when no spot machine is to be had."""

    def ask(offer: Offer, instead_of: Offer) -> bool:
        more = offer.price_per_hour - instead_of.price_per_hour
        return session.confirm(
            f"No spot machine is to be had. Buy {offer.machine_type} on demand for {offer.price_per_hour} "
            f"{offer.currency} an hour, {more} more?"
        )

    return ask


def _handed_over(run: Run, session: Session) -> int:
    """``--detach``: the name alone is data (with --json the events have told it); how to come back is talk."""
    if not session.options.json:
        session.out(run.name)
        session.say(f"{run.name} goes on without this terminal. Follow it with:\n  runctl attach {run.name}")
    return os.EX_OK


def detached(run: Run, session: Session) -> int:
    """Ctrl+C while following: the run goes on; say how to come back, how to end it, and what it costs."""
    from runctl.views.farewell import detached as words  # noqa: PLC0415 - only for this

    session.view.settle()  # the last word stands below the tree, not above it
    session.say("\n" + words(run))
    return Cancelled.exit_code
