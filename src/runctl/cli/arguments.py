"""Kinds of arguments that several commands take. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}  # seconds
SINCE_HELP = "a time ago (30s, 10m, 2h, 7d, 1w) or an ISO time (2026-11-23, 2026-11-23T18:00:00Z)"
MACHINE_HELP = "`local`, a run, or a machine by its id or name"
RUN_HELP = "a run's name, its id, the beginning of either, or `latest`"


def add_run(parser: argparse.ArgumentParser) -> None:
    """The argument RUN; its destination ``run`` gets it completed."""
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)


def whole(least: int) -> Callable[[str], int]:
    """An argparse type: a whole number not below ``least``."""

    def number(value: str) -> int:
        if not (value.isascii() and value.isdigit()) or int(value) < least:
            from argparse import ArgumentTypeError  # noqa: PLC0415 - loaded already when this runs

            raise ArgumentTypeError(f"{value!r} is no whole number from {least}")
        return int(value)

    return number


def span(value: str) -> float:
    """An argparse type: how long, as ``30d``; in seconds."""
    amount, unit = value[:-1], value[-1:]
    if unit not in UNITS or not (amount.isascii() and amount.isdigit()):
        from argparse import ArgumentTypeError  # noqa: PLC0415 - loaded already when this runs

        raise ArgumentTypeError(f"{value!r} is no time: a number and s, m, h, d or w, as 30d")
    return float(int(amount) * UNITS[unit])


def since(value: str) -> Callable[[float], float]:
    """An argparse type: a moment, as a function of now; both in seconds since the epoch.

    ``10m`` is ten minutes ago; an ISO time without a zone is in this machine's own.
    """
    amount, unit = value[:-1], value[-1:]
    if unit in UNITS and amount.isascii() and amount.isdigit():
        ago = int(amount) * UNITS[unit]
        return lambda now: now - ago
    from datetime import datetime  # noqa: PLC0415 - only for a time that is written out

    try:
        moment = datetime.fromisoformat(value).timestamp()
    except (ValueError, OverflowError):
        from argparse import ArgumentTypeError  # noqa: PLC0415 - as above

        raise ArgumentTypeError(f"{value!r} is neither {SINCE_HELP.replace(' or ', ' nor ', 1)}") from None
    return lambda _now: moment


def seconds(value: str) -> float:
    """An argparse type: a number of seconds, not negative, finite."""
    from argparse import ArgumentTypeError  # noqa: PLC0415 - as above

    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise ArgumentTypeError(f"{value!r} is no number of seconds")
    return number
