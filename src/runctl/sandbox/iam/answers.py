"""Answers of the query protocol, as IAM and STS write them, and the parameters of their forms."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from runctl.sandbox.http import Response
from runctl.sandbox.s3.xml import Value, element

if TYPE_CHECKING:
    from runctl.sandbox.call import Call

NAMESPACES = {
    "iam": "https://iam.amazonaws.com/doc/2010-05-08/",
    "sts": "https://sts.amazonaws.com/doc/2011-06-15/",
}


def form_of(call: Call) -> dict[str, str]:
    """The fields of a form."""
    return dict(parse_qsl(call.body.decode("utf-8", "replace"), keep_blank_values=True))


def members(form: dict[str, str], name: str) -> list[str]:
    """A list of texts: `NAME.member.1`, `.2` and so on."""
    return [form[key] for key in _numbered(form, f"{name}.member.") if key in form]


def rows(form: dict[str, str], name: str) -> list[dict[str, str]]:
    """A list of structures, each with the fields it has."""
    return [
        {field[len(key) + 1 :]: value for field, value in form.items() if field.startswith(key + ".")}
        for key in _numbered(form, f"{name}.member.")
    ]


def _numbered(form: dict[str, str], prefix: str) -> list[str]:
    numbers = {field[len(prefix) :].partition(".")[0] for field in form if field.startswith(prefix)}
    return [f"{prefix}{number}" for number in sorted(filter(str.isdecimal, numbers), key=int)]


def answer(call: Call, result: dict[str, Value]) -> Response:
    """A result in the envelope of its operation."""
    inner = element(f"{call.action}Result", result)
    tail = element("ResponseMetadata", {"RequestId": call.request_id})
    text = f'<{call.action}Response xmlns="{NAMESPACES[call.service]}">{inner}{tail}</{call.action}Response>'
    return Response(200, {"Content-Type": "text/xml"}, text.encode())
