"""GetConsoleOutput with what the instance really wrote; every other call goes on to who answers EC2."""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from runctl.sandbox.http import Response

if TYPE_CHECKING:
    from runctl.sandbox.call import Call, Cloud, Service
    from runctl.sandbox.http import Request

KEPT = 64 * 1024  # bytes of the end that the service keeps


class Console:
    """EC2 with consoles; has the interface of what it wraps."""

    def __init__(self, cloud: Cloud, inner: Service) -> None:
        self._cloud = cloud
        self._inner = inner

    async def handle(self, request: Request, call: Call) -> Response | None:
        """Answers GetConsoleOutput of an instance that is there, passes on the rest."""
        if call.action == "GetConsoleOutput" and self._cloud.machines is not None:
            instance = dict(parse_qsl(call.body.decode("utf-8", "replace"))).get("InstanceId", "")
            try:
                output = self._cloud.machines.console(instance)[-KEPT:]
            except FileNotFoundError:
                return await self._inner.handle(request, call)  # it knows how to refuse
            return Response(
                200, {"Content-Type": "text/xml;charset=UTF-8"}, document(instance, output, call.request_id)
            )
        return await self._inner.handle(request, call)


def document(instance: str, output: bytes, request_id: str) -> bytes:
    """The answer as EC2 writes it."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<GetConsoleOutputResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">'
        f"<requestId>{request_id}</requestId><instanceId>{instance}</instanceId><timestamp>{stamp}</timestamp>"
        f"<output>{base64.b64encode(output).decode()}</output></GetConsoleOutputResponse>"
    ).encode()
