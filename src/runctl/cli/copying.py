"""What ``runctl s3`` and ``runctl transfer`` have in common: the options of a copy, its plan and its receipt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from runctl.core.quantities import count, size
from runctl.views.text import safe

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from runctl.api.objects import Copying
    from runctl.cli.session import Session
    from runctl.engine.mirror_run import Copied

_SHOWN: Final = 20  # lines of each kind, without --verbose


def add_options(parser: argparse.ArgumentParser, *, delete: bool) -> None:
    """The options of a copy; ``delete`` gives it ``--delete``."""
    rules: dict[str, Any] = {
        "metavar": "PATTERN",
        "dest": "rules",
        "action": "append",
    }  # in one list: their order counts
    text = "copy what matches; given first, nothing else is copied"
    parser.add_argument("--include", type=lambda pattern: (True, pattern), help=text, **rules)
    text = "do not copy what matches"
    parser.add_argument("--exclude", type=lambda pattern: (False, pattern), help=text, **rules)
    if delete:
        parser.add_argument("--delete", action="store_true", help="delete what only the target has")
    parser.add_argument("--force", action="store_true", help="copy also what is the same on both sides")
    parser.add_argument(
        "-n", "--dry-run", action="store_true", help="show what would be done, change nothing"
    )


def make(plan: Callable[..., Copying], args: argparse.Namespace, session: Session) -> int:
    """Plan it, show the plan or carry it out; the status is 1 when something could not be copied.

    ``plan`` takes the two ends and what ``api.plan_copy`` takes by name.
    """
    copying = plan(
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
    lines += _some([f">   {safe(item.name)}  {size(item.size)}" for item in mirror.send], session)
    lines += _some([f"- delete {safe(item.name)}  {size(item.size)}" for item in mirror.delete], session)
    lines += _some([f"! left out: {safe(name)}: {why}" for name, why in mirror.left], session)
    lines.append(f"= {count(len(mirror.same), 'files')} are the same on both sides")
    session.out("\n".join(lines))


def _show_deletes(copying: Copying, session: Session) -> None:
    """What somebody is about to be asked about."""
    if not session.options.json and not session.options.yes:
        lines = [f"- {safe(item.name)}  {size(item.size)}" for item in copying.mirror.delete]
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
    lines += _some([f"left out  {safe(name)}: {why}" for name, why in copied.left], session)
    session.out("\n".join([*lines, f"took      {seconds:.2f} s{rate}"]))


def _some(lines: list[str], session: Session) -> list[str]:
    if session.options.verbose or len(lines) <= _SHOWN:
        return lines
    return [*lines[:_SHOWN], f"    and {len(lines) - _SHOWN:,} more; --verbose shows them"]
