"""A refusal in the words of the service's protocol, so that SDKs raise what they raise on the real one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from runctl.sandbox.http import Response

if TYPE_CHECKING:
    from runctl.sandbox.call import Call
    from runctl.sandbox.http import Request

_QUERY = frozenset({"autoscaling", "elasticloadbalancing", "iam", "monitoring", "sns", "sts"})
_XML = [("Content-Type", "text/xml;charset=UTF-8")]


def refuse(request: Request, call: Call, code: str, message: str, status: int, **fields: str) -> Response:
    """The error answer of ``call.service``: S3 and EC2 XML, query XML, JSON 1.1 or REST-JSON.

    ``fields`` are further elements or members of the error. A query service addressed with ``X-Amz-Target`` gets JSON.
    """
    more = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in fields.items())
    inner = f"<Code>{escape(code)}</Code><Message>{escape(message)}</Message>{more}"
    if call.service == "s3":
        text = f"<Error>{inner}<RequestId>{call.request_id}</RequestId></Error>"
        fields_s3 = [("Content-Type", "application/xml"), ("x-amz-request-id", call.request_id)]
        return Response(status, fields_s3, _document(text) if request.method != "HEAD" else b"")
    if call.service == "ec2":
        text = f"<Response><Errors><Error>{inner}</Error></Errors><RequestID>{call.request_id}</RequestID></Response>"
        return Response(status, _XML, _document(text))
    if call.service in _QUERY and "x-amz-target" not in request.headers:
        side = "Receiver" if status >= 500 else "Sender"
        text = f"<ErrorResponse><Error><Type>{side}</Type>{inner}</Error><RequestId>{call.request_id}</RequestId></ErrorResponse>"
        return Response(status, _XML, _document(text))
    return Response(
        status,
        [
            ("Content-Type", "application/x-amz-json-1.1"),
            ("x-amzn-RequestId", call.request_id),
            ("x-amzn-ErrorType", code),
        ],
        json.dumps({"__type": code, "message": message, "Message": message, **fields}).encode(),
    )


def _document(text: str) -> bytes:
    return ('<?xml version="1.0" encoding="UTF-8"?>\n' + text).encode()
