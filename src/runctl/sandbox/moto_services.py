"""moto's backends as services of the sandbox, called directly: no Flask, no second server, and only what is asked for.

moto is not made for threads, and its calls are short: one thread runs them all, in the order they came.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import os
import re
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from runctl.sandbox.call import ApiError
from runctl.sandbox.http import Response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    from runctl.sandbox.call import Call
    from runctl.sandbox.http import Request
    from runctl.sandbox.state import State

log = logging.getLogger("runctl.sandbox.moto")

# credential scope -> moto's module; what is not here is answered with an error that says so
MODULES = {
    "autoscaling": "autoscaling",
    "budgets": "budgets",
    "ce": "ce",
    "ec2": "ec2",
    "ec2-instance-connect": "ec2instanceconnect",
    "ecr": "ecr",
    "elasticloadbalancing": "elbv2",
    "events": "events",
    "fis": "fis",
    "iam": "iam",
    "kms": "kms",
    "logs": "logs",
    "monitoring": "cloudwatch",
    "secretsmanager": "secretsmanager",
    "sns": "sns",
    "sqs": "sqs",
    "sts": "sts",
    "tagging": "resourcegroupstaggingapi",
}
GLOBAL = frozenset({"iam", "budgets"})
# moto checks these only when it is told to; real EC2 always does
CHECKS = (
    "MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION",
    "MOTO_ENABLE_AMI_VALIDATION",
    "MOTO_IAM_LOAD_MANAGED_POLICIES",
)


class Moto:
    """Every service that moto answers. ``ready`` hooks run once in moto's thread, when a module has been loaded."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._routes: dict[str, list[tuple[re.Pattern[str], Any]]] = {}
        self._ready: dict[str, list[Callable[[], None]]] = {}
        self.thread = ThreadPoolExecutor(1, "moto")
        os.environ.update(dict.fromkeys(CHECKS, "true"))
        os.environ["MOTO_AMIS_PATH"] = str(
            files("runctl.sandbox") / "data" / "images.json"
        )  # moto's 1,300 take a second
        os.environ["MOTO_ACCOUNT_ID"] = state.account  # whoever signed: there is one account

    def when_loaded(self, module: str, hook: Callable[[], None]) -> None:
        """Call ``hook`` in moto's thread before the first call of a module."""
        self._ready.setdefault(module, []).append(hook)

    def warm(self, *services: str) -> None:
        """Load modules now, in moto's thread, while others work; returns at once."""
        for service in services:
            self.thread.submit(self._load, MODULES[service]).add_done_callback(_log_failure)

    async def run(self, work: Callable[[], Any]) -> Any:
        """Run ``work`` in moto's thread and give its result."""

        def guarded() -> Any:
            try:
                return work()
            except StopIteration as error:  # no future takes one: whoever waits would wait for ever
                raise LookupError("moto found no such thing") from error

        return await asyncio.get_running_loop().run_in_executor(self.thread, guarded)

    async def handle(self, request: Request, call: Call) -> Response:
        """Answer a call of a service in ``MODULES``."""
        module = MODULES[call.service]
        host = (
            f"{call.service}.amazonaws.com"
            if call.service in GLOBAL
            else f"{call.service}.{call.region}.amazonaws.com"
        )
        target = request.path + (f"?{request.query}" if request.query else "")
        headers = dict(request.headers.items())
        headers["host"] = host
        status, fields, body = await self.run(
            lambda: self._answer(module, request.method, f"https://{host}{target}", headers, call.body)
        )
        kept = [(name, str(value)) for name, value in fields.items() if name.lower() not in _OURS]
        return Response(status, kept, body.encode() if isinstance(body, str) else bytes(body))

    def _answer(
        self, module: str, method: str, url: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, Any], str | bytes]:
        from moto.core.request import Request as MotoRequest  # noqa: PLC0415
        from werkzeug.exceptions import HTTPException  # noqa: PLC0415 - heavy

        clean = url.partition("?")[0]
        for pattern, handler in self._load(module):
            if pattern.match(clean):
                request = MotoRequest.from_primitives(method, url, headers, body)
                try:
                    answer = handler(request, request.raw_url, request.headers)
                except HTTPException as refused:
                    return refused.code or 400, dict(refused.get_headers()), refused.get_body()
                except NotImplementedError as missing:
                    raise ApiError("NotImplemented", _lacking(str(missing)), status=501) from missing
                return answer if len(answer) == 3 else (200, answer[0], answer[1])
        raise ApiError("NotImplemented", f"the sandbox has no {method} {clean} for {module}", status=501)

    def _load(self, module: str) -> list[tuple[re.Pattern[str], Any]]:
        if module not in self._routes:
            with _one_session():
                urls = importlib.import_module(f"moto.{module}.urls")
            found = [
                (re.compile(f"^{path.format(base)}$"), handler)
                for base in urls.url_bases
                for path, handler in urls.url_paths.items()
            ]
            for hook in self._ready.pop(module, ()):
                hook()
            self._routes[module] = found
        return self._routes[module]

    def peek(self, service: str) -> Any:
        """moto's backend of a global service; None until its module has been loaded. To be read from any thread."""
        return self._backend(service) if MODULES[service] in self._routes else None

    def open(self, service: str) -> None:
        """Make the backend of a global service, which ``peek`` shows once its module is loaded. In moto's thread."""
        self._backend(service)

    def backend(self, service: str, region: str) -> Any:
        """moto's backend of a service in a region; loads it. In moto's thread only."""
        self._load(MODULES[service])
        return self._backend(service, region)

    def _backend(self, service: str, region: str = "aws") -> Any:
        models = importlib.import_module(f"moto.{MODULES[service]}.models")
        table = getattr(models, f"{MODULES[service]}_backends")
        return table[self._state.account][region]

    def reset(self) -> None:
        """Forget every resource. In moto's thread only."""
        from moto.core.base_backend import BackendDict  # noqa: PLC0415 - heavy

        BackendDict.reset()

    def close(self) -> None:
        """Stop moto's thread; calls that wait are dropped. Safe to repeat."""
        self.thread.shutdown(wait=False, cancel_futures=True)


@contextlib.contextmanager
def _one_session() -> Iterator[None]:
    """While moto is imported it asks a new session each time for EC2's regions, and each would read the whole model."""
    import boto3  # noqa: PLC0415 - heavy

    kind, one = boto3.Session, boto3.Session()
    setattr(boto3, "Session", lambda: one)  # noqa: B010 - a module's attribute, not a class
    try:
        yield
    finally:
        setattr(boto3, "Session", kind)  # noqa: B010


def _lacking(words: str) -> str:
    """What moto says about a thing it does not do, in words of the sandbox, whose users know of no moto."""
    if found := re.search(r"Filter dicts .* for '(.*?)'", words):
        return f"the sandbox cannot filter by {found[1]!r}"
    return f"the sandbox cannot do this: {words.partition(' Feel free')[0].replace('in Moto', 'here')}"


def _log_failure(done: Future[Any]) -> None:
    if not done.cancelled() and (error := done.exception()) is not None:
        log.error("a service of moto's could not be loaded", exc_info=error)


_OURS = frozenset(
    {"content-length", "connection", "server", "date", "transfer-encoding"}
)  # http.py says these
