"""What is said when nobody watches a run any more that goes on. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runctl.core.model import Run


def detached(run: Run) -> str:
    """Where it goes on, what that costs, how to come back and how to end it."""
    price = "nothing" if run.price_per_hour in ("", "0") else f"{run.price_per_hour} an hour"
    return (
        f"detached; {run.name} goes on on {run.machine} and costs {price}\n"
        f"  follow it:  runctl attach {run.name}\n"
        f"  end it:     runctl cancel {run.name}"
    )
