"""A call's operation and parameters, in the names of the API: read with the models that moto brings along.

In moto's thread: the models are loaded on first use.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runctl.sandbox.call import Call
    from runctl.sandbox.http import Request

log = logging.getLogger("runctl.sandbox.iam")

# credential scope -> boto3's name of the service, where they differ
_MODELS = {
    "monitoring": "cloudwatch",
    "elasticloadbalancing": "elbv2",
    "tagging": "resourcegroupstaggingapi",
}


def read_json(call: Call) -> dict[str, Any]:
    """The parameters of a JSON call; none when its body is no object."""
    try:
        given = json.loads(call.body or b"{}")
    except ValueError:
        return {}
    return given if isinstance(given, dict) else {}


def read_call(request: Request, call: Call) -> tuple[str, dict[str, Any]]:
    """(operation, parameters). What cannot be read has no parameters: the service itself will refuse it."""
    from moto.core.parse import PROTOCOL_PARSERS  # noqa: PLC0415 - heavy
    from moto.core.request import Request as MotoRequest  # noqa: PLC0415
    from moto.core.request import determine_request_protocol  # noqa: PLC0415
    from moto.core.routing import get_service_router  # noqa: PLC0415
    from moto.core.utils import get_service_model  # noqa: PLC0415

    name = _MODELS.get(call.service, call.service)
    url = f"https://{call.service}.amazonaws.com{request.path}" + (
        f"?{request.query}" if request.query else ""
    )
    asked = MotoRequest.from_primitives(request.method, url, dict(request.headers.items()), call.body)
    action = call.action
    uri: dict[str, Any] = {}
    try:
        if " " in action:  # the front knows only method and path
            operation, uri = get_service_router(name).match(asked)
            action = operation.name
        model = get_service_model(name)
        protocol = determine_request_protocol(model, asked.content_type)
        given = PROTOCOL_PARSERS[protocol](model.operation_model(action)).parse({
            "method": asked.method,
            "values": asked.values,
            "headers": asked.headers,
            "body": asked.data,
            "url_path": asked.path,
            "url_params": uri,
        })  # fmt: skip
    except Exception as error:  # noqa: BLE001 - moto's and werkzeug's parsers raise whatever they like
        log.info("%s:%s could not be read: %s", call.service, action, error)
        return action, {}
    return action, dict(given or {})
