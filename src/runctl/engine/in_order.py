"""Work done ahead on a few threads, its results in the order of what it was done for."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, TypeVar

from runctl.core.cancel import Child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(items: Iterable[Item], work: Callable[[Item], Result], *, workers: int) -> Iterator[Result]:
    """``work(item)`` for each item; at most ``workers`` are being worked on or wait to be taken.

    Raises:
        BaseException: what ``work`` raised, in its place; nothing more is begun then.
    """
    waiting: deque[Child[Result]] = deque()
    for item in items:
        if len(waiting) >= workers:
            yield waiting.popleft().result()
        child = Child("ahead", lambda item=item: work(item))  # type: ignore[misc]
        waiting.append(child)
        threading.Thread(target=child.run, daemon=True).start()
    while waiting:
        yield waiting.popleft().result()
