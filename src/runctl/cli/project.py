"""``runctl project``: the project root and why, what travels, what stays and by which rule."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Final

from runctl.core.catalogue import known
from runctl.project.builtin import SECRET_ORIGIN
from runctl.project.settings import SETTINGS
from runctl.project.text import setting_line, shown
from runctl.views.text import count, size

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable
    from pathlib import Path

    from runctl.cli.session import Session
    from runctl.project.config import Config
    from runctl.project.dependencies import Dependencies
    from runctl.project.listing import Explanation, FileEntry, LeftOut, Listing
    from runctl.project.root import Root
    from runctl.project.script import Script

_SETTINGS: Final = ("include", "exclude", "secrets")
_BIGGEST: Final = 5  # files in the page; --json and --files have them all
_RULES: Final = 12  # rules in the page
EPILOG = """\
examples:
  runctl project                        the root, what travels, what stays
  runctl project training/train.py      the same for the project of that script, with what it needs
  runctl project --files -z | xargs -0 ls -l
  runctl project --why data/train.csv   the rule that decides about one path
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of ``runctl project``."""
    parser.description = "Show the project root and why it is the root, which files travel, and what stays."
    parser.epilog = EPILOG
    parser.add_argument(
        "script", nargs="?", help="show the project of this script, and what the script needs"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--files", action="store_true", help="print the paths that travel, one a line")
    what.add_argument("--why", metavar="PATH", help="name the rule that decides whether PATH travels")
    parser.add_argument(
        "-z", "--null", action="store_true", help="with --files: end each path with NUL, and quote nothing"
    )
    for key in _SETTINGS:
        setting = SETTINGS[key]
        parser.add_argument(setting.flag, dest=key, action="append", metavar="ITEM", help=setting.doc)


def run(args: argparse.Namespace, session: Session) -> int:
    """Run the command; 0 whatever it has to tell.

    Raises:
        UsageError: a script that cannot be one or would not travel; ``path-outside-project`` for ``--why``;
            ``config-invalid``.
    """
    from runctl.project.files import list_files  # noqa: PLC0415 - not for --help
    from runctl.project.root import find_root  # noqa: PLC0415
    from runctl.project.script import resolve_script  # noqa: PLC0415

    if args.null and not args.files:
        raise known("usage", why="-z belongs to --files", fix=["  runctl project --files -z"])
    cwd = session.cwd
    script = resolve_script(args.script, cwd=cwd) if args.script else None
    if script is not None:
        session.use_project((script.root.path / script.path.value).parent)
    config = session.config.with_flags({key: getattr(args, key) for key in _SETTINGS})
    root = find_root(cwd) if script is None else script.root
    if args.why is not None:
        _why(root, args.why, config, session)
        return 0
    listing = list_files(root, **_patterns(config), script=script.path if script else None, env=session.env)
    if args.files:
        _files(listing, session, null=args.null)
    else:
        _page(root, script, listing, session)
    return 0


def say_why(path: str, session: Session) -> None:
    """Say which rule decides about a path, as ``runctl project --why`` does. Raises ``path-outside-project``."""
    from runctl.project.root import find_root  # noqa: PLC0415 - as above

    _why(find_root(session.cwd), path, session.config, session)


def _why(root: Root, path: str, config: Config, session: Session) -> None:
    from runctl.project.files import explain  # noqa: PLC0415 - as above

    where = _project_path(root, path, session.cwd)
    _say_why(explain(root, where, **_patterns(config), env=session.env), session)


def _patterns(config: Config) -> dict[str, Any]:
    return {
        "include": config.items("include"),
        "exclude": config.items("exclude"),
        "secrets_allowed": config.items("secrets"),
    }


def _project_path(root: Root, text: str, cwd: Path) -> str:
    """The project path of what was typed: relative to the folder one is in, else to the root."""
    from runctl.project.root import is_below, without_dots  # noqa: PLC0415

    near = os.path.join(cwd, text)
    if not os.path.lexists(near) and os.path.lexists(os.path.join(root.path, text)):
        near = os.path.join(root.path, text)
    place = without_dots(near)
    top = str(root.path)
    if not is_below(place, top):
        place = os.path.join(os.path.realpath(os.path.dirname(place)), os.path.basename(place))
    if place == top or not is_below(place, top):
        raise known("path-outside-project", path=shown(text), root=str(root))
    return os.path.relpath(place, top)


def _say_why(found: Explanation, session: Session) -> None:
    if session.options.json:
        session.out_json(found._asdict() | {"path": _text(found.path), "decided_at": _text(found.decided_at)})
        return
    verb = "travels" if found.travels else "stays"
    if not found.rule:
        session.out(f"{shown(found.path)} {verb}: no rule speaks of it")
    else:
        reason = f", {found.why}" if found.why else ""
        session.out(f"{shown(found.path)} {verb}: {_plain(found.rule)} ({_plain(found.origin)}{reason})")
    if found.decided_at != found.path:
        session.out(f"  decided at {shown(found.decided_at)}")
    if not found.exists:
        session.out("  there is no such file now")
    if not found.travels:
        session.out("  " + _way_to_send(found))


def _plain(rule: str) -> str:
    """A rule or its place as it is written, unless that would upset a terminal."""
    return rule if rule.isprintable() else shown(rule)


def _way_to_send(found: Explanation) -> str:
    if found.origin == "exclude":
        return f"to send it, take {found.rule!r} out of `exclude` in .runctl.toml"
    if found.rule == ".git" or found.why.startswith("only files"):
        return "nothing brings it"
    key = "secrets" if found.origin == SECRET_ORIGIN else "include"
    return f"to send it, in .runctl.toml: {setting_line(key, found.path)}"


def _files(listing: Listing, session: Session, *, null: bool) -> None:
    if session.options.json:
        session.out_json([_entry_json(entry) for entry in listing.files])
    elif null:
        sys.stdout.flush()
        sys.stdout.buffer.write(b"".join(os.fsencode(entry.path) + b"\0" for entry in listing.files))
    elif listing.files:
        session.out("\n".join(shown(entry.path) for entry in listing.files))


def _text(path: str) -> str:
    """A path for JSON, which is text: as it is, or quoted as by ``--files`` when its bytes are not UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return shown(path)
    return path


