"""``runctl env list | show | build | push | pull | prune``: environments, on this computer, on machines, in a store."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runctl.core.catalogue import known
from runctl.core.quantities import count, size

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from runctl.api.environments import Removal
    from runctl.cli.session import Session

EPILOG = """\
KEY is an environment's key or its beginning. A store is an address (s3://BUCKET/PREFIX, file:///FOLDER); without one it
is that of your target. Machines with a store put there what they built, and take from it what another one built.

examples:
  runctl env list
  runctl env list --store
  runctl env build train.py --on ssh://gpu-box
  runctl env push 3f2a
  runctl env prune --older-than 30d --max-size 20GB
  runctl env prune --store --older-than 90d --dry-run
"""
_UNITS = {"": 1, "B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
_SPANS = {"m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of ``runctl env``."""
    parser.epilog = EPILOG
    verbs = parser.add_subparsers(
        dest="verb", required=True, metavar="list | show | build | push | pull | prune"
    )
    for name, text in (
        ("list", "list environments, the last used first"),
        ("show", "tell all about one of them"),
        ("build", "build what a script needs on a machine, before a run does"),
        ("push", "copy one of this computer to a store"),
        ("pull", "copy one of a store to this computer, verified and tried out"),
        ("prune", "remove what was not used for long, or exceeds a size"),
    ):
        verb = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        if name == "build":
            verb.add_argument("script", metavar="SCRIPT", help="the script, as for train")
            where = "local, an SSH host, or the id, name or run of a machine; local unless given"
            verb.add_argument("--on", metavar="TARGET", default="local", help=where)
            continue
        if name in ("show", "push", "pull"):
            verb.add_argument("key", metavar="KEY", help="its key, or how that begins")
        store = "the store; without URL that of your target"
        verb.add_argument("--store", metavar="URL", nargs="?", const="", help=store)
        if name == "prune":
            age = "not used for so long, as 12h, 30d or 8w"
            verb.add_argument("--older-than", metavar="AGE", help=age)
            most = "keep the last used up to this size, as 20GB"
            verb.add_argument("--max-size", metavar="SIZE", help=most)
            verb.add_argument(
                "-n", "--dry-run", action="store_true", help="show what would go, remove nothing"
            )


def run(args: argparse.Namespace, session: Session) -> int:
    """Answer one of the verbs; 0 unless something is wrong.

    Raises:
        UsageError: ``env-unknown``, ``env-ambiguous``, ``env-limit``, ``env-no-store``, ``env-nothing``.
        InstallError: ``env-not-stored``, ``env-not-restored``; why it cannot be built.
    """
    from runctl.cli.signals import install_signals  # noqa: PLC0415 - only what waits needs them

    verbs = {
        "list": _list,
        "show": _show,
        "build": _build,
        "push": _push,
        "pull": _pull,
        "prune": _prune,
    }
    with install_signals(session.cancel, say=session.say):
        return verbs[args.verb](args, session)


def _rows(args: argparse.Namespace, session: Session) -> list[dict[str, Any]]:
    """The environments asked about, as plain values."""
    from runctl import api  # noqa: PLC0415 - `env --help` does without the engine

    if args.store is None:
        return api.local_environments(session.runtime)
    store = api.store_of(session.runtime, args.store, read_only=True)
    found = api.stored_environments_in(session.runtime, store)
    rows = []
    for each in found:
        value = {"key": each.key} if each.environment is None else each.environment.to_json()
        rows.append(
            {
                **value,
                "complete": each.environment is not None,
                "stored_bytes": each.size,
                "unnamed": len(each.unnamed),
                "used_at": each.used_at,
            }
        )
    return rows


def _list(args: argparse.Namespace, session: Session) -> int:
    rows = _rows(args, session)
    if session.options.json:
        session.out_json(rows)
    elif session.options.quiet:
        for row in rows:
            session.out(row["key"])
    elif not rows:
        session.say("no environment in the store" if args.store is not None else "no environment here")
    else:
        session.out(_table(rows, session))
    return 0


def _table(rows: list[dict[str, Any]], session: Session) -> str:
    from runctl.cli.output import out_style, out_width  # noqa: PLC0415 - only for people
    from runctl.views.table import Column, table  # noqa: PLC0415

    columns = (
        Column("KEY"),
        Column("PYTHON"),
        Column("PACKAGES", right=True),
        Column("SIZE", right=True),
        Column("BUILT IN", right=True),
        Column("LAST USED"),
        Column("FROM", flexible=True),
    )
    return table(columns, [_cells(row) for row in rows], width=out_width(), style=out_style(session))


def _cells(row: dict[str, Any]) -> Sequence[str]:
    if not row.get("complete", True):
        return (row["key"][:12], "", "", size(row["stored_bytes"]), "", _when(row["used_at"]), "not complete")
    built = row.get("build_seconds", row.get("seconds"))
    used = f"; used by {', '.join(row['users'])}" if row.get("users") else ""
    return (
        row["key"][:12],
        row["python"],
        str(row["packages"]),
        size(row.get("packed", row["bytes"])),
        "" if built is None else f"{built:.1f} s",
        _when(row["used_at"]),
        f"{row.get('source', '')}{used}",
    )


