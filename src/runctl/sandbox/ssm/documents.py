"""The documents the sandbox knows: their content as it is sent to the agent, and the check of what is passed to them.

A genuine agent reads the content, so it has the fields that agent acts on; the descriptions are ours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runctl.sandbox.call import ApiError

if TYPE_CHECKING:
    from collections.abc import Mapping

RUN_SHELL_SCRIPT = "AWS-RunShellScript"
DEFAULT_SHELL = "SSM-SessionManagerRunShell"
# 1 to 172,800 seconds: what the document itself allows; the agent takes what is below 5 for 3,600
_EXECUTION_TIMEOUT = r"([1-9][0-9]{0,4})|(1[0-6][0-9]{4})|(17[0-1][0-9]{3})|(172[0-7][0-9]{2})|(172800)"
_PORT = r"^([1-9]|[1-9][0-9]{1,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])$"
_LOCAL_PORT = _PORT[:2] + "0|" + _PORT[2:]


@dataclass(frozen=True)
class Document:
    """A document by its name. `kind` is Command or Session; `content` is what the agent gets."""

    name: str
    kind: str
    platforms: tuple[str, ...]
    content: Mapping[str, Any]

    @property
    def parameters(self) -> dict[str, Any]:
        """Its declared parameters by name."""
        return dict(self.content.get("parameters", {}))

    @property
    def plugin(self) -> str:
        """The plugin that a command of it runs."""
        return "aws:runShellScript"


def _string(description: str, *, default: str | None = None, pattern: str = "") -> dict[str, Any]:
    declared: dict[str, Any] = {"type": "String", "description": description}
    if default is not None:
        declared["default"] = default
    if pattern:
        declared["allowedPattern"] = pattern
    return declared


def _session(name: str, kind: str, parameters: dict[str, Any], properties: Any) -> Document:
    content = {
        "schemaVersion": "1.0",
        "description": name,
        "sessionType": kind,
        "inputs": {},
        "parameters": parameters,
        "properties": properties,
    }
    return Document(name, "Session", ("Linux",), content)


def _command(name: str, platforms: tuple[str, ...]) -> Document:
    content = {
        "schemaVersion": "1.2",
        "description": name,
        "parameters": {
            "commands": {
                "type": "StringList",
                "description": "The lines to run.",
                "minItems": 1,
                "displayType": "textarea",
            },
            "workingDirectory": _string("Where to run them.", default=""),
            "executionTimeout": _string("Seconds they may take.", default="3600", pattern=_EXECUTION_TIMEOUT),
        },
        "runtimeConfig": {
            "aws:runShellScript": {
                "properties": [
                    {
                        "id": "0.aws:runShellScript",
                        "runCommand": "{{ commands }}",
                        "workingDirectory": "{{ workingDirectory }}",
                        "timeoutSeconds": "{{ executionTimeout }}",
                    }
                ]
            }
        },
    }
    return Document(name, "Command", platforms, content)


_COMMAND_LINE = {"command": _string("The command to run.")}
# as the genuine document declares them; without the first one the agent is silent until the command has ended
_SEPARATION = {
    "separateOutputStream": _string(
        "Keep the two streams and the exit code apart.", default="false", pattern="true|false"
    ),
}
_ELEVATED = {"linux": {"commands": "{{ command }}", "runAsElevated": True}}
_SHELL = {"linux": {"commands": "", "runAsElevated": False}}
_REMOTE_PORT = {
    "portNumber": _string("The port in the instance.", default="80", pattern=_PORT),
    "localPortNumber": _string("The port on the client.", default="0", pattern=_LOCAL_PORT),
}
_PORT_PROPERTIES = {
    "portNumber": "{{ portNumber }}",
    "type": "LocalPortForwarding",
    "localPortNumber": "{{ localPortNumber }}",
}

_ALL = (
    _command(RUN_SHELL_SCRIPT, ("Linux",)),
    _command("AWS-RunPowerShellScript", ("Windows",)),
    _session(DEFAULT_SHELL, "Standard_Stream", {}, _SHELL),
    _session("AWS-StartInteractiveCommand", "InteractiveCommands", _COMMAND_LINE, _ELEVATED),
    _session(
        "AWS-StartNonInteractiveCommand",
        "NonInteractiveCommands",
        {**_COMMAND_LINE, **_SEPARATION},
        {"linux": {**_ELEVATED["linux"], **{name: f"{{{{ {name} }}}}" for name in _SEPARATION}}},
    ),
    _session("AWS-StartPortForwardingSession", "Port", _REMOTE_PORT, _PORT_PROPERTIES),
    _session(
        "AWS-StartPortForwardingSessionToRemoteHost",
        "Port",
        {
            **_REMOTE_PORT,
            "host": _string("The host to reach from the instance.", pattern=r"^[^,$^&(){}\[\]<>\"'`;|]+$"),
        },
        {**_PORT_PROPERTIES, "host": "{{ host }}"},
    ),
    _session(
        "AWS-StartSSHSession",
        "Port",
        {"portNumber": _string("The port of sshd.", default="22", pattern=_PORT)},
        {"portNumber": "{{ portNumber }}"},
    ),
)
DOCUMENTS = {document.name: document for document in _ALL}


def find(name: str, kind: str) -> Document:
    """A document by name or by the ARN that ends in it.

    Raises:
        ApiError: InvalidDocument, when there is none of that name or it is of another kind.
    """
    document = DOCUMENTS.get(name.rpartition("document/")[2] or name)
    if document is None:
        raise ApiError("InvalidDocument", f"Document with name {name} does not exist.")
    if document.kind != kind:
        raise ApiError("InvalidDocument", f"document type is {document.kind}, this operation takes {kind}")
    return document


def fill(
    document: Document, given: Mapping[str, list[str]], *, code: str = "InvalidParameters"
) -> dict[str, Any]:
    """The parameters as the agent gets them: strings as scalars, lists as lists, defaults filled in.

    Raises:
        ApiError: `code`, for a parameter the document does not have, one that is missing, or a value it forbids.
    """
    declared = document.parameters
    unknown = sorted(set(given) - set(declared))
    if unknown:
        raise ApiError(
            code, f"Parameters {unknown} are not supported by document {document.name}.".replace("'", "")
        )
    filled: dict[str, Any] = {}
    for name, about in declared.items():
        values = given.get(name)
        if values is None and "default" in about:
            filled[name] = about["default"]
        elif not values:
            raise ApiError(
                code, f"Parameter {name} is required by document {document.name} and was not provided."
            )
        elif about["type"] == "StringList":
            filled[name] = list(values)
        elif len(values) > 1:
            raise ApiError(code, f"Parameter {name} takes one value, {len(values)} were provided.")
        elif "allowedPattern" in about and not re.fullmatch(about["allowedPattern"], values[0]):
            raise ApiError(
                code, f"Parameter {name} does not match the allowed pattern: {about['allowedPattern']}"
            )
        else:
            filled[name] = values[0]
    return filled


def summary(document: Document) -> dict[str, Any]:
    """A document as DescribeDocument tells it."""
    return {
        "Name": document.name,
        "DocumentVersion": "1",
        "DefaultVersion": "1",
        "LatestVersion": "1",
        "Status": "Active",
        "Owner": "Amazon",
        "PlatformTypes": list(document.platforms),
        "DocumentType": document.kind,
        "SchemaVersion": document.content["schemaVersion"],
        "DocumentFormat": "JSON",
        "Description": document.content["description"],
        "Parameters": [
            {
                "Name": name,
                "Type": about["type"],
                "Description": about["description"],
                **({"DefaultValue": about["default"]} if "default" in about else {}),
            }
            for name, about in document.parameters.items()
        ],
    }
