"""An error as people read it: what, why, how to fix it, where, and how to see more. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runctl.views import text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from runctl.views.style import Style

NARROWEST = 40  # columns; text is not wrapped tighter than this
_INDENT = 8  # columns: "  why:  "
_ALWAYS = ("step", "run", "where", "machine", "region")  # facts that say where, worth repeating


def in_words(error: Mapping[str, Any]) -> Mapping[str, Any]:
    """The error with its words. The agent sends only a code and facts; the words come from the catalogue."""
    if "what" in error:
        return error
    from runctl.core.catalogue import CATALOGUE, known  # noqa: PLC0415 - only for an agent's own report

    code, facts = str(error.get("code", "")), error.get("facts") or {}
    if code in CATALOGUE:
        return known(
            code, **{str(key): value for key, value in facts.items() if key not in ("why", "fix")}
        ).to_json()
    return {"code": code or "unknown", "what": "the agent reported a failure", "context": facts}


def block(error: Mapping[str, Any], *, width: int, style: Style, traceback: str | None = None) -> str:
    """The error in the shape every failure has, wrapped to ``width``; commands are on lines of their own, whole.

    Args:
        error: as ``RunctlError.to_json`` gives it. A context key ``events`` is the folder of the run's events.
        width: columns there are.
        style: colour and signs.
        traceback: shown below, for ``--debug``.
    """
    width = max(NARROWEST, width)
    code = str(error["code"])
    lines = [f"{style.paint(f'error[{code}]:', 'bad')} {text.safe(str(error['what']))}"]
    context = dict(error.get("context") or {})
    events_in = context.pop("events", None)
    for label, body in (
        ("why:", _prose(str(error.get("why") or "").splitlines(), width)),
        ("fix:", _prose(error.get("fix") or (), width)),
        ("at:", _facts(context, error, width)),
        (
            "more:",
            _more(
                code, events_in, width, debug=traceback is not None, user_error=error.get("exit_code") == 2
            ),
        ),
    ):
        for index, line in enumerate(body):
            lines.append(
                f"  {style.paint(label.ljust(6) if not index else ' ' * 6, 'bold' if not index else '')}{line}"
            )
    if traceback:
        lines += [
            "",
            *(style.paint(text.safe(line), "dim") for line in traceback.rstrip().splitlines()),
        ]
    return "\n".join(line.rstrip() for line in lines)


def _prose(paragraphs: Iterable[str], width: int) -> list[str]:
    """Prose wrapped; a line that starts with two spaces is a command and stays as it is."""
    lines: list[str] = []
    for paragraph in paragraphs:
        if paragraph.startswith("  "):
            lines.append(f"  {text.safe(paragraph.strip())}")
        else:
            lines += text.wrap(text.safe(paragraph), width - _INDENT)
    return lines


def _facts(context: Mapping[str, Any], error: Mapping[str, Any], width: int) -> list[str]:
    """``key=value`` pairs, as many to a line as fit; a fact the text above has already said is left out."""
    said = "\n".join([str(error["what"]), str(error.get("why") or ""), *map(str, error.get("fix") or ())])
    lines: list[str] = []
    for key, value in context.items():
        words = "" if value is None else str(value)
        if not words or "\n" in words or (key not in _ALWAYS and words in said):
            continue
        pair = f"{key}={text.command([words])}"
        if lines and text.cells(lines[-1]) + 2 + text.cells(pair) <= width - _INDENT:
            lines[-1] += f"  {pair}"
        else:
            lines.append(pair)
    return lines


def _more(code: str, events_in: object, width: int, *, debug: bool, user_error: bool) -> list[str]:
    """How to see more; of a mistake on the command line a traceback would say nothing."""
    from runctl.core.catalogue import CATALOGUE  # noqa: PLC0415 - only when an error is shown

    said = [
        "" if debug or user_error else "--debug for the traceback",
        f"runctl explain {code}" if code in CATALOGUE else "",
        f"events in {text.safe(str(events_in))}" if events_in else "",
    ]
    lines: list[str] = []
    for part in filter(None, said):
        if lines and text.cells(lines[-1]) + 2 + text.cells(part) <= width - _INDENT:
            lines[-1] += f"; {part}"
        else:
            lines.append(part)
    return lines