def _entry_json(entry: FileEntry) -> dict[str, Any]:
    record: dict[str, Any] = {"path": _text(entry.path), "type": entry.kind}
    if entry.kind == "file":
        return record | {"size": entry.size, "exec": entry.exec}
    return record | {"target": _text(entry.target)} if entry.kind == "link" else record


def _page(root: Root, script: Script | None, listing: Listing, session: Session) -> None:
    from runctl.project.dependencies import find  # noqa: PLC0415 - only for a script

    needs = None
    if script is not None:
        needs = find(root.path, script.path, [entry.path for entry in listing.files])
    config = session.config.project_file
    if session.options.json:
        session.out_json(_json(root, script, listing, needs, config))
        return
    lines = [f"project   {root}", f"  because {root.reason}"]
    lines += [f"  not     {passed}" for passed in root.passed_over]
    lines.append(f"  config  {shown(os.path.relpath(config, root.path)) if config else 'none'}")
    if script is not None and needs is not None:
        lines += [f"  script  {shown(str(script.path))}", f"  needs   {needs.why}"]
    else:
        there = _dependency_files(listing)
        lines.append(f"  needs   {', '.join(there) if there else 'no dependency file in the root'}")
    lines += _travels(listing)
    lines += _stays(listing, verbose=session.options.verbose)
    session.out("\n".join(lines))


def _dependency_files(listing: Listing) -> list[str]:
    from runctl.project.walk import DEPENDENCY_FILES  # noqa: PLC0415

    there = {entry.path for entry in listing.files}
    return [name for name in DEPENDENCY_FILES if name in there]


