"""Several pieces of work at once, on threads that end together."""

from __future__ import annotations

import threading

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def together(jobs: Iterable[Callable[[], None]], *, workers: int) -> None:
    """Do all ``jobs``, at most ``workers`` at once; returns when nothing runs any more.

    A job is taken from ``jobs`` only when a worker is free, by one worker at a time: what making a job costs is
    spent while the others work.

    Raises:
        BaseException: the first that a job, or the making of one, raised; no new job is begun after it.
    """
    crew = _Crew(jobs)
    threads = [threading.Thread(target=crew.work, daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if crew.failure is not None:
        raise crew.failure


class _Crew:
    def __init__(self, jobs: Iterable[Callable[[], None]]) -> None:
        self._jobs = iter(jobs)
        self._lock = threading.Lock()
        self.failure: BaseException | None = None

    def work(self) -> None:
        try:
            while True:
                with self._lock:
                    job = None if self.failure is not None else next(self._jobs, None)
                if job is None:
                    return
                job()
        except BaseException as error:
            self.failure = self.failure or error
