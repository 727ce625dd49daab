"""Put into the store all that a machine needs to begin a run by itself: agent, code, and last the request.

The request is what the machine waits for. It is written last, so a machine that finds it finds everything else, and a
client that dies before has started nothing.
"""

from __future__ import annotations

import json
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from runctl.core.cancel import CancelToken, together
from runctl.core.errors import RunctlError
from runctl.engine.boot import send_agent
from runctl.engine.code_store import send_code

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from runctl.core.clock import Clock
    from runctl.core.events import Emit
    from runctl.core.model import Run
    from runctl.core.ports import Store
    from runctl.engine.plan import Plan

ANNOUNCE_EVERY = 60.0  # seconds


def send_run(
    plan: Plan, store: Store, *, env: Mapping[str, str], emit: Emit, clock: Clock, cancel: CancelToken
) -> None:
    """Send agent, code and plan side by side, then the request of the first attempt. Safe to repeat.

    Raises:
        Cancelled: what arrived stays and is not sent again; the run has not started.
    """
    from runctl.engine.plan_json import to_json  # noqa: PLC0415 - with the rest of a plan's words

    plan_text = json.dumps(to_json(plan), default=str).encode()
    with together(cancel) as scope:
        scope.start("agent", lambda: send_agent(store, scope.cancel))
        scope.start(
            "plan", lambda: store.put(f"runs/{plan.run_id}/plan.json", plan_text, cancel=scope.cancel)
        )
        with _announced(store, plan.run_id, scope):
            send_code(plan.code, store, env=env, emit=emit, clock=clock, cancel=scope.cancel)
    put_request(store, first_request(plan), cancel=cancel)


@contextmanager
def _announced(store: Store, run_id: str, scope: together) -> Iterator[None]:
    """Tell a machine that waits already, once a minute while the block runs, that its code is on the way.

    Each word moves the machine's deadline: a project that takes longer to send than a lease still finds it there.
    """
    over = CancelToken(scope.cancel)

    def tell() -> None:
        word = 0
        while not over.wait(ANNOUNCE_EVERY):
            word += 1
            with suppress(RunctlError):  # a store that takes nothing is told of by the sending itself
                store.put(
                    f"runs/{run_id}/lease.json", json.dumps({"v": 1, "word": word}).encode(), cancel=over
                )

    scope.start("announce", tell)
    try:
        yield
    finally:
        over.cancel("the code is there")


def first_request(plan: Plan) -> dict[str, Any]:
    """The request of the first attempt as the store keeps it: the tree by its digest, secrets by their names. Pure."""
    request = plan.request()
    del request["tree"]  # trees/<digest> has it
    kept = {name: value for name, value in request["env"].items() if name not in request["secret_env"]}
    return {**request, "env": kept}


def next_request(
    request: Mapping[str, Any], *, attempt: int, resume_from: Mapping[str, str] | None
) -> dict[str, Any]:
    """The request of a later attempt: the same run, from the newest checkpoint where there is one. Pure."""
    start = request["resume_from"] if resume_from is None else dict(resume_from)
    return {**request, "attempt": attempt, "resume_from": start}


def put_request(store: Store, request: Mapping[str, Any], *, cancel: CancelToken) -> None:
    """Write the request of an attempt: from now on its machine may begin. Safe to repeat."""
    key = f"runs/{request['run']}/{request['attempt']}/request.json"
    store.put(key, json.dumps(request).encode(), cancel=cancel)


def get_request(store: Store, run_id: str, attempt: int, *, cancel: CancelToken) -> dict[str, Any]:
    """The request of an attempt. Raises ``store-missing``: it never got so far."""
    found: dict[str, Any] = json.loads(store.get(f"runs/{run_id}/{attempt}/request.json", cancel=cancel))
    return found


def put_record(store: Store, run: Run, *, cancel: CancelToken) -> None:
    """Keep the run's record where other computers find it. Safe to repeat."""
    store.put(f"records/{run.id}.json", json.dumps(run.to_json()).encode(), cancel=cancel)
