"""What a script leaves in ``RUNCTL_OUTPUT_DIR``: stored when it has ended, then listed."""

from __future__ import annotations

import json
import os

from runctl.s3.crew import together

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from runctl.agent.store import Store

SCHEMA = 1
NAME = "outputs.json"  # below the attempt: what was stored, where, and that it is all of it
WORKERS = 4


class Outputs:
    """Stores every regular file below a folder, the smallest first. Symbolic links are left out."""

    def __init__(self, folder: str, *, target: Store, prefix: str) -> None:
        """Files go to ``prefix`` in ``target``."""
        self._folder = folder
        self._target, self._prefix = target, prefix
        self._sent: dict[str, dict[str, Any]] = {}

    def store(self, told: Callable[[int], Any]) -> list[dict[str, Any]]:
        """Store what is not stored yet; all the files, by their paths: ``path``, ``size``, ``digest``. Safe to repeat.

        Raises:
            AgentFailure: a store's.
            OSError: a file that cannot be read.
        """
        found = sorted(walk(self._folder), key=lambda each: (each[1], each[0]))
        together(self._jobs(found, told), workers=WORKERS)
        return sorted(self._sent.values(), key=lambda each: str(each["path"]))

    def listing(self, files: list[dict[str, Any]]) -> bytes:
        """The object that says what was stored and where."""
        to = ("%s/%s" % (self._target.url, self._prefix)).rstrip("/")
        return json.dumps({"v": SCHEMA, "to": to, "files": files}, separators=(",", ":")).encode()

    def _jobs(self, found: list[tuple[str, int]], told: Callable[[int], Any]) -> Iterator[Callable[[], None]]:
        for path, _ in found:
            if path not in self._sent:
                yield lambda path=path: self._send(path, told)  # type: ignore[misc]

    def _send(self, path: str, told: Callable[[int], Any]) -> None:
        size, digest = self._target.put_file(self._prefix + path, os.path.join(self._folder, path), told=told)
        self._sent[path] = {"path": path, "size": size, "digest": digest}


def walk(folder: str) -> Iterator[tuple[str, int]]:
    """The regular files below a folder, ``(path relative to it, bytes)``; none when there is no such folder."""
    for base, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(base, name)
            if os.path.isfile(path) and not os.path.islink(path):
                yield os.path.relpath(path, folder), os.path.getsize(path)
