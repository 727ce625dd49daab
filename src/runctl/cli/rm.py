"""``runctl rm``: delete ended runs, on their machine and here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runctl.cli.arguments import RUN_HELP

if TYPE_CHECKING:
    import argparse

    from runctl.api import Runtime
    from runctl.cli.session import Session
    from runctl.core.model import Run

SHOWN = 10  # names a question lists

EPILOG = """\
A run is deleted with its output and its checkpoints. One that has not ended is refused, unless --force cancels it
first. Asks before it deletes; --yes answers.

examples:
  runctl rm brave-otter-7k2m calm-zebra-1111
  runctl rm --all-ended --yes
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = EPILOG
    parser.add_argument("runs", metavar="RUN", nargs="*", help=RUN_HELP)
    parser.add_argument("--all-ended", action="store_true", help="every run that has ended")
    parser.add_argument(
        "--force", action="store_true", help="cancel what has not ended, without grace, then delete"
    )


def run(args: argparse.Namespace, session: Session) -> int:
    """Delete the runs; 0. Nothing is deleted unless every one that was named can be.

    Raises:
        UsageError: ``usage`` when none is named, ``run-not-found``, ``run-ambiguous``, ``run-active``,
            ``confirmation-needed``.
    """
    from runctl.cli.corrections import usage  # noqa: PLC0415 - only for an error
    from runctl.cli.signals import install_signals  # noqa: PLC0415 - `rm --help` does without

    if bool(args.runs) == args.all_ended:
        raise usage("name the runs to delete, or give --all-ended", fix=["  runctl rm --help"])
    with install_signals(session.cancel, say=session.say):
        chosen = _chosen(args, session)
        if not chosen:
            session.say("no run has ended")
        elif not session.confirm(_question(chosen)):
            session.say("nothing was deleted")
            return 0
        deleted = [_delete(found, session) for found in chosen]
    if session.options.json:
        session.out_json(deleted)
    return 0


def _chosen(args: argparse.Namespace, session: Session) -> list[Run]:
    """The runs to delete, each once. Raises for the first that must not be, before anything is deleted."""
    from runctl import api  # noqa: PLC0415 - `rm --help` does without the engine
    from runctl.core.catalogue import known  # noqa: PLC0415
    from runctl.core.model import run_from_json  # noqa: PLC0415

    runtime = session.runtime
    if args.all_ended:
        records = api.refresh(runtime, api.list_runs(runtime))
        return [run_from_json(record) for record in records if record["state"] == "ended"]
    found = {each.id: each for each in (api.get_run(runtime, reference) for reference in args.runs)}
    for each in found.values():
        if each.state not in ("ended", "lost") and not args.force:
            raise known(
                "run-active",
                run=each.id,
                name=each.name,
                state=each.state,
                fix=[f"  runctl cancel {each.name}", f"  runctl rm --force {each.name}"],
            )
    return list(found.values())


def _question(runs: list[Run]) -> str:
    names = ", ".join(each.name for each in runs[:SHOWN]) + (", …" if len(runs) > SHOWN else "")
    return f"delete {len(runs)} run{'s' * (len(runs) > 1)} with output and checkpoints ({names})?"


def _delete(found: Run, session: Session) -> dict[str, Any]:
    from runctl import api  # noqa: PLC0415
    from runctl.views.text import size  # noqa: PLC0415

    session.cancel.check()
    if found.state not in ("ended", "lost"):
        found = _ended(session.runtime, found)
    freed = api.remove(session.runtime, found)
    session.say(f"deleted {found.name}, {size(freed)}")
    return {"name": found.name, "id": found.id, "bytes": freed}


def _ended(runtime: Runtime, found: Run) -> Run:
    """The run, cancelled. One that its machine never got (its client died first) has nothing to cancel."""
    from runctl import api  # noqa: PLC0415
    from runctl.core.errors import UsageError  # noqa: PLC0415

    try:
        return api.cancel(runtime, found, grace=0.0)[0]
    except UsageError as error:
        if error.code != "run-unknown":
            raise
        return found
