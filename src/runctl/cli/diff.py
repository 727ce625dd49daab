"""``runctl diff``: what differs between two runs, from the code to the cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from runctl.cli.arguments import RUN_HELP

if TYPE_CHECKING:
    import argparse

    from runctl.api.comparing import Compared
    from runctl.cli.session import Session

_SHOWN: Final = 20  # files, without --verbose
EPILOG = """\
Compared are code, arguments, environment, machine, time and cost, as they were recorded; no machine is asked. Only what
differs is shown.

examples:
  runctl diff brave-otter-7k2m latest
  runctl diff brave-otter-7k2m latest --json
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = EPILOG
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    parser.add_argument("other", metavar="OTHER", help="likewise")


def run(args: argparse.Namespace, session: Session) -> int:
    """Print the table, 0. Raises ``run-not-found`` or ``run-ambiguous``."""
    from runctl import api  # noqa: PLC0415 - `diff --help` does without the engine

    found = api.compare(session.runtime, args.run, args.other)
    if session.options.json:
        session.out_json(found.to_json())
    else:
        session.out(_page(found, session))
    return 0


def _page(found: Compared, session: Session) -> str:
    from runctl.cli.output import out_style, out_width  # noqa: PLC0415 - only for people
    from runctl.views.table import Column, table  # noqa: PLC0415 - as above

    rows = [
        (row.what, _shown(row.what, row.one), _shown(row.what, row.other))
        for row in found.rows
        if row.differs
    ]
    if not rows:
        return f"{found.one.name} and {found.other.name} do not differ"
    names = (found.one.name, found.other.name)
    columns = [Column(""), *(Column(name, flexible=True) for name in names)]
    text = table(columns, rows, width=out_width(), style=out_style(session))
    return "\n".join([text, *_files(found, session)])


def _shown(what: str, value: Any) -> str:
    if value is None:
        return "not known"
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if what in ("code", "environment"):
        return str(value)[:12]
    if what == "seconds":
        from runctl.views.text import brief  # noqa: PLC0415 - as above

        return brief(float(value))
    return str(value)


def _files(found: Compared, session: Session) -> list[str]:
    from runctl.views.text import safe  # noqa: PLC0415 - as above

    if found.files is None:
        same = found.one.code == found.other.code
        return [] if same else ["", "which files differ is not known: one of the trees was not kept"]
    files = found.files
    lines = [f"  ~ {safe(path)}" for path in files.changed]
    lines += [f"  + {safe(path)}" for path in files.added]
    lines += [f"  - {safe(path)}" for path in files.removed]
    if not session.options.verbose and len(lines) > _SHOWN:
        lines = [*lines[:_SHOWN], f"    and {len(lines) - _SHOWN:,} more; --verbose shows them"]
    return ["", "files, from the first to the second:", *lines]
