"""Run Command's operations: sending, listing, looking at one, cancelling, and the documents."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from runctl.sandbox.call import ApiError
from runctl.sandbox.ssm import commands as records
from runctl.sandbox.ssm import documents, targets
from runctl.sandbox.ssm.agents import new_id
from runctl.sandbox.ssm.commands import Command, Invocation
from runctl.sandbox.ssm.paging import page

if TYPE_CHECKING:
    from collections.abc import Callable

    from runctl.sandbox.call import Call
    from runctl.sandbox.http import Request
    from runctl.sandbox.ssm.service import Ssm

DELIVERY_SECONDS = 3600  # the service's default for TimeoutSeconds
EXECUTION_SECONDS = 3600  # the document's own default
REPEATED = ("InstanceIds", "Targets", "ServiceRoleArn", "NotificationConfig", "CloudWatchOutputConfig")


def send_command(ssm: Ssm, call: Call, given: dict[str, Any], _request: Request) -> dict[str, Any]:
    """Take a command on for instances or targets; it is on its way when this answers."""
    document = documents.find(given["DocumentName"], "Command")
    ids, wanted = given.get("InstanceIds") or [], given.get("Targets") or []
    if bool(ids) == bool(wanted):
        raise ApiError("ValidationException", "Specify either InstanceIds or Targets.")
    instances = targets.by_id(ssm, call, ids) if ids else targets.by_target(ssm, call, wanted)
    if "Linux" not in document.platforms:
        raise ApiError(
            "UnsupportedPlatformType", f"{document.name} does not support the platform of the instances."
        )
    filled = documents.fill(document, given.get("Parameters") or {})
    command = Command(
        id=new_id(),
        document=document.name,
        plugin=document.plugin,
        parameters=filled,
        given=given.get("Parameters") or {},
        requested=ssm.now(),
        delivery_seconds=given.get("TimeoutSeconds", DELIVERY_SECONDS),
        execution_seconds=int(filled.get("executionTimeout", EXECUTION_SECONDS)),
        max_concurrency=given.get("MaxConcurrency", "50"),
        max_errors=given.get("MaxErrors", "0"),
        comment=given.get("Comment", ""),
        bucket=given.get("OutputS3BucketName", ""),
        prefix=given.get("OutputS3KeyPrefix", ""),
        region=given.get("OutputS3Region", call.region),
        asked={name: given[name] for name in REPEATED if name in given},
    )
    command.invocations = {each: Invocation(each, name=targets.name_of(ssm, each)) for each in instances}
    answer = {"Command": _command(command)}  # what is told is what it was when it was taken on
    ssm.commands.begin(command)
    return answer


def _command(command: Command) -> dict[str, Any]:
    status, details = records.aggregate(command)
    every = list(command.invocations.values())
    asked = {"InstanceIds": [], "Targets": [], **command.asked}
    return {
        "CommandId": command.id,
        "DocumentName": command.document,
        "DocumentVersion": "$DEFAULT",
        "Comment": command.comment,
        "ExpiresAfter": command.expires,
        "Parameters": command.given,
        **asked,
        "RequestedDateTime": command.requested,
        "Status": status,
        "StatusDetails": details,
        "OutputS3Region": command.region,
        "OutputS3BucketName": command.bucket,
        "OutputS3KeyPrefix": command.prefix,
        "MaxConcurrency": command.max_concurrency,
        "MaxErrors": command.max_errors,
        "TargetCount": len(every),
        "CompletedCount": sum(each.over for each in every),
        "ErrorCount": command.errors,
        "DeliveryTimedOutCount": sum(each.details == "DeliveryTimedOut" for each in every),
        "TimeoutSeconds": command.delivery_seconds,
    }


def _urls(command: Command, invocation: Invocation) -> tuple[str, str]:
    if not command.bucket:
        return "", ""
    base = f"https://s3.{command.region}.amazonaws.com/{command.bucket}/"
    base += records.output_prefix(command, invocation.instance)
    return f"{base}/stdout", f"{base}/stderr"


def _invocation(command: Command, invocation: Invocation, *, details: bool) -> dict[str, Any]:
    stdout_url, stderr_url = _urls(command, invocation)
    plugin = {
        "Name": command.plugin,
        "Status": invocation.status,
        "StatusDetails": invocation.details,
        "ResponseCode": invocation.code,
        "ResponseStartDateTime": invocation.started,
        "ResponseFinishDateTime": invocation.ended,
        "Output": records.plugin_output(invocation),
        "StandardOutputUrl": stdout_url,
        "StandardErrorUrl": stderr_url,
        "OutputS3Region": command.region,
        "OutputS3BucketName": command.bucket,
        "OutputS3KeyPrefix": records.output_prefix(command, invocation.instance) if command.bucket else "",
    }
    return {
        "CommandId": command.id,
        "InstanceId": invocation.instance,
        "InstanceName": invocation.name,
        "Comment": command.comment,
        "DocumentName": command.document,
        "DocumentVersion": "$DEFAULT",
        "RequestedDateTime": command.requested,
        "Status": invocation.status,
        "StatusDetails": invocation.details,
        "StandardOutputUrl": stdout_url,
        "StandardErrorUrl": stderr_url,
        "CommandPlugins": [{k: v for k, v in plugin.items() if v is not None}] if details else [],
    }


def list_commands(ssm: Ssm, _call: Call, given: dict[str, Any], _request: Request) -> dict[str, Any]:
    """Commands, newest first."""
    rows = [
        command
        for command in reversed(_chosen(ssm, given))
        if _passes(given, command, *records.aggregate(command))
    ]
    return page("Commands", [_command(each) for each in rows], given, default=50)


def list_command_invocations(
    ssm: Ssm, _call: Call, given: dict[str, Any], _request: Request
) -> dict[str, Any]:
    """Invocations, those of the newest command first; with Details, the plugin's first 2,500 characters."""
    instance, details = given.get("InstanceId"), bool(given.get("Details"))
    rows = [
        _invocation(command, each, details=details)
        for command in reversed(_chosen(ssm, given))
        if _visible(ssm, command)
        for each in command.invocations.values()
        if instance in (None, each.instance) and _passes(given, command, each.status, each.details)
    ]
    return page("CommandInvocations", rows, given, default=50)