def _biggest(listing: Listing) -> list[FileEntry]:
    return sorted(listing.files, key=lambda entry: (-entry.size, entry.path))[:_BIGGEST]


def _counts(listing: Listing) -> dict[str, int]:
    kinds = [entry.kind for entry in listing.files]
    return {kind: kinds.count(kind) for kind in ("file", "link", "dir")}


def _travels(listing: Listing) -> list[str]:
    counts = _counts(listing)
    words = [count(counts["file"], "files")]
    words += [count(counts["link"], "links")] if counts["link"] else []
    words += [count(counts["dir"], "empty folders")] if counts["dir"] else []
    lines = ["", f"travels   {', '.join(words)}, {size(listing.bytes)}"]
    return lines + [
        f"  {size(entry.size):>7}  {shown(entry.path)}" for entry in _biggest(listing) if entry.size
    ]


def _stays(listing: Listing, *, verbose: bool) -> list[str]:
    lines: list[str] = []
    rules = _by_rule(listing.left_out)
    if rules:
        lines += ["", f"stays     {count(len(listing.left_out), 'paths')}, by rule"]
        shortened = rules if verbose else rules[:_RULES]
        for rule in shortened:
            first = rule["paths"][0]
            what = (
                shown(first)
                if len(rule["paths"]) == 1
                else f"{shown(first)} and {len(rule['paths']) - 1} more"
            )
            why = f": {rule['why']}" if rule["why"] else ""
            lines.append(f"  {_plain(rule['rule'])}  ({_plain(rule['origin'])}{why})  {what}")
        if len(rules) > len(shortened):
            lines.append(f"  and {count(len(rules) - len(shortened), 'rules')} more: --verbose")
    if listing.secrets:
        lines += ["", "secrets   look like one and stay"]
        lines += [f"  {shown(left.path)}  ({left.rule}: {left.why})" for left in listing.secrets]
        lines.append(f"  to send one, in .runctl.toml: {setting_line('secrets', listing.secrets[0].path)}")
    if listing.problems:
        lines += ["", "problems"]
        for problem in listing.problems:
            mark = "error" if problem.fatal else "warning"
            lines.append(f"  {mark}: {shown(problem.path)}: {problem.what}")
    return lines


def _by_rule(left_out: Iterable[LeftOut]) -> list[dict[str, Any]]:
    """What stays, grouped by the rule, the rule with the most paths first."""
    groups: dict[tuple[str, str], dict[str, Any]] = {}
    for left in left_out:
        empty = {"rule": left.rule, "origin": left.origin, "why": left.why, "paths": []}
        groups.setdefault((left.rule, left.origin), empty)["paths"].append(left.path + "/" * left.is_dir)
    return sorted(groups.values(), key=lambda group: (-len(group["paths"]), group["origin"], group["rule"]))


def _json(
    root: Root, script: Script | None, listing: Listing, needs: Dependencies | None, config: Path | None
) -> dict[str, Any]:
    counts = _counts(listing)
    return {
        "root": _text(str(root.path)),
        "reason": root.reason,
        "marker": _text(str(root.marker)) if root.marker else None,
        "looked_at": [_text(str(folder)) for folder in root.looked_at],
        "passed_over": list(root.passed_over),
        "alone": root.alone,
        "config": _text(str(config)) if config else None,
        "script": _text(str(script.path)) if script else None,
        "dependencies": {"kind": needs.kind, "why": needs.why, "files": list(needs.files)} if needs else None,
        "dependency_files": _dependency_files(listing),
        "files": counts["file"],
        "links": counts["link"],
        "empty_folders": counts["dir"],
        "bytes": listing.bytes,
        "biggest": [{"path": _text(entry.path), "size": entry.size} for entry in _biggest(listing)],
        "left_out": [left._asdict() | {"path": _text(left.path)} for left in listing.left_out],
        "secrets": [left._asdict() | {"path": _text(left.path)} for left in listing.secrets],
        "problems": [problem._asdict() | {"path": _text(problem.path)} for problem in listing.problems],
    }
