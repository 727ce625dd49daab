"""``runctl sync``: keep the project's tree on a machine as it is here."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from runctl.core.errors import Cancelled
from runctl.core.quantities import count, size
from runctl.core.stdout import to_stdout

if TYPE_CHECKING:
    import argparse

    from runctl.api.syncing import Synced, WouldSync
    from runctl.cli.session import Session

_SHOWN: Final = 20  # lines of each kind, without --verbose
EPILOG = """\
What travels is what `runctl project --files` lists. The machine gets a folder of its own for the project, swapped in
whole: whoever reads there sees the old tree or the new one. Files that were made there are kept.

examples:
  runctl sync local
  runctl sync i-0abc1234def567890 --watch
  runctl sync local --dry-run
  runctl sync local --why data/raw.bin
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = EPILOG
    parser.add_argument(
        "target", metavar="TARGET", help="`local`, or a machine of yours by its id, its name or its run"
    )
    parser.add_argument("-n", "--dry-run", action="store_true", help="show what would travel, write nothing")
    parser.add_argument("-w", "--watch", action="store_true", help="go on whenever something changes")
    parser.add_argument("--why", metavar="PATH", help="say which rule lets PATH travel or keeps it here")


def run(args: argparse.Namespace, session: Session) -> int:
    """Sync once, or until Ctrl+C with ``--watch``; the status is 0, or that of the error."""
    from runctl import api  # noqa: PLC0415 - `sync --help` does without the engine
    from runctl.cli.signals import install_signals  # noqa: PLC0415

    if args.why is not None:
        from runctl.cli.project import say_why  # noqa: PLC0415 - the same question

        say_why(args.why, session)
        return 0
    if args.dry_run:
        session.write_nothing()
    with install_signals(session.cancel, say=session.say):
        if args.dry_run:
            _show_plan(api.would_sync(session.runtime, args.target, cwd=session.cwd), session)
        elif args.watch:
            _watch(args.target, session)
        else:
            _show(api.sync(session.runtime, args.target, cwd=session.cwd), session)
    return 0


def _watch(target: str, session: Session) -> None:
    from runctl import api  # noqa: PLC0415 - as above

    def on_sync(done: Synced) -> None:
        if session.options.json:
            session.out_json(done.to_json())
        elif done.receipt.changed:
            session.out(f"{_sent(done)} in {done.receipt.seconds:.2f} s")
        with to_stdout():
            sys.stdout.flush()  # whoever reads a pipe wants the line now

    session.say(f"watching {session.cwd}; Ctrl+C ends it")
    try:
        api.keep_synced(session.runtime, target, on_sync=on_sync, cwd=session.cwd)
    except Cancelled:
        session.say("no longer watching; the machine has the tree of the last sync")


def _sent(done: Synced) -> str:
    receipt = done.receipt
    if not receipt.changed:
        return "nothing changed"
    return (
        f"{count(receipt.sent_files, 'files')}, {size(receipt.content)} ({size(receipt.wire)} on the wire); "
        f"{count(receipt.written, 'files')} written there"
    )


def _show(done: Synced, session: Session) -> None:
    """The receipt."""
    if session.options.json:
        session.out_json(done.to_json())
        return
    receipt = done.receipt
    rate = f", {size(receipt.content / receipt.seconds)}/s" if receipt.content else ""
    lines = [
        f"project   {done.root}",
        f"machine   {done.place.name}: {receipt.path}",
        f"sent      {_sent(done)}",
        f"reused    {count(receipt.files - receipt.sent_files, 'files')} of {receipt.files:,}, {size(receipt.bytes)} in all",
        *_left_out(done),
        f"took      {receipt.seconds:.2f} s, of it {receipt.scan_seconds:.2f} s looking at the project{rate}",
        f"tree      {receipt.tree}",
    ]
    session.out("\n".join(lines))


def _left_out(done: Synced) -> list[str]:
    found = sorted(done.left_out.items(), key=lambda item: (-item[1], item[0]))
    lines = [f"left out  {count(paths, 'paths')} by {rule} ({origin})" for (rule, origin), paths in found]
    lines += [f"left out  {path}: looks like a secret" for path in done.secrets]
    return lines


def _show_plan(would: WouldSync, session: Session) -> None:
    if session.options.json:
        session.out_json(would.to_json())
        return
    most = None if session.options.verbose else _SHOWN
    total = sum(length for _, length in would.sends)
    lines = [f"= project {would.root}", f"= machine {would.place.name}: {would.path}"]
    if would.has == would.snapshot.digest:
        lines.append(f"= nothing to send: the machine has all of {count(would.snapshot.files, 'files')}")
    else:
        lines.append(f"> send {count(len(would.sends), 'files')}, at most {size(total)}")
        lines += _some([f">   {path}  {size(length)}" for path, length in would.sends], most)
        if would.removes is None:
            lines.append("- what else the machine has of the project goes")
        else:
            lines += _some([f"- remove {path} there" for path in would.removes], most)
    lines += _some(
        [f"- stays {left.path}  {left.rule} ({left.origin})" for left in would.listing.left_out], most
    )
    lines += [f"! left out: {left.path} looks like a secret" for left in would.listing.secrets]
    lines += [f"! {warning}" for warning in would.warnings]
    session.out("\n".join(lines))


def _some(lines: list[str], most: int | None) -> list[str]:
    if most is None or len(lines) <= most:
        return lines
    return [*lines[:most], f"    and {len(lines) - most:,} more; --verbose shows them"]