def _show(args: argparse.Namespace, session: Session) -> int:
    from runctl import api  # noqa: PLC0415 - as above

    rows = {row["key"]: row for row in _rows(args, session)}
    where = "this computer" if args.store is None else "the store"
    row = rows[api.full_key(args.key, list(rows), where)]
    if session.options.json:
        session.out_json(row)
        return 0
    for name, value in row.items():
        if name.endswith("_at"):
            value = _when(value)  # noqa: PLW2901 - for people
        elif name in ("bytes", "packed", "stored_bytes"):
            value = size(value)  # noqa: PLW2901 - as above
        elif isinstance(value, (dict, list)):
            value = ", ".join(map(str, value.items() if isinstance(value, dict) else value))  # noqa: PLW2901
        session.out(f"{name.replace('_', ' '):<16}{'not known yet' if value is None else value}")
    return 0


def _build(args: argparse.Namespace, session: Session) -> int:
    from runctl import api  # noqa: PLC0415 - as above

    cwd = session.cwd
    session.use_project((cwd / Path(args.script).expanduser()).parent)
    done = api.build_environment(session.runtime, args.script, args.on, cwd=cwd)
    if session.options.json:
        session.out_json(done.to_json())
        return 0
    if session.options.quiet:
        session.out(done.key)
        return 0
    how = f"built in {done.seconds:.1f} s" if done.built else "it was there"
    session.say(
        f"{done.key[:12]} is on {done.machine}: {count(done.packages, 'packages')}, Python {done.python}, {how}"
    )
    if done.store:
        session.say(f"  and in {done.store}")
    elif done.not_stored:
        session.say(f"  not in the store: {done.not_stored}")
    return 0


def _push(args: argparse.Namespace, session: Session) -> int:
    from runctl import api  # noqa: PLC0415 - as above

    here = [row["key"] for row in api.local_environments(session.runtime)]
    key = api.full_key(args.key, here, "this computer")
    store = api.store_of(session.runtime, args.store or "")
    new = api.push_environment(session.runtime, key, store)
    if session.options.json:
        session.out_json({"key": key, "store": store.url, "pushed": new})
    else:
        session.say(f"{key[:12]} is in {store.url}" + ("" if new else " already"))
    return 0


def _pull(args: argparse.Namespace, session: Session) -> int:
    from runctl import api  # noqa: PLC0415 - as above

    store = api.store_of(session.runtime, args.store or "")
    there = [each.key for each in api.stored_environments_in(session.runtime, store) if each.environment]
    key = api.full_key(args.key, there, store.url)
    done = api.pull_environment(session.runtime, key, store)
    if session.options.json:
        session.out_json({"key": key, "store": store.url, **done})
    elif done["restored"]:
        session.say(f"{key[:12]} is here: {size(done['bytes'])} restored in {done['seconds']:.1f} s")
    else:
        session.say(f"{key[:12]} was here")
    return 0


def _prune(args: argparse.Namespace, session: Session) -> int:
    from runctl import api  # noqa: PLC0415 - as above

    limits = {"older_than": age(args.older_than), "most": most_bytes(args.max_size)}
    if set(limits.values()) == {None} and args.store is None:
        raise known("env-limit", text="nothing", detail="say how old, or how much may stay")
    rt = session.runtime

    def go(*, dry: bool) -> Removal:
        if args.store is None:
            return api.prune_local(rt, **limits, dry=dry)
        return api.prune_store(rt, api.store_of(rt, args.store, read_only=dry), **limits, dry=dry)

    would = go(dry=True)
    if not would.keys and not would.unnamed:
        session.say(f"nothing to remove in {would.where}")
    elif not args.dry_run and session.confirm(f"Remove {_words(would)} from {would.where}?"):
        would = go(dry=False)
        session.say(_removed(would))
    if session.options.json:
        removed = [{"key": key, "bytes": length} for key, length in would.keys]
        session.out_json(
            {
                "where": would.where,
                "removed": removed,
                "objects": list(would.unnamed),
                "dry_run": args.dry_run,
            }
        )
    elif args.dry_run:
        for key, length in would.keys:
            session.out(f"- {key}  {size(length)}")
        for name in would.unnamed:
            session.out(f"- {name}")
    return 0


def _removed(removal: Removal) -> str:
    if not removal.keys and not removal.unnamed:
        return f"nothing to remove in {removal.where}: a run has begun to use it"
    return f"removed {_words(removal)} from {removal.where}"


def _words(removal: Removal) -> str:
    rest = f" and {count(len(removal.unnamed), 'parts')} of none" if removal.unnamed else ""
    return f"{count(len(removal.keys), 'environments')}, {size(removal.bytes)}{rest}"


def age(text: str | None) -> float | None:
    """Seconds of ``30d``, ``12h``, ``8w``, ``5m``; None of None. Pure. Raises ``env-limit``."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([mhdw])", text.strip().lower())
    if found is None:
        raise known("env-limit", text=text, detail="an age is a number and m, h, d or w, as 30d")
    return float(found[1]) * _SPANS[found[2]]


def most_bytes(text: str | None) -> float | None:
    """Bytes of ``20GB``, ``500 MB``; None of None. Pure. Raises ``env-limit``."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?B?)", text.strip().upper())
    unit = "" if found is None else found[2] + ("" if found[2].endswith("B") or not found[2] else "B")
    if found is None or unit not in _UNITS:
        raise known("env-limit", text=text, detail="a size is a number and MB, GB or TB, as 20GB")
    return float(found[1]) * _UNITS[unit]


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
