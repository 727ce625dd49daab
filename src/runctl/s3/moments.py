"""Times as S3 writes them, without what a locale or a mail parser knows of them. Pure."""

from __future__ import annotations

MONTHS = "JanFebMarAprMayJunJulAugSepOctNovDec"


def epoch(stamp: str) -> float:
    """Seconds since the epoch of a time in S3's XML, ``2026-11-23T18:00:00.123Z``. Raises ``ValueError``."""
    date, _, clock = stamp.rstrip("Z").partition("T")
    year, month, day = date.split("-")
    hours, minutes, seconds = clock.split(":")
    return _seconds(int(year), int(month), int(day)) + int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def epoch_of_header(stamp: str) -> float:
    """The same of a time in a header, ``Mon, 23 Nov 2026 18:00:00 GMT``. Raises ``ValueError``."""
    day, month, year, clock = stamp.partition(", ")[2].split()[:4]
    hours, minutes, seconds = clock.split(":")
    number = MONTHS.index(month) // 3 + 1
    return _seconds(int(year), number, int(day)) + int(hours) * 3600 + int(minutes) * 60 + int(seconds)


def _seconds(year: int, month: int, day: int) -> float:
    """Of the beginning of a day: days are counted from 1 March of the year 0, so that a leap day ends a year."""
    year, month = (year, month) if month > 2 else (year - 1, month + 12)
    days = 365 * year + year // 4 - year // 100 + year // 400 + (153 * (month - 3) + 2) // 5 + day
    return (days - 719469) * 86400.0
