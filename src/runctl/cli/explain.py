"""``runctl explain [CODE]``: what an error code means and what to do about it. Works offline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runctl.core.catalogue import CATALOGUE, known

if TYPE_CHECKING:
    import argparse

    from runctl.cli.session import Session


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of ``runctl explain``."""
    parser.add_argument(
        "code", nargs="?", metavar="CODE", help="the word in brackets after `error`; none lists all"
    )


def run(args: argparse.Namespace, session: Session) -> int:
    """Print one code's page, or the list of all codes.

    Raises:
        UsageError: ``unknown-code``, with the codes most like it.
    """
    if args.code is None:
        return _list(session)
    code = args.code.removeprefix("error").strip("[]:. ")
    if code not in CATALOGUE:
        from runctl.cli.corrections import nearest  # noqa: PLC0415 - only for an error

        near = [f"  runctl explain {name}" for name in nearest(code, CATALOGUE)]
        raise known("unknown-code", wanted=code, fix=[*near, "  runctl explain"])
    if session.options.json:
        session.out_json(entry_json(code))
    else:
        session.out(page(code))
    return 0


def _list(session: Session) -> int:
    codes = sorted(CATALOGUE)
    if session.options.json:
        session.out_json([entry_json(code) for code in codes])
        return 0
    width = max(map(len, codes)) + 2
    for code in codes:
        session.out(f"{code:{width}}{CATALOGUE[code].family.exit_code:>4}  {blanks(CATALOGUE[code].what)}")
    return 0


def entry_json(code: str) -> dict[str, Any]:
    """The entry as JSON values; templates keep their ``{names}``."""
    entry = CATALOGUE[code]
    return {
        "code": code,
        "exit_code": entry.family.exit_code,
        "family": entry.family.__name__,
        "what": entry.what,
        "why": entry.why,
        "fix": list(entry.fix),
        "explain": entry.explain,
        "transient": entry.transient,
    }


def blanks(template: str) -> str:
    """A template for reading: ``{run}`` becomes ``RUN``, as in a usage line."""
    import string  # noqa: PLC0415 - 5 ms, only here

    return "".join(
        text + ("" if name is None else name.partition("!")[0].upper().replace("_", "-"))
        for text, name, _, _ in string.Formatter().parse(template)
    )


def page(code: str) -> str:
    """The text of ``runctl explain CODE``."""
    import textwrap  # noqa: PLC0415 - as above

    entry = CATALOGUE[code]
    lines = [f"error[{code}]: {blanks(entry.what)}", ""]
    lines += textwrap.wrap(entry.explain, 92, break_on_hyphens=False, break_long_words=False)
    if entry.fix:
        lines += ["", "To fix it:", *(f"  {blanks(line)}" for line in entry.fix)]
    lines += ["", f"Exit status {entry.family.exit_code}: {(entry.family.__doc__ or '').splitlines()[0]}"]
    if entry.transient:
        lines.append("It may pass by itself: the same command can succeed later.")
    return "\n".join(lines)
