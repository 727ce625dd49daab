"""Several machines that are there already: all are asked at once, the first free one that has what it takes is chosen."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from runctl.core.cancel import CancelToken, together
from runctl.core.catalogue import known
from runctl.core.errors import Cancelled, RunctlError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from runctl.core.clock import Clock
    from runctl.core.model import Offer

    Answer = Mapping[str, Any] | RunctlError

PATIENCE = 3.0  # seconds the others get to answer once one that will do has


def ask_all(
    offers: Sequence[Offer],
    ask: Callable[[Offer, CancelToken], Mapping[str, Any]],
    fits: Callable[[Answer], bool],
    *,
    clock: Clock,
    cancel: CancelToken,
) -> list[Answer | None]:
    """What each machine says of itself, or the error it gave; None for one that was not waited for any longer.

    A machine that is down takes its time to say so: it holds nobody up who found another.

    Raises:
        Cancelled: the token was set.
    """
    answers: list[Answer | None] = [None] * len(offers)
    asking = CancelToken(cancel)

    def one(place: int) -> None:
        try:
            answers[place] = ask(offers[place], asking)
        except Cancelled:
            return
        except RunctlError as error:
            answers[place] = error

    with together(cancel) as scope:
        children = [
            scope.start(f"ask {offer.machine_type}", partial(one, place))
            for place, offer in enumerate(offers)
        ]
        begun = clock.monotonic()
        while not all(child.done.is_set() for child in children):
            found = any(answer is not None and fits(answer) for answer in answers)
            if found and clock.monotonic() - begun > PATIENCE:
                break
            clock.sleep(0.02, cancel)
        asking.cancel("another machine was found")
    return answers


def free(answer: Answer, *, exclusive: bool) -> bool:
    """Whether a machine answered and, where it holds one run, holds none. Pure."""
    return not isinstance(answer, RunctlError) and not (exclusive and answer["active"])


def none_free(target: str, offers: Sequence[Offer], answers: Sequence[Answer | None]) -> RunctlError:
    """The error that tells of each machine why it was not taken. Pure."""
    lines = []
    for offer, answer in zip(offers, answers, strict=True):
        if isinstance(answer, RunctlError):
            why = answer.why if answer.code == "machine-too-small" else answer.what
        elif answer is not None and answer["active"]:
            why = "it runs " + ", ".join(each["name"] for each in answer["active"])
        else:
            why = "it did not answer in time"
        lines.append(f"{offer.machine_type}: {why}")
    return known("pool-full", target=target, detail="\n".join(lines))
