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


class Console:
    """EC2 with consoles; has the interface of what it wraps."""

    def __init__(self, cloud: Cloud, inner: Service) -> None:
        self._cloud = cloud
        self._inner = inner

    async def handle(self, request: Request, call: Call) -> Response | None:
        """Answers GetConsoleOutput of an instance that was ever there, passes on the rest."""
        machines, ec2 = self._cloud.machines, self._cloud.ec2
        if call.action == "GetConsoleOutput" and machines is not None and ec2 is not None:
            instance = dict(parse_qsl(call.body.decode("utf-8", "replace"))).get("InstanceId", "")
            if ec2.describe(instance) is not None:
                try:
                    output = machines.console(instance)
                except FileNotFoundError:  # it never came to boot
                    output = b""
                body = document(instance, output, call.request_id)
                return Response(200, {"Content-Type": "text/xml;charset=UTF-8"}, body)
        return await self._inner.handle(request, call)  # which knows how to refuse


def document(instance: str, output: bytes, request_id: str) -> bytes:
    """The answer as EC2 writes it."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<GetConsoleOutputResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">'
        f"<requestId>{request_id}</requestId><instanceId>{instance}</instanceId><timestamp>{stamp}</timestamp>"
        f"<output>{base64.b64encode(output).decode()}</output></GetConsoleOutputResponse>"
    ).encode()