def _chosen(ssm: Ssm, given: dict[str, Any]) -> list[Command]:
    wanted, instance = given.get("CommandId"), given.get("InstanceId")
    every = list(ssm.commands.commands.values())
    if wanted is not None:
        every = [each for each in every if each.id == wanted]
    return every if instance is None else records.matching(every, instance)


def _passes(given: dict[str, Any], command: Command, status: str, details: str) -> bool:
    over = status in records.TERMINAL
    for each in given.get("Filters") or []:
        key, value = each["key"], each["value"]
        if key in ("InvokedAfter", "InvokedBefore"):
            at = _time(value)
            if (command.requested < at) == (key == "InvokedAfter"):
                return False
        elif key == "Status":
            if value not in (status, details):
                return False
        elif key == "ExecutionStage":
            if (value == "Complete") != over:
                return False
        elif key == "DocumentName" and value != command.document:
            return False
    return True


def _time(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError as error:
        raise ApiError("ValidationException", f"{text} is no time such as 2026-07-07T00:00:00Z.") from error


def _visible(ssm: Ssm, command: Command) -> bool:
    return ssm.now() - command.requested >= ssm.settings.visible_seconds


def get_command_invocation(ssm: Ssm, _call: Call, given: dict[str, Any], _request: Request) -> dict[str, Any]:
    """One invocation with its output, which is empty until the end."""
    command = ssm.commands.commands.get(given["CommandId"])
    invocation = command.invocations.get(given["InstanceId"]) if command else None
    if command is None or invocation is None or not _visible(ssm, command):
        raise ApiError("InvocationDoesNotExist", "")
    plugin = given.get("PluginName")
    if plugin not in (None, command.plugin):
        raise ApiError("InvalidPluginName", f"The plugin name {plugin} is not valid.")
    stdout_url, stderr_url = _urls(command, invocation)
    elapsed = (invocation.ended or invocation.started or 0) - (invocation.started or 0)
    started = invocation.started is not None
    return {
        "CommandId": command.id,
        "InstanceId": invocation.instance,
        "Comment": command.comment,
        "DocumentName": command.document,
        "DocumentVersion": "$DEFAULT",
        "PluginName": command.plugin,
        "ResponseCode": invocation.code,
        "ExecutionStartDateTime": _iso(invocation.started) if started else "",
        "ExecutionElapsedTime": f"PT{elapsed:.3f}S" if started and invocation.over else "",
        "ExecutionEndDateTime": _iso(invocation.ended) if started and invocation.over else "",
        "Status": invocation.status,
        "StatusDetails": invocation.details,
        "StandardOutputContent": invocation.stdout,
        "StandardOutputUrl": stdout_url,
        "StandardErrorContent": invocation.stderr,
        "StandardErrorUrl": stderr_url,
        "CloudWatchOutputConfig": {"CloudWatchLogGroupName": "", "CloudWatchOutputEnabled": False},
    }


def _iso(at: float | None) -> str:
    return datetime.fromtimestamp(at or 0, tz=UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def cancel_command(ssm: Ssm, _call: Call, given: dict[str, Any], _request: Request) -> dict[str, Any]:
    """Ask for an end; what has ended already stays as it is."""
    command = ssm.commands.commands.get(given["CommandId"])
    if command is None:
        raise ApiError("InvalidCommandId", "")
    instances = given.get("InstanceIds") or []
    strange = [each for each in instances if each not in command.invocations]
    if strange:
        raise ApiError("InvalidInstanceId", f"{', '.join(strange)} was not sent this command.")
    ssm.commands.cancel(command, instances)
    return {}


def describe_document(_ssm: Ssm, _call: Call, given: dict[str, Any], _request: Request) -> dict[str, Any]:
    """What a document takes."""
    return {"Document": documents.summary(_document(given["Name"]))}


def get_document(_ssm: Ssm, _call: Call, given: dict[str, Any], _request: Request) -> dict[str, Any]:
    """A document's content, as JSON."""
    document = _document(given["Name"])
    about = documents.summary(document)
    return {
        **{
            name: about[name]
            for name in ("Name", "DocumentVersion", "Status", "DocumentType", "DocumentFormat")
        },
        "Content": json.dumps(document.content),
    }


def list_documents(_ssm: Ssm, _call: Call, given: dict[str, Any], _request: Request) -> dict[str, Any]:
    """Every document there is; the sandbox takes none of the user's own."""
    names = (
        "Name",
        "Owner",
        "PlatformTypes",
        "DocumentVersion",
        "DocumentType",
        "SchemaVersion",
        "DocumentFormat",
    )
    rows = [documents.summary(each) for each in documents.DOCUMENTS.values()]
    return page(
        "DocumentIdentifiers", [{name: row[name] for name in names} for row in rows], given, default=50
    )


def _document(name: str) -> documents.Document:
    found = documents.DOCUMENTS.get(name.rpartition("document/")[2] or name)
    if found is None:
        raise ApiError("InvalidDocument", f"Document with name {name} does not exist.")
    return found


OPERATIONS: dict[str, Callable[..., Any]] = {
    "SendCommand": send_command,
    "ListCommands": list_commands,
    "ListCommandInvocations": list_command_invocations,
    "GetCommandInvocation": get_command_invocation,
    "CancelCommand": cancel_command,
    "DescribeDocument": describe_document,
    "GetDocument": get_document,
    "ListDocuments": list_documents,
}
