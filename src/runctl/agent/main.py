"""Where a command arrives: dispatch, and the one shape of a failure."""

from __future__ import annotations

import os
import sys

from runctl.agent import wire
from runctl.agent.failure import AgentFailure, disk_failure
from runctl.agent.home import Home

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn, Optional

    Answer = Optional[dict[str, Any]]  # None: the command wrote its own stream
    Handler = Callable[[dict[str, Any], "wire.Input", "Home", str], Answer]


def main(argv: list[str], *, home: str, digest: str, ending: Callable[[], None]) -> NoReturn:
    """Run the command ``argv[0]`` and end the process: 0 answered, 1 failed and said so; ``ending`` comes last.

    Leaves by ``os._exit``: nothing is buffered, and tearing the interpreter down costs milliseconds.
    """
    code = 0
    try:
        code = _run(argv, Home(home), digest)
    except BrokenPipeError:
        pass  # nobody listens any more: nothing to say and nobody to say it to
    finally:
        sys.stderr.flush()
        try:
            ending()
        except OSError:
            pass  # a home that cannot be written: the next command compiles again
        os._exit(code)


def _run(argv: list[str], home: Home, digest: str) -> int:
    try:
        answer = _command(argv[0] if argv else "", home, digest)
    except AgentFailure as failure:
        wire.reply({"error": failure.to_json()})
        return 1
    except BrokenPipeError:
        raise
    except BaseException as error:
        import traceback  # noqa: PLC0415 - only when something is wrong

        detail = "%s: %s" % (type(error).__name__, error)
        crash = AgentFailure("agent-crashed", detail=detail, traceback=traceback.format_exc())
        wire.reply({"error": (disk_failure(error, home.path) or crash).to_json()})
        return 1
    if answer is not None:
        wire.reply(answer)
    return 0


def _command(name: str, home: Home, digest: str) -> Answer:
    handler = HANDLERS.get(name)
    if handler is None:
        raise AgentFailure("agent-request", detail="no command %r" % name)
    source = wire.Input()
    return handler(wire.request(source), source, home, digest)


# Each handler imports its own module: what a command does not need is not even compiled.


def _probe(request: dict[str, Any], _source: wire.Input, home: Home, digest: str) -> Answer:
    from runctl.agent import probe  # noqa: PLC0415

    return probe.facts(request, home=home, digest=digest)


def _receive(_request: dict[str, Any], source: wire.Input, home: Home, _digest: str) -> Answer:
    from runctl.agent import blobs  # noqa: PLC0415

    return blobs.receive(source, home=home)


def _fetch(request: dict[str, Any], _source: wire.Input, home: Home, _digest: str) -> Answer:
    from runctl.agent import fetch, store  # noqa: PLC0415

    place = store.open_store(wire.field(request, "store", dict))
    found = fetch.fetch(
        wire.field(request, "tree", str), place, home=home, progress=lambda _done, _total: None
    )
    answer: dict[str, Any] = {"files": found.files, "bytes": found.content, "read": found.read}
    if request.get("project") is not None:
        from runctl.agent import sync  # noqa: PLC0415

        answer["path"] = sync.make_current(request["project"], found.entries, request["tree"], home=home)
    return answer


def _sync(request: dict[str, Any], source: wire.Input, home: Home, _digest: str) -> Answer:
    from runctl.agent import sync  # noqa: PLC0415

    return sync.sync(request, source, home=home)


def _launch(request: dict[str, Any], _source: wire.Input, home: Home, _digest: str) -> Answer:
    from runctl.agent import launch  # noqa: PLC0415

    return launch.launch(request, home=home)


def _follow(request: dict[str, Any], _source: wire.Input, home: Home, _digest: str) -> Answer:
    from runctl.agent import follow  # noqa: PLC0415

    follow.follow(request, home=home)
    return None


def _status(request: dict[str, Any], _source: wire.Input, home: Home, _digest: str) -> Answer:
    from runctl.agent import status  # noqa: PLC0415

    return status.answer(request, home=home)


def _cancel(request: dict[str, Any], _source: wire.Input, home: Home, _digest: str) -> Answer:
    from runctl.agent import cancel  # noqa: PLC0415

    return cancel.cancel(request, home=home)


def _boot(request: dict[str, Any], _source: wire.Input, home: Home, digest: str) -> Answer:
    from runctl.agent import keep  # noqa: PLC0415

    return keep.keep(request, home=home, digest=digest, boots=True)


def _keep(request: dict[str, Any], _source: wire.Input, home: Home, digest: str) -> Answer:
    from runctl.agent import keep  # noqa: PLC0415

    return keep.keep(request, home=home, digest=digest, boots=False)


def _renew(request: dict[str, Any], _source: wire.Input, home: Home, _digest: str) -> Answer:
    from runctl.agent import lease  # noqa: PLC0415

    return lease.renew(request, home=home)


def _secrets(request: dict[str, Any], _source: wire.Input, home: Home, _digest: str) -> Answer:
    from runctl.agent import secrets  # noqa: PLC0415

    return secrets.deliver(request, home=home)


def _load(request: dict[str, Any], _source: wire.Input, home: Home, _digest: str) -> Answer:
    from runctl.agent import load  # noqa: PLC0415

    return load.load(request, home=home)


def _remove(request: dict[str, Any], _source: wire.Input, home: Home, _digest: str) -> Answer:
    from runctl.agent import remove  # noqa: PLC0415

    return remove.remove(request, home=home)


def _verify(request: dict[str, Any], _source: wire.Input, home: Home, _digest: str) -> Answer:
    from runctl.agent import verify  # noqa: PLC0415

    return verify.verify(request, home=home)


def _checkpoints(request: dict[str, Any], _source: wire.Input, home: Home, _digest: str) -> Answer:
    from runctl.agent import checkpoints  # noqa: PLC0415

    if request.get("run") is not None:
        folder = home.run(wire.field(request, "run", str)).checkpoints
    else:
        folder = wire.field(request, "path", str)
    answer: dict[str, Any] = checkpoints.find(folder, verify=bool(request.get("verify")))
    return answer


def _environments(request: dict[str, Any], _source: wire.Input, home: Home, _digest: str) -> Answer:
    from runctl.agent import environments  # noqa: PLC0415

    return environments.answer(request, home=home)


def _files(request: dict[str, Any], source: wire.Input, _home: Home, _digest: str) -> Answer:
    from runctl.agent import files  # noqa: PLC0415

    return files.answer(request, source)


HANDLERS: dict[str, Handler] = {
    "probe": _probe,
    "receive": _receive,
    "fetch": _fetch,
    "launch": _launch,
    "sync": _sync,
    "follow": _follow,
    "status": _status,
    "cancel": _cancel,
    "load": _load,
    "remove": _remove,
    "boot": _boot,
    "keep": _keep,
    "renew": _renew,
    "secrets": _secrets,
    "verify": _verify,
    "checkpoints": _checkpoints,
    "environments": _environments,
    "files": _files,
}
