"""Which of a run's checkpoints somebody means, and what to say when it is none of them."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from runctl.core.catalogue import known
from runctl.project.text import nearest

if TYPE_CHECKING:
    from runctl.core.errors import RunctlError

SHOWN_REASONS = 3  # of incomplete ones, in an error


def choose_checkpoint(where: str, name: str, answer: dict[str, Any]) -> dict[str, Any]:
    """The checkpoint called ``name``, or with "" the newest, of what ``api.checkpoints`` answers.

    Raises:
        UsageError: ``checkpoint-not-found``, ``checkpoint-unknown``.
    """
    found: list[dict[str, Any]] = answer["checkpoints"]
    if not found:
        raise nothing_found(where, answer)
    chosen = next((each for each in found if name in ("", each["path"])), None)
    if chosen is None:
        raise _unknown(where, name, answer)
    return chosen


def nothing_found(where: str, answer: dict[str, Any]) -> RunctlError:
    """The error for an answer without a complete checkpoint: what there is instead, and why that is none."""
    return known(
        "checkpoint-not-found",
        where=where,
        found=reasons(answer["incomplete"]) or "nothing there looks like a checkpoint",
    )


def _unknown(where: str, name: str, answer: dict[str, Any]) -> RunctlError:
    for each in answer["incomplete"]:
        if each["path"] == name:
            return known("checkpoint-not-found", where=f"{where}:{name}", found=reasons([each]))
    paths = [each["path"] for each in answer["checkpoints"]]
    near = nearest(name, paths) or paths[:1]
    fix = ["  " + shlex.join(["runctl", "checkpoint", "info", f"{where}:{path}"]) for path in near]
    return known("checkpoint-unknown", where=where, name=name, fix=fix)


def reason(each: dict[str, Any]) -> str:
    """Why an incomplete one is none, in one line; its name is as the machine has it."""
    return f"{each['path']}: {each['why']}"


def reasons(incomplete: list[dict[str, Any]]) -> str:
    """As ``reason``, of several; of many the first."""
    more = len(incomplete) - SHOWN_REASONS
    told = "; ".join(reason(each) for each in incomplete[:SHOWN_REASONS])
    return f"{told}; and {more} more" if more > 0 else told
