"""How many and how much, for people: sizes, counts, and how far something is. Pure."""

from __future__ import annotations

_PREFIXES = ("B", "kB", "MB", "GB", "TB", "PB")  # SI: 1 kB is 1000 B, as disks and networks count


def _scaled(number: float, power: int) -> str:
    value = number / 1000**power
    return f"{value:.0f}" if power == 0 or value >= 99.95 else f"{value:.1f}"


def _power(number: float) -> int:
    """The prefix under which ``number`` reads as 1.0 to 999, after rounding."""
    power = 0
    while power < len(_PREFIXES) - 1 and number / 1000**power >= (999.5 if power else 1000):
        power += 1
    return power


def size(count: float) -> str:
    """Bytes for people, decimal: ``999 B``, ``1.5 MB``, ``310 MB``. Negative counts show as ``0 B``."""
    count = max(0, count)
    power = _power(count)
    return f"{_scaled(count, power)} {_PREFIXES[power]}"


def count(number: int, unit: str) -> str:
    """``1 file``, ``1,204 files``; ``unit`` is the plural."""
    return f"{number:,} {unit[:-1] if number == 1 and unit.endswith('s') else unit}"


def amount(done: int, total: int | None, unit: str, *, of: str = "/") -> str:
    """How far something is: ``120 / 310 MB``, ``3 / 12 packages``, ``1.5 MB`` when the total is not known."""
    if unit == "bytes":
        if total is None:
            return size(done)
        power = _power(total)
        return f"{_scaled(min(done, total), power)} {of} {_scaled(total, power)} {_PREFIXES[power]}"
    if total is None:
        return count(done, unit)
    return f"{min(done, total):,} {of} {count(total, unit)}"
