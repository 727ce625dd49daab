"""The metadata service of one instance, version 2 only: a session token first, then a tree of plain text."""

from __future__ import annotations

import json
import secrets
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from runctl.sandbox.http import Request, Response

if TYPE_CHECKING:
    from collections.abc import Callable

    from runctl.sandbox.instances.facts import Facts
    from runctl.sandbox.state import RoleCredentials

TTL = "x-aws-ec2-metadata-token-ttl-seconds"
TOKEN = "x-aws-ec2-metadata-token"
LONGEST = 21600  # seconds a session token may live
VERSIONS = ("latest", "2021-03-23", "2021-01-03", "2016-09-02", "2014-11-05", "2012-01-12", "1.0")

Tree = dict[str, Any]  # a text, or another tree below the name


class Metadata:
    """Answers the requests that come from one instance.

    Args:
        facts: of the instance; read anew for every request.
        credentials: gives the role's credentials for (instance, role); None when its trust policy does not name EC2.
        power: called with `poweroff`, `reboot` or `cancel` and a delay in seconds; only where the instance has no
            PID 1 of its own (plain mode), else None.
    """

    def __init__(
        self,
        facts: Facts,
        credentials: Callable[[str, str], RoleCredentials | None],
        power: Callable[[str, float], None] | None = None,
    ) -> None:
        self._facts = facts
        self._credentials = credentials
        self._power = power
        self._tokens: dict[str, float] = {}

    async def handle(self, request: Request) -> Response:
        """One request; never raises for what a client sent."""
        if request.method == "PUT" and request.path == "/latest/api/token":
            return self._new_token(request)
        if request.method == "PUT" and request.path.startswith("/runctl/power/") and self._power is not None:
            kind, _, delay = request.path.removeprefix("/runctl/power/").partition("/")
            self._power(kind, float(delay or 0))
            return text("")
        if request.method not in {"GET", "HEAD"}:
            return text("405 - Method Not Allowed", 405)
        if self._tokens.get(request.headers.get(TOKEN), 0.0) <= time.monotonic():
            return text("401 - Unauthorized", 401)
        return self._read(request.path)

    def _new_token(self, request: Request) -> Response:
        if "x-forwarded-for" in request.headers:
            return text("403 - Forbidden", 403)
        wanted = request.headers.get(TTL)
        if not wanted.isdecimal() or not 1 <= int(wanted) <= LONGEST:
            return text("400 - Bad Request", 400)
        now = time.monotonic()
        self._tokens = {token: end for token, end in self._tokens.items() if end > now}
        token = secrets.token_urlsafe(42) + "=="
        self._tokens[token] = now + int(wanted)
        return text(token, 200, (TTL, wanted))

    def _read(self, path: str) -> Response:
        version, _, rest = path.strip("/").partition("/")
        if not version:
            return text("\n".join(VERSIONS))
        if version not in VERSIONS:
            return text("404 - Not Found", 404)
        if rest == "user-data":
            data = self._facts.user_data
            return Response(200, {"Content-Type": "application/octet-stream"}, data) if data else missing()
        node: Any = self._tree()
        for name in rest.split("/") if rest else ():
            if not isinstance(node, dict) or name not in node:
                return missing()
            node = node[name]
        if callable(node):
            node = node()
        return text(node if isinstance(node, str) else listing(node))

    def _tree(self) -> Tree:
        return {
            "meta-data": metadata(self._facts, self._role(self._facts.profile)),
            "dynamic": {"instance-identity": {"document": document(self._facts)}},
        }

    def _role(self, role: str) -> Tree:
        if not role:
            return {}
        info = {
            "Code": "Success",
            "LastUpdated": stamp(time.time()),
            "InstanceProfileArn": f"arn:aws:iam::{self._facts.account}:instance-profile/{role}",
            "InstanceProfileId": "AIPARUNCTLSANDBOX0000",
        }

        def credentials() -> str:
            held = self._credentials(self._facts.id, role)
            if held is None:
                return json.dumps(unauthorized(role), indent=2)
            return json.dumps(
                {
                    "Code": "Success",
                    "LastUpdated": stamp(time.time()),
                    "Type": "AWS-HMAC",
                    "AccessKeyId": held.access_key,
                    "SecretAccessKey": held.secret,
                    "Token": held.token,
                    "Expiration": stamp(held.expires),
                },
                indent=2,
            )

        return {"iam": {"info": json.dumps(info, indent=2), "security-credentials": {role: credentials}}}


def unauthorized(role: str) -> dict[str, str]:
    """What stands in the place of credentials when EC2 may not assume the role; the answer's status is 200."""
    return {
        "Code": "AssumeRoleUnauthorizedAccess",
        "LastUpdated": stamp(time.time()),
        "Message": f"EC2 cannot assume the role {role}. Its trust policy must allow ec2.amazonaws.com sts:AssumeRole.",
    }


def metadata(facts: Facts, role: Tree) -> Tree:
    """The tree below `meta-data`."""
    card = {
        "device-number": "0",
        "local-hostname": facts.hostname,
        "local-ipv4s": facts.address,
        "mac": facts.mac,
    }
    tree: Tree = {
        "ami-id": facts.image_id,
        "ami-launch-index": "0",
        "hostname": facts.hostname,
        "instance-action": "none",
        "instance-id": facts.id,
        "instance-life-cycle": "spot" if facts.spot else "on-demand",
        "instance-type": facts.instance_type,
        "local-hostname": facts.hostname,
        "local-ipv4": facts.address,
        "mac": facts.mac,
        "network": {"interfaces": {"macs": {facts.mac: card}}},
        "placement": {"availability-zone": facts.zone, "region": facts.region},
        "profile": "default-hvm",
        "services": {"domain": "amazonaws.com", "partition": "aws"},
        **role,
    }
    if facts.show_tags:
        tree["tags"] = {"instance": dict(facts.tags)}
    if facts.rebalance is not None:
        tree["events"] = {
            "recommendations": {"rebalance": json.dumps({"noticeTime": stamp(facts.rebalance)})}
        }
    if facts.notice is not None:
        action, at = facts.notice
        tree["spot"] = {"instance-action": json.dumps({"action": action, "time": stamp(at)})}
        if action == "terminate":
            tree["spot"]["termination-time"] = stamp(at)
    return tree


def document(facts: Facts) -> str:
    """The instance identity document (without AWS's signature, which only AWS can make)."""
    return json.dumps(
        {
            "accountId": facts.account,
            "architecture": "x86_64",
            "availabilityZone": facts.zone,
            "imageId": facts.image_id,
            "instanceId": facts.id,
            "instanceType": facts.instance_type,
            "pendingTime": stamp(facts.launched),
            "privateIp": facts.address,
            "region": facts.region,
            "version": "2017-09-30",
        },
        indent=2,
    )


def listing(tree: Tree) -> str:
    """A folder as IMDS shows it: a name a line, a slash behind those that are folders."""
    return "\n".join(f"{name}/" if isinstance(tree[name], dict) else name for name in sorted(tree))


def stamp(at: float) -> str:
    """A time as AWS writes it, UTC and whole seconds."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def text(body: str, status: int = 200, *more: tuple[str, str]) -> Response:
    """An answer in plain text."""
    return Response(status, [("Content-Type", "text/plain"), *more], body.encode())


def missing() -> Response:
    """What IMDS answers for a name that is not there (a spot notice that has not come, too)."""
    return text("404 - Not Found", 404)
