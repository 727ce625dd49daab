"""``runctl s3``: the user's own data in a bucket: copy, keep equal, list, count, clean."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from runctl.cli.arguments import span, whole
from runctl.core.quantities import count, size

if TYPE_CHECKING:
    import argparse

    from runctl.api.objects import Copying
    from runctl.cli.session import Session
    from runctl.engine.mirror_run import Copied

_SHOWN: Final = 20  # lines of each kind, without --verbose
_TEXTS: Final = {
    "upload": "copy a file or a folder to a bucket",
    "download": "copy an object, or all below a prefix, to this computer",
    "sync": "make a prefix have what a folder has, or the other way round, or two prefixes",
    "list": "list what begins with an address, a level at a time",
    "du": "tell how much lies below an address, the largest first",
    "cleanup": "remove old checkpoints; the best, the last and those something names stay",
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
    rules: dict[str, Any] = {
        "metavar": "PATTERN",
        "dest": "rules",
        "action": "append",
    }  # in one list: their order counts
    text = "copy what matches; given first, nothing else is copied"
    verb.add_argument("--include", type=lambda pattern: (True, pattern), help=text, **rules)
    text = "do not copy what matches"
    verb.add_argument("--exclude", type=lambda pattern: (False, pattern), help=text, **rules)
    if name == "sync":
        verb.add_argument("--delete", action="store_true", help="delete what only the target has")
    verb.add_argument("--force", action="store_true", help="copy also what is the same on both sides")
    verb.add_argument("-n", "--dry-run", action="store_true", help="show what would be done, change nothing")


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

    copying = api.plan_copy(
        session.runtime,
        args.verb,
        args.source,
        args.target,
        cwd=session.cwd,
        rules=args.rules or (),
        delete=getattr(args, "delete", False),
        everything=args.force,
        read_only=args.dry_run,
    )
    if args.dry_run:
        _show_plan(copying, session)
        return 1 if copying.mirror.left else 0
    if copying.mirror.delete:
        _show_deletes(copying, session)
        if not session.confirm(f"Delete {count(len(copying.mirror.delete), 'files')} in {copying.target}?"):
            session.say("nothing was copied or deleted")
            return 1
    begun = session.runtime.clock.monotonic()
    copied = copying.run(session.runtime)
    _show_done(copying, copied, session.runtime.clock.monotonic() - begun, session)
    return 1 if copied.left else 0


def _show_plan(copying: Copying, session: Session) -> None:
    mirror = copying.mirror
    if session.options.json:
        ends = {"source": copying.source, "target": copying.target, "dry_run": True}
        session.out_json(ends | mirror.to_json())
        return
    lines = [f"> copy {count(len(mirror.send), 'files')}, {size(mirror.bytes)}, to {copying.target}"]
    lines += _some([f">   {_shown(item.name)}  {size(item.size)}" for item in mirror.send], session)
    lines += _some([f"- delete {_shown(item.name)}  {size(item.size)}" for item in mirror.delete], session)
    lines += _some([f"! left out: {_shown(name)}: {why}" for name, why in mirror.left], session)
    lines.append(f"= {count(len(mirror.same), 'files')} are the same on both sides")
    session.out("\n".join(lines))


def _show_deletes(copying: Copying, session: Session) -> None:
    """What somebody is about to be asked about."""
    if not session.options.json and not session.options.yes:
        lines = [f"- {_shown(item.name)}  {size(item.size)}" for item in copying.mirror.delete]
        session.say("\n".join(_some(lines, session)))


def _show_done(copying: Copying, copied: Copied, seconds: float, session: Session) -> None:
    mirror = copying.mirror
    if session.options.json:
        session.out_json(
            {
                "source": copying.source,
                "target": copying.target,
                "copied": copied.files,
                "bytes": copied.bytes,
                "same": len(mirror.same),
                "deleted": len(mirror.delete),
                "left_out": [{"name": name, "why": why} for name, why in copied.left],
                "seconds": round(seconds, 3),
            }
        )
        return
    rate = f", {size(copied.bytes / seconds)}/s" if copied.bytes and seconds > 0 else ""
    lines = [
        f"copied    {count(copied.files, 'files')}, {size(copied.bytes)}, to {copying.target}",
        f"same      {count(len(mirror.same), 'files')}",
    ]
    if mirror.delete:
        lines.append(f"deleted   {count(len(mirror.delete), 'files')}")
    lines += _some([f"left out  {_shown(name)}: {why}" for name, why in copied.left], session)
    session.out("\n".join([*lines, f"took      {seconds:.2f} s{rate}"]))


def _some(lines: list[str], session: Session) -> list[str]:
    if session.options.verbose or len(lines) <= _SHOWN:
        return lines
    return [*lines[:_SHOWN], f"    and {len(lines) - _SHOWN:,} more; --verbose shows them"]


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
            session.out(f"{_when(each.modified):16}  {length:>8}  {_shown(each.name)}")
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
        session.out(f"{size(row.bytes):>8}  {count(row.objects, 'objects'):>14}  {_shown(row.name)}")
    session.out(f"{size(total):>8}  {count(objects, 'objects'):>14}  in all")
    return 0


def _cleanup(args: argparse.Namespace, session: Session) -> int:
    from runctl import api  # noqa: PLC0415 - as above

    found = api.old_checkpoints(session.runtime, args.address, keep=args.keep, older_than=args.older_than)
    gone = [each for each in found if not each.stays]
    words = f"{count(len(gone), 'checkpoints')}, {size(sum(each.size for each in gone))}"
    if not session.options.json:
        lines = [f"= {_shown(each.path)}  {size(each.size)}  {each.stays}" for each in found if each.stays]
        lines += [f"- {_shown(each.path)}  {size(each.size)}" for each in gone]
        (session.out if args.dry_run else session.say)("\n".join(lines or ["no checkpoint is there"]))
    if gone and not args.dry_run:
        if not session.confirm(f"Delete {words}, in {args.address}?"):
            session.say("nothing was deleted")
            return 1
        api.remove_checkpoints(session.runtime, args.address, found)
        session.say(f"deleted {words}")
    if session.options.json:
        session.out_json(
            {
                "address": args.address,
                "dry_run": args.dry_run,
                "deleted": [{"path": each.path, "bytes": each.size, "step": each.step} for each in gone],
                "kept": [
                    {"path": each.path, "bytes": each.size, "why": each.stays} for each in found if each.stays
                ],
            }
        )
    return 0


def _shown(name: str) -> str:
    from runctl.views.text import safe  # noqa: PLC0415 - only for people

    return safe(name)


def _when(seconds: float | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")


def _iso(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
