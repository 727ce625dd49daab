"""Words for people: paths that may hold any byte, and the nearest existing name."""

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


def setting_line(key: str, path: str) -> str:
    """The line of ``.runctl.toml`` that names one path in a list of patterns: ``include = ["/data/tiny.csv"]``.

    Wildcards in the name are escaped for the pattern, and the whole for TOML. Bytes that are not UTF-8 have no
    place in TOML: each is a ``?`` there, which matches it.
    """
    quoted = "".join(_in_toml(_in_pattern(character)) for character in path)
    return f'{key} = ["/{quoted}"]'


def _in_pattern(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte that is not UTF-8, as surrogateescape has it
        return "?"
    return f"\\{character}" if character in "*?[\\" else character


def _in_toml(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return escaped if escaped.isprintable() else f"\\U{ord(text):08x}"


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
    scored.sort()
    # One that is much less like it than the best only distracts.
    return [candidate for score, candidate in scored[:limit] if score <= scored[0][0] + 0.15]
