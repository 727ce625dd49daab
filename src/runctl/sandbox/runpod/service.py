"""The two APIs: REST v2 with JSON and RFC 9457 errors, GraphQL with the operations clients send."""

from __future__ import annotations

import hmac
import json
from typing import TYPE_CHECKING, Any

from runctl.sandbox.http import Response
from runctl.sandbox.runpod import api_key, graph, rest
from runctl.sandbox.runpod.document import BadDocument, execute, read
from runctl.sandbox.runpod.pods import Pods, Refused

if TYPE_CHECKING:
    from runctl.sandbox.call import Call, Cloud
    from runctl.sandbox.http import Request
    from runctl.sandbox.instances.machines import Machines

TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    409: "Conflict",
    422: "Unprocessable Entity",
}


class RunPod:
    """Answers everything below `/runpod/`."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self.pods = Pods(cloud, self._machines)
        cloud.resets.append(self.pods.reset)

    def _machines(self) -> Machines:
        from runctl.sandbox.instances.machines import Machines  # noqa: PLC0415 - heavy, and loaded by then

        machines = self._cloud.machines
        if not isinstance(machines, Machines):
            raise Refused(503, "the sandbox's instances are not ready")
        return machines

    async def handle(self, request: Request, call: Call) -> Response:
        """Answers one request; its bearer token (or `?api_key=`) must be the sandbox's RunPod key."""
        path = request.path.removeprefix("/runpod")
        graphs = path == "/graphql"
        given = request.headers.get("authorization").removeprefix("Bearer ")
        if graphs and not given:
            given = request.query.partition("api_key=")[2].partition("&")[0]
        if not hmac.compare_digest(given.encode(), api_key(self._cloud.state.secret).encode()):
            return problem(401, "the API key is missing or wrong")
        try:
            body = json.loads(call.body or b"{}")
            if graphs:
                return await self._graph(body)
            status, value = await rest.answer(self.pods, request.method, path, body)
            return Response(status) if value is None else reply(value, status)
        except Refused as refused:
            return problem(refused.status, str(refused))
        except ValueError as error:
            return problem(400, f"the body is not JSON: {error}")

    async def _graph(self, body: Any) -> Response:
        try:
            _, fields = read(str(body.get("query", "")), body.get("variables") or {})
            data = await execute(fields, graph.resolvers(self.pods))
        except (BadDocument, Refused) as error:
            status = (
                400 if isinstance(error, BadDocument) else 200
            )  # RunPod answers 200 with errors, as GraphQL does
            return reply(
                {"errors": [{"message": str(error), "path": [], "extensions": {}}], "data": None}, status
            )
        return reply({"data": data})


def reply(value: Any, status: int = 200) -> Response:
    """An answer in JSON."""
    return Response(status, {"Content-Type": "application/json"}, json.dumps(value).encode())


def problem(status: int, detail: str) -> Response:
    """A refusal of the REST API (RFC 9457)."""
    body = {"title": TITLES.get(status, "Error"), "status": status, "detail": detail}
    return Response(status, {"Content-Type": "application/problem+json"}, json.dumps(body).encode())
