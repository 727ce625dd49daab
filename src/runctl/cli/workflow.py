"""``runctl workflow train``: create, train, collect, release: from a script to results on this computer in one command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from runctl.cli import train

if TYPE_CHECKING:
    import argparse

    from runctl.cli.session import Session

EPILOG = """\
As `runctl train`, and when the run has succeeded its newest checkpoint and what it left in RUNCTL_OUTPUT_DIR are copied
to FOLDER/RUN. The machine is given back as soon as all of it is in the store, whatever happens to this computer.

example:
  runctl workflow train train.py --on aws --gpu A10G --spot --to results -- --epochs 30
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of ``runctl workflow``."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="train")
    text = "train on a new machine, bring the results home, give it back"
    verb = verbs.add_parser("train", help=text, description=text[0].upper() + text[1:] + ".")
    train.configure(verb)
    verb.epilog = EPILOG
    verb.add_argument(
        "--to", metavar="FOLDER", default="results", help="where results go; ./results unless given"
    )


def run(args: argparse.Namespace, session: Session) -> int:
    """Train and collect; the status is as with ``train``."""
    folder = session.cwd / Path(args.to).expanduser()
    status = train.run(args, session)
    if status or args.dry_run or args.detach:
        return status
    from runctl import api  # noqa: PLC0415 - `--help` does without the engine
    from runctl.cli.signals import install_signals  # noqa: PLC0415

    rt = session.runtime
    with install_signals(session.cancel, say=session.say):
        found = api.get_run(rt, session.view.run or "latest")
        answer = api.checkpoints(rt, found)
        there = folder / found.name
        for newest in answer["checkpoints"][:1]:
            api.pull_checkpoint(
                rt, found, {"directory": answer["directory"], **newest}, there / "checkpoints"
            )
        if found.store:
            api.pull_outputs(rt, found, there / "outputs")
    if there.exists():
        session.say(f"results are in {there}")
        if not session.options.json:
            session.out(str(there))
    else:
        session.say(f"{found.name} left no checkpoint and no output to collect")
    return 0
