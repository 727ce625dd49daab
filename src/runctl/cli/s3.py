"""``runctl s3``: the user's own data in a bucket: copy, keep equal, list, count, clean."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final

from runctl.cli import copying
from runctl.cli.arguments import span, whole
from runctl.core.quantities import count, size
from runctl.views.text import safe

if TYPE_CHECKING:
    import argparse

    from runctl.cli.session import Session

_TEXTS: Final = {
    "upload": "copy a file or a folder to a bucket",
    "download": "copy an object, or all below a prefix, to this computer",
    "sync": "make a prefix have what a folder has, or the other way round, or two prefixes",
    "list": "list what begins with an address, a level at a time",
    "du": "tell how much lies below an address, the largest first",
    "cleanup": "remove old checkpoints, but for the best, the last and those something names, and cut-off uploads",
}
EPILOG = """\
An address is s3://BUCKET/PREFIX, or file:///FOLDER for a store in a folder. What is the same on both sides is not sent
again; what was cut off goes on where it was. Patterns are those of a .gitignore, and the last one that matches decides.

examples:
  runctl s3 upload data/ s3://my-bucket/data
  runctl s3 download s3://my-bucket/models/best.pt .
  runctl s3 sync data/ s3://my-bucket/data --exclude '*.tmp' --delete --dry-run
  runctl s3 list s3://my-bucket/models/
  runctl s3 cleanup s3://my-bucket/checkpoints --keep 3 --older-than 30d
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of ``runctl s3``."""
    parser.epilog = EPILOG
    verbs = parser.add_subparsers(dest="verb", required=True, metavar=" | ".join(_TEXTS))
    for name, text in _TEXTS.items():
        verb = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        if name in ("upload", "download", "sync"):
            _add_copy(verb, name)
        else:
            verb.add_argument("address", metavar="ADDRESS", help="s3://BUCKET/PREFIX or file:///FOLDER")
        if name == "list":
            verb.add_argument("-r", "--recursive", action="store_true", help="all below, not one level")
        if name == "cleanup":
            most = "how many of the newest stay in each folder; 1 unless told"
            verb.add_argument("--keep", metavar="N", type=whole(1), default=1, help=most)
            verb.add_argument(
                "--older-than", metavar="AGE", type=span, help="only what is older goes, as 12h, 30d or 8w"
            )
            verb.add_argument(
                "-n", "--dry-run", action="store_true", help="show what would go, remove nothing"
            )


def _add_copy(verb: argparse.ArgumentParser, name: str) -> None:
    verb.add_argument("source", metavar="SOURCE", help="a path, or an address where that is the way")
    verb.add_argument("target", metavar="TARGET", help="likewise; `/` at its end makes it a folder")
    copying.add_options(verb, delete=name == "sync")


def run(args: argparse.Namespace, session: Session) -> int:
    """Answer one of the verbs; the status is 1 when something could not be copied.

    Raises:
        UsageError: ``objects-none``, ``objects-ends``, ``objects-pattern``, ``store-url``, ``confirmation-needed``.
        AccessError: ``objects-disk``, or what the store says.
    """
    from runctl.cli.signals import install_signals  # noqa: PLC0415 - only what waits needs them

    verbs = {"list": _list, "du": _du, "cleanup": _cleanup}
    if getattr(args, "dry_run", False):
        session.write_nothing()
    with install_signals(session.cancel, say=session.say):
        return verbs.get(args.verb, _copy)(args, session)


def _copy(args: argparse.Namespace, session: Session) -> int:
    from runctl import api  # noqa: PLC0415 - `s3 --help` does without the engine

    return copying.make(partial(api.plan_copy, session.runtime, args.verb), args, session)


def _list(args: argparse.Namespace, session: Session) -> int:
    from runctl import api  # noqa: PLC0415 - as above

    found = api.list_objects(session.runtime, args.address, recursive=args.recursive)
    if session.options.json:
        session.out_json(
            [
                {"name": each.name, "bytes": each.size, "modified": _iso(each.modified)}
                if each.size is not None
                else {"folder": each.name}
                for each in found
            ]
        )
        return 0
    any_ = False
    for each in found:
        any_ = True
        if session.options.quiet:
            session.out(each.name)
        else:
            length = "" if each.size is None else size(each.size)
            session.out(f"{_when(each.modified):16}  {length:>8}  {safe(each.name)}")
    if not any_:
        session.say(f"nothing begins with {args.address}")
    return 0


def _du(args: argparse.Namespace, session: Session) -> int:
    from runctl import api  # noqa: PLC0415 - as above

    rows = api.disk_usage(session.runtime, args.address)
    objects, total = sum(row.objects for row in rows), sum(row.bytes for row in rows)
    if session.options.json:
        below = [row._asdict() for row in rows]
        session.out_json({"address": args.address, "objects": objects, "bytes": total, "below": below})
        return 0
    for row in rows:
        session.out(f"{size(row.bytes):>8}  {count(row.objects, 'objects'):>14}  {safe(row.name)}")
    session.out(f"{size(total):>8}  {count(objects, 'objects'):>14}  in all")
    return 0


def _cleanup(args: argparse.Namespace, session: Session) -> int:
    from runctl import api  # noqa: PLC0415 - as above

    found = api.old_checkpoints(session.runtime, args.address, keep=args.keep, older_than=args.older_than)
    uploads = api.unfinished_uploads(session.runtime, args.address)
    gone = [each for each in found if not each.stays]
    words = f"{count(len(gone), 'checkpoints')}, {size(sum(each.size for each in gone))}"
    words += f", and {count(len(uploads), 'cut-off uploads')}" if uploads else ""
    if not session.options.json:
        lines = [f"= {safe(each.path)}  {size(each.size)}  {each.stays}" for each in found if each.stays]
        lines += [f"- {safe(each.path)}  {size(each.size)}" for each in gone]
        lines += [f"- {safe(each.address)}  an upload that was cut off" for each in uploads]
        (session.out if args.dry_run else session.say)("\n".join(lines or ["no checkpoint is there"]))
    if (gone or uploads) and not args.dry_run:
        if not session.confirm(f"Delete {words}, in {args.address}?"):
            session.say("nothing was deleted")
            return 1
        api.remove_checkpoints(session.runtime, args.address, found)
        api.give_up_uploads(session.runtime, uploads)
        session.say(f"deleted {words}")
    if session.options.json:
        kept = [{"path": each.path, "bytes": each.size, "why": each.stays} for each in found if each.stays]
        session.out_json(
            {
                "address": args.address,
                "dry_run": args.dry_run,
                "deleted": [{"path": each.path, "bytes": each.size, "step": each.step} for each in gone],
                "uploads": [each.address for each in uploads],
                "kept": kept,
            }
        )
    return 0


def _when(seconds: float | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")


def _iso(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
