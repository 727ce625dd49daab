"""The control routes, under ``/_sandbox/``: status, weather, SSH hosts, reset. For the holder of the token in the record.

Guests reach the same server, and web pages can make a browser send requests to 127.0.0.1: hence the token.
"""

from __future__ import annotations

import hmac
import json
import os
import re
from typing import TYPE_CHECKING, Any, Protocol

from runctl.core.errors import RunctlError
from runctl.sandbox.http import Response
from runctl.sandbox.weather import EVENTS, BadRule, check_scenario, parse

if TYPE_CHECKING:
    from runctl.sandbox.call import Call, Cloud
    from runctl.sandbox.ec2_rules import Ec2
    from runctl.sandbox.front import Front
    from runctl.sandbox.http import Request
    from runctl.sandbox.sshhosts import SshHosts
    from runctl.sandbox.weather import Rule

TOKEN = "x-runctl-sandbox"
LIMIT = 4 * 1024 * 1024  # bytes of a scenario


class Whole(Protocol):
    """The sandbox as the control routes need it."""

    ec2: Ec2
    front: Front
    hosts: SshHosts

    async def reset(self) -> None:
        """As after a fresh start."""


class Control:
    """Answers the control routes with JSON; a failure is ``{"error": text}`` with status 400, 403 or 404."""

    def __init__(self, cloud: Cloud, whole: Whole) -> None:
        self._cloud = cloud
        self._whole = whole

    async def handle(self, request: Request, call: Call) -> Response:
        """Answer one control call."""
        del call
        if not hmac.compare_digest(request.headers.get(TOKEN), self._cloud.state.control_token):
            return _json({"error": "the control token is missing or wrong"}, 403)
        try:
            body = json.loads(await request.body.read(LIMIT) or b"{}")
            return await self._route(f"{request.method} {request.path.removeprefix('/_sandbox/')}", body)
        except ValueError as error:  # BadRule is one
            return _json({"error": str(error)}, 400)
        except LookupError as error:
            return _json({"error": str(error.args[0])}, 404)
        except RunctlError as error:
            return _json({"error": f"{error.what}: {error.why}"}, 400)
        except OSError as error:
            return _json({"error": str(error)}, 400)

    async def _route(self, route: str, body: Any) -> Response:
        weather = self._cloud.weather
        if route == "GET status":
            return _json(self._status())
        if route == "POST reset":
            await self._whole.reset()
            return _json(self._status())
        if route == "GET weather":
            return _json({"seed": weather.seed, "weather": weather.rules()})
        if route == "POST weather":
            return _json(await self._change(body))
        if route.startswith("DELETE weather/"):
            if not weather.remove(route.rpartition("/")[2]):
                raise LookupError(f"there is no weather {route.rpartition('/')[2]!r}")
            return _json({})
        if route.startswith(("GET hosts", "POST hosts", "DELETE hosts/")):
            return _json(await self._change_hosts(route, body))
        raise LookupError(f"there is no {route}")

    async def _change_hosts(self, route: str, body: Any) -> dict[str, Any]:
        hosts = self._whole.hosts
        if route == "POST hosts":
            name = body.get("host", "") if isinstance(body, dict) else ""
            if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,40}", name):
                raise ValueError("a host's name is lower-case letters, digits and dashes, at most 41")
            if name not in hosts.hosts:
                await hosts.add(name)
        elif route.startswith("DELETE hosts/"):
            name = route.rpartition("/")[2]
            if name not in hosts.hosts:
                raise LookupError(f"there is no host {name!r}")
            await hosts.remove(name)
        config = str(self._cloud.state.folder / "ssh" / "config")
        return {
            "config": config,
            "hosts": [{"name": each.name, "port": each.port} for each in hosts.hosts.values()],
        }

    def _status(self) -> dict[str, Any]:
        state = self._cloud.state
        counted: dict[str, int] = {}
        for each in self._whole.ec2.instances():
            counted[each.state] = counted.get(each.state, 0) + 1
        return {
            "name": state.name,
            "endpoint": state.endpoint,
            "region": state.region,
            "pid": os.getpid(),
            "folder": str(state.folder),
            "instances": counted,
            "services": sorted(set(self._cloud.services) - {"control"}),
            "calls": self._whole.front.calls,
            "weather": self._cloud.weather.rules(),
            "weaker": list(self._cloud.machines.weaker) if self._cloud.machines else [],
        }

    async def _change(self, body: Any) -> dict[str, Any]:
        """Put one rule, or a whole scenario, in force. A scenario with a mistake changes nothing."""
        if not isinstance(body, dict):
            raise BadRule("a rule is an object")
        whole = "weather" in body
        rules = check_scenario(body) if whole else [parse(body)]
        if "seed" in body and whole:
            self._cloud.weather.set_seed(int(body["seed"]))
        return {"weather": [await self._befall(rule) for rule in rules]}

    async def _befall(self, rule: Rule) -> dict[str, Any]:
        if rule.kind not in EVENTS:
            made = self._cloud.weather.add(rule)
            return {"id": made.id, "kind": made.kind}
        return {"kind": rule.kind, "instances": await self._whole.ec2.events.befall(rule)}


def _json(value: Any, status: int = 200) -> Response:
    return Response(status, {"Content-Type": "application/json"}, json.dumps(value).encode())
