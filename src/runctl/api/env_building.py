"""Build the environment of a script on a machine, before any run needs it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runctl import registry
from runctl.api.planning import read_project
from runctl.api.syncing import machine_at, sync
from runctl.core.catalogue import known
from runctl.core.events import from_json
from runctl.project.script import resolve_script

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runctl.api.runtime import Runtime
    from runctl.core.events import Emit
    from runctl.core.model import Endpoint

COMMAND = "environments"


@dataclass(frozen=True)
class Built:
    """An environment that is on a machine now. ``seconds``: what building it took, whenever that was."""

    machine: str
    key: str
    python: str
    packages: int
    seconds: float
    built: bool  # false: it was there
    store: str = ""  # where machines find it, too; empty: nowhere
    not_stored: str = ""  # why it is not in the store that the machine has

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def build_environment(rt: Runtime, script: str, target: str, *, cwd: Path | None = None) -> Built:
    """Build what ``script`` needs on the machine ``target``, or find it there or in its store. Safe to repeat.

    The project goes along where the machine is another one: installers read its files.

    Raises:
        UsageError: ``env-nothing`` where the script needs nothing; ``unknown-target``, ``sync-which-machine``; what is
            wrong with the project.
        InstallError: why it cannot be built; nothing of it stays.
        Cancelled: the installer there was ended.
    """
    found = resolve_script(script, cwd=cwd or Path.cwd(), root=None)
    project = read_project(rt, found.root, found.path)
    request = project.dependencies.wanted()
    if request is None:
        raise known("env-nothing", script=str(found.path), why=project.dependencies.why)
    place = machine_at(rt, target)
    code = str(found.root.path)
    if place.endpoint.transport != "local":
        code = sync(rt, target, cwd=found.root.path).receipt.path
    return build_at(rt, place.endpoint, request, code=code, store=place.store, name=place.name)


def build_at(
    rt: Runtime, endpoint: Endpoint, request: Mapping[str, Any], *, code: str, store: str, name: str
) -> Built:
    """The same for a request whose files lie in ``code`` on the machine; ``store`` is an address, or empty."""
    access = None if not store else dict(registry.store(store, rt.surroundings()).access())
    agent = rt.agent(endpoint)
    said = _Said(rt.emit)
    asked = {"op": "build", "environment": dict(request), "code": code, "store": access}
    done = agent.stream(COMMAND, asked, said.hear, cancel=rt.cancel)
    agent.raise_refusal(COMMAND, done, said.last)
    answer = json.loads(said.last)
    not_stored = answer.pop("not_stored")
    return Built(name, **answer, store="" if not_stored else store, not_stored=not_stored)


class _Said:
    """What the agent says, line by line: events are passed on, the ``last`` line is its answer."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._rest = b""
        self.last = b""

    def hear(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in filter(None, lines):
            self.last = line
            value = json.loads(line)
            if "kind" in value:
                self._emit(from_json(value))
