"""Words for people: paths that may hold any byte, sizes, and the nearest existing name."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\"}


def shown(path: str) -> str:
    r"""A path as one line of text that any terminal and any log can take.

    Ordinary names are returned as they are. A name with a control character, a quote, a backslash or bytes that
    are not UTF-8 is quoted the way git quotes it (``"a\\nb"``, ``"caf\\351"``), so that two names never look alike.
    """
    if path.isprintable() and '"' not in path and "\\" not in path:
        return path
    return '"' + "".join(_shown_character(character) for character in path) + '"'


def _shown_character(character: str) -> str:
    if character in _SHORT:
        return _SHORT[character]
    if character.isprintable():
        return character
    return "".join(f"\\{byte:03o}" for byte in character.encode("utf-8", "surrogateescape"))


def size(count: int) -> str:
    """A number of bytes in decimal units with three significant digits: ``"512 B"``, ``"4.40 MB"``."""
    if count < 1000:
        return f"{count} B"
    value = float(count)
    for unit in ("kB", "MB", "GB", "TB"):
        value /= 1000
        if value < 999.5 or unit == "TB":
            break
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f} {unit}"


def count(number: int, one: str, many: str = "") -> str:
    """A number with its noun: ``"1 file"``, ``"1,204 files"``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def nearest(text: str, candidates: Iterable[str], *, limit: int = 3) -> list[str]:
    """The candidates that look most like ``text``, best first; empty when none comes near.

    The last component counts for itself too, so that ``trian.py`` finds ``training/train.py`` and
    ``src/train.py`` finds ``training/train.py``.
    """
    from difflib import SequenceMatcher  # noqa: PLC0415 - only when something was not found

    wanted, base = text.lower(), text.rpartition("/")[2].lower()
    whole, last = SequenceMatcher(b=wanted, autojunk=False), SequenceMatcher(b=base, autojunk=False)
    scored: list[tuple[float, str]] = []
    for candidate in candidates:
        low = candidate.lower()
        whole.set_seq1(low)
        last.set_seq1(low.rpartition("/")[2])
        # 0.6 is the cut of difflib.get_close_matches; the cheap upper bounds are asked first.
        if max(whole.real_quick_ratio(), last.real_quick_ratio()) < 0.6:
            continue
        score = max(whole.ratio(), 0.98 * last.ratio())
        if score >= 0.6:
            scored.append((-score, candidate))
    return [candidate for _, candidate in sorted(scored)[:limit]]
