"""One sync by runctl, in a process of its own: ``python -m benchmarks.sync.ours HOW PROJECT HOME [CONTROL...]``.

``ssh``: a conversation over an open SSH connection, contents in the same stream. ``s3``: the same, but contents go through
S3 when they are many. ``store``: no conversation at all, as with a machine that is being bought: everything through S3,
then the machine's own command. ``agent``: only bring the agent there, as rsync is there, too.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from runctl.core.cancel import CancelToken
from runctl.core.clock import SystemClock
from runctl.core.model import Endpoint
from runctl.core.ports import Surroundings
from runctl.engine.remote import RemoteAgent
from runctl.project.files import list_files
from runctl.project.memory import ScanMemory
from runctl.project.root import Root
from runctl.project.snapshot import take
from runctl.registry import store as store_at
from runctl.transports.local import LocalTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from runctl.core.events import Event
    from runctl.core.ports import Completed
    from runctl.project.snapshot import Snapshot

SETTINGS = {
    "aws.profile": "",
    "aws.region": "us-east-1",
    "retries.attempts": 6.0,
    "retries.deadline_seconds": 60.0,
}


class OverSsh:
    """Runs a command there by ``ssh`` over a connection that is open already."""

    def __init__(self, words: Sequence[str], around: Surroundings) -> None:
        self._words = list(words)
        self._here = LocalTransport(Endpoint("local"), around)

    def exec(
        self,
        argv: Sequence[str],
        *,
        stdin: Iterable[bytes] = (),
        on_output: Callable[[bytes], None] | None = None,
        cancel: CancelToken,
    ) -> Completed:
        """See ``Transport.exec``."""
        keys = [f"{name}={value}" for name, value in os.environ.items() if name.startswith("AWS_")]
        command = " ".join(map(shlex.quote, ["env", *keys, *argv]))
        return self._here.exec(
            [*self._words, "127.0.0.1", command], stdin=stdin, on_output=on_output, cancel=cancel
        )


def deaf(_event: Event) -> None:
    """Nobody listens."""


def main(how: str, project: str, home: str, *ssh: str) -> None:
    """Sync ``project`` to the machine whose home is ``home``."""
    clock, cancel, env = SystemClock(), CancelToken(), dict(os.environ)
    around = Surroundings(SETTINGS.__getitem__, env, clock, deaf, cancel)
    root = Root(Path(project), "", None)
    endpoint = Endpoint("local", python=sys.executable, home=home)
    transport = OverSsh(ssh, around) if ssh else LocalTransport(endpoint, around)
    agent = RemoteAgent(transport, endpoint, clock=clock, emit=deaf)  # type: ignore[arg-type]
    store = store_at("s3://bench/runctl", around) if how in ("s3", "store") else None

    def read(token: CancelToken) -> Snapshot:
        memory = ScanMemory.load(root.path, env=env)
        listing = list_files(root, env=env, memory=memory)
        found = take(root, listing, memory=memory, cancel=token)
        found.memory.save()
        return found

    if how == "agent":
        agent.call("sync", {"project": "bench", "dry": True, "blobs": []}, cancel=cancel)
        return
    if how == "store":
        from runctl.engine.code_store import send_code  # noqa: PLC0415 - each way pays for its own
        from runctl.engine.plan import CodePlan  # noqa: PLC0415

        assert store is not None
        snapshot = read(cancel)
        send_code(
            CodePlan(root.path, "", snapshot, (), ()), store, env=env, emit=deaf, clock=clock, cancel=cancel
        )
        request = {"tree": snapshot.digest, "store": dict(store.access()), "project": "bench"}
        agent.call("fetch", request, cancel=cancel)
        return
    from runctl.engine.project_sync import sync_project  # noqa: PLC0415

    sync_project(read, agent, project="bench", store=store, env=env, emit=deaf, clock=clock, cancel=cancel)


if __name__ == "__main__":
    main(*sys.argv[1:])
