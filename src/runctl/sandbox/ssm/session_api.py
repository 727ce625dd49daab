"""Session Manager's operations."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from runctl.core import ssm_frames
from runctl.sandbox.call import ApiError
from runctl.sandbox.ssm import documents
from runctl.sandbox.ssm.paging import page
from runctl.sandbox.ssm.targets import usable

if TYPE_CHECKING:
    from collections.abc import Callable

    from runctl.sandbox.call import Call
    from runctl.sandbox.http import Request
    from runctl.sandbox.ssm.relay import Session
    from runctl.sandbox.ssm.service import Ssm


def start_session(ssm: Ssm, call: Call, given: dict[str, Any], request: Request) -> dict[str, Any]:
    """Tell the agent to open its end, and say where the client finds its own."""
    target = given["Target"]
    document = documents.find(given.get("DocumentName") or documents.DEFAULT_SHELL, "Session")
    parameters = documents.fill(document, given.get("Parameters") or {})
    if usable(ssm, target) is None or not ssm.agents.online(target):
        raise ApiError("TargetNotConnected", f"{target} is not connected.")
    owner, user = owner_of(call)
    mark = call.principal.mark if call.principal is not None else user
    session = ssm.sessions.start(
        target, document.name, user=user, reason=given.get("Reason", ""), owner=owner, mark=mark
    )
    content = {
        "DocumentName": document.name,
        "DocumentContent": document.content,
        "SessionId": session.id,
        "SessionOwner": owner,
        "Parameters": parameters,
        "RunAsUser": "",
    }
    body = {
        "Content": json.dumps(content),
        "TaskId": session.id,
        "Topic": "aws.ssm.startSession",
        "SchemaVersion": 1,
    }
    ssm.agents.tell(target, ssm_frames.new("interactive_shell", json.dumps(body).encode()))
    return _way_in(session, request)


def owner_of(call: Call) -> tuple[str, str]:
    """(ARN, name) of who calls; a session's id begins with the name, which policies rely on."""
    if call.principal is None:
        return f"arn:aws:iam::{call.account}:root", "root"
    return call.principal.arn, call.principal.name


def _way_in(session: Session, request: Request) -> dict[str, Any]:
    host = request.headers.get("host") or "127.0.0.1"
    url = f"ws://{host}/v1/data-channel/{session.id}?role=publish_subscribe"
    return {"SessionId": session.id, "TokenValue": session.client_token, "StreamUrl": url}


def resume_session(ssm: Ssm, _call: Call, given: dict[str, Any], request: Request) -> dict[str, Any]:
    """A new token for a session that lives. One that has ended is answered without token and address."""
    session = _session(ssm, given)
    if session.ended is not None:
        return {"SessionId": session.id}
    ssm.sessions.client_token(session)
    return _way_in(session, request)


async def terminate_session(
    ssm: Ssm, _call: Call, given: dict[str, Any], _request: Request
) -> dict[str, Any]:
    """End a session on both sides; safe to repeat."""
    session = _session(ssm, given)
    await ssm.sessions.end(session, ending="Terminated")
    return {"SessionId": session.id}


def _session(ssm: Ssm, given: dict[str, Any]) -> Session:
    session = ssm.sessions.get(given["SessionId"])
    if session is None:
        raise ApiError("DoesNotExistException", f"Session {given['SessionId']} does not exist")
    return session


def describe_sessions(ssm: Ssm, _call: Call, given: dict[str, Any], _request: Request) -> dict[str, Any]:
    """Sessions that live (Active) or have ended (History), newest first."""
    wanted = given["State"] == "Active"
    rows = [
        _told(each)
        for each in ssm.sessions.every()
        if (each.ended is None) == wanted and all(_passes(each, f) for f in given.get("Filters") or [])
    ]
    return page("Sessions", rows, given, default=200)


def _passes(session: Session, given: dict[str, str]) -> bool:
    key, value = given["key"], given["value"]
    if key in ("InvokedAfter", "InvokedBefore"):
        try:
            at = datetime.fromisoformat(value).timestamp()
        except ValueError as error:
            raise ApiError("InvalidFilterKey", f"{value} is no time such as 2026-07-07T00:00:00Z.") from error
        return (session.started >= at) == (key == "InvokedAfter")
    told = {"Target": session.target, "Owner": session.owner, "Status": session.status}
    found: str = told.get(key, session.id)
    return found == value


def _told(session: Session) -> dict[str, Any]:
    told = {
        "SessionId": session.id,
        "Target": session.target,
        "Status": session.status,
        "StartDate": session.started,
        "EndDate": session.ended,
        "DocumentName": session.document,
        "Owner": session.owner,
        "Reason": session.reason,
        "Details": session.output,
    }
    return {name: value for name, value in told.items() if value not in (None, "")}


OPERATIONS: dict[str, Callable[..., Any]] = {
    "StartSession": start_session,
    "ResumeSession": resume_session,
    "TerminateSession": terminate_session,
    "DescribeSessions": describe_sessions,
}
