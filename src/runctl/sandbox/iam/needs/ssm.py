"""Systems Manager: commands and sessions name a document and instances, parameters have ARNs of their own.

Operations without resource-level permissions are asked on ``arn:aws:ssm:REGION:ACCOUNT:*``, as their refusals tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runctl.sandbox.iam.needs.need import Need, Values, known, request_tags, resource_tags, tags_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from runctl.sandbox.call import Directory

DEFAULT_SESSION = "SSM-SessionManagerRunShell"
_CHANNELS = {"/v1/control-channel/": "CreateControlChannel", "/v1/data-channel/": "CreateDataChannel"}


class Place:
    """The region and account that ARNs are made of, and who knows the tags of instances and sessions."""

    def __init__(
        self, region: str, account: str, ec2: Directory | None, session_tags: Callable[[str], dict[str, str]]
    ) -> None:
        self.region = region
        self.account = account
        self._ec2 = ec2
        self.session_tags = session_tags

    def arn(self, kind: str, name: str) -> str:
        """An ARN of Systems Manager; what AWS itself provides belongs to no account."""
        public = name.startswith(("AWS-", "aws/service/"))
        return f"arn:aws:ssm:{self.region}:{'' if public else self.account}:{kind}/{name}"

    def every(self) -> str:
        """What operations without resource-level permissions are asked on."""
        return f"arn:aws:ssm:{self.region}:{self.account}:*"

    def instance(self, name: str) -> str:
        """The ARN of an instance, which is EC2's."""
        return f"arn:aws:ec2:{self.region}:{self.account}:instance/{name}"

    def document(self, given: str) -> str:
        """The ARN of a document that is named by its name or its ARN."""
        return given if given.startswith("arn:") else self.arn("document", given)

    def tags(self, instance: str) -> Values:
        """The keys of an instance's tags."""
        found = self._ec2.describe(instance) if self._ec2 is not None else None
        return resource_tags(dict(found.tags), "ssm:resourcetag") if found is not None else {}


def needs(place: Place, action: str, given: dict[str, Any], path: str) -> list[list[Need]]:
    """The permissions a call needs: alternatives, one of which has to be allowed whole."""
    for prefix, operation in _CHANNELS.items():
        if path.startswith(prefix):
            return [[Need(f"ssmmessages:{operation}")]]
    if action == "StartSession":
        return _start_session(place, given)
    read = _READERS.get(action)
    return [read(place, f"ssm:{action}", given) if read else [Need(f"ssm:{action}", place.every())]]


def _send_command(place: Place, name: str, given: dict[str, Any]) -> list[Need]:
    found = [Need(name, place.document(str(given.get("DocumentName", ""))))]
    found += [Need(name, place.instance(each), place.tags(each)) for each in given.get("InstanceIds") or ()]
    targets = given.get("Targets") or ()
    if targets:  # nobody knows yet which these are: the tags that were asked for stand for theirs
        tags = {
            str(each.get("Key", ""))[4:]: str((each.get("Values") or [""])[0])
            for each in targets
            if str(each.get("Key", "")).startswith("tag:")
        }
        found.append(Need(name, place.instance("*"), resource_tags(tags, "ssm:resourcetag")))
    return found


def _start_session(place: Place, given: dict[str, Any]) -> list[list[Need]]:
    """A document that is named is asked for; the default one only where the policy wants it to be."""
    target = str(given.get("Target", ""))
    asked = given.get("DocumentName")

    def instance(*, checked: bool) -> Need:
        keys = {**place.tags(target), **known(ssm__SessionDocumentAccessCheck=checked)}
        return Need("ssm:StartSession", place.instance(target), keys)

    document = Need("ssm:StartSession", place.document(asked or DEFAULT_SESSION))
    checked = [instance(checked=True), document]
    return [checked] if asked else [[instance(checked=False)], checked]


def _session(place: Place, name: str, given: dict[str, Any]) -> list[Need]:
    session = str(given.get("SessionId", ""))
    tags = resource_tags(place.session_tags(session), "ssm:resourcetag")
    return [Need(name, place.arn("session", session), tags)]


def _instance(place: Place, name: str, given: dict[str, Any]) -> list[Need]:
    target = str(given.get("InstanceId") or given.get("Target") or "")
    return [Need(name, place.instance(target), place.tags(target))]


def _document(place: Place, name: str, given: dict[str, Any]) -> list[Need]:
    return [Need(name, place.document(str(given.get("Name", ""))))]


def _parameters(place: Place, name: str, given: dict[str, Any]) -> list[Need]:
    """Each parameter named; a version or label behind its name is no part of it."""
    names = [given["Name"]] if "Name" in given else given.get("Names") or [given.get("Path", "")]
    tags = tags_of(given.get("Tags"))
    keys = {
        **request_tags(tags),
        **known(ssm__Overwrite=given.get("Overwrite"), ssm__Recursive=given.get("Recursive")),
    }
    return [
        Need(
            name,
            each if each.startswith("arn:") else place.arn("parameter", each.partition(":")[0].lstrip("/")),
            keys,
        )
        for each in map(str, names)
    ]


_READERS: dict[str, Callable[[Place, str, dict[str, Any]], list[Need]]] = {
    "SendCommand": _send_command,
    "TerminateSession": _session,
    "ResumeSession": _session,
    "GetConnectionStatus": _instance,
    "UpdateInstanceInformation": _instance,
    "ListInstanceAssociations": _instance,
    "DescribeDocument": _document,
    "GetDocument": _document,
    "PutParameter": _parameters,
    "GetParameter": _parameters,
    "GetParameters": _parameters,
    "GetParametersByPath": _parameters,
    "GetParameterHistory": _parameters,
    "DeleteParameter": _parameters,
    "DeleteParameters": _parameters,
}
