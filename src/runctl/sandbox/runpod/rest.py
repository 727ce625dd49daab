"""REST v2: routes and shapes as its OpenAPI document of August 2026 has them."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from runctl.sandbox.instances.imds import stamp
from runctl.sandbox.runpod import catalog
from runctl.sandbox.runpod.pods import ACTIONS, Pod, Pods, Refused, new_id, price_of

if TYPE_CHECKING:
    from collections.abc import Collection

_CREATE = {
    "name", "image", "args", "disk", "ports", "env", "registry", "cloud", "cpu", "dataCenterIds", "globalNetworking",
    "gpu", "mounts", "startJupyter", "startSsh", "templateId",
}  # fmt: skip
_UPDATE = {"name", "locked"}
Answer = tuple[int, Any]


async def answer(pods: Pods, method: str, path: str, body: Any) -> Answer:
    """Status and JSON value (None: no body) of a call. Raises Refused."""
    if not isinstance(body, dict):
        raise Refused(400, "the body is an object")
    match path.strip("/").split("/"):
        case ["v2", "pods", *rest]:
            return await about_pods(pods, [method, *rest], body)
        case ["v2", "catalog", *rest] if method == "GET":
            return 200, sold(rest)
        case ["v2", "account", "ssh-keys"] if method in {"GET", "PUT"}:
            if method == "PUT":
                only(body, {"keys"})
                pods.keys[:] = [str(key) for key in body.get("keys", [])]
            return 200, {"keys": pods.keys}
    raise Refused(404, f"the sandbox has no {method} {path}")


async def about_pods(pods: Pods, call: list[str], body: dict[str, Any]) -> Answer:
    """The routes below `/v2/pods`. Raises Refused."""
    value: Any = None
    status = 200
    match call:
        case ["GET"]:
            value = {"pods": [show(pod) for pod in pods.all.values()]}
        case ["POST"]:
            status, value = 201, show(pods.create(requested(body)))
        case ["GET", pod_id]:
            value = show(pods.find(pod_id))
        case ["PATCH", pod_id]:
            value = show(update(pods.find(pod_id), body))
        case ["DELETE", pod_id]:
            await pods.terminate(pod_id)
            status = 204
        case ["POST", pod_id, "action"]:
            status, value = await act(pods, pod_id, body)
        case _:
            raise Refused(404, f"the sandbox has no {' '.join(call)} below pods")
    return status, value


async def act(pods: Pods, pod_id: str, body: dict[str, Any]) -> Answer:
    """`start`, `stop`, `restart` or `terminate`."""
    only(body, {"action"})
    action = body.get("action")
    if action == "terminate":
        await pods.terminate(pod_id)
        return 204, None
    if action == "start":
        return 200, show(await pods.start(pod_id))
    if action == "stop":
        return 200, show(await pods.stop(pod_id))
    if action == "restart":
        await pods.stop(pod_id)
        return 200, show(await pods.start(pod_id))
    raise Refused(422, f"no action {action!r}: start, stop, restart, terminate")


def only(body: dict[str, Any], known: Collection[str]) -> None:
    """Refuses fields that the API does not have, as the real one does."""
    unknown = sorted(set(body) - set(known))
    if unknown:
        raise Refused(400, f"unknown field {unknown[0]!r}")


def requested(body: dict[str, Any]) -> Pod:
    """The pod that a create request describes. Raises Refused."""
    only(body, _CREATE)
    if not body.get("name") or not body.get("image"):
        raise Refused(422, "name and image are required")
    if ("gpu" in body) == ("cpu" in body):
        raise Refused(400, "exactly one of gpu and cpu must be set")
    mounts, cloud = body.get("mounts") or {}, body.get("cloud", "SECURE")
    only(mounts, {"persistent", "network"})
    if "network" in mounts:
        raise Refused(400, "the sandbox has no network volumes")
    persistent = mounts.get("persistent") or {}
    gpu, cpu = body.get("gpu"), body.get("cpu") or {}
    if gpu:
        gpu = {"id": gpu["id"], "count": int(gpu.get("count", 1))} if "id" in gpu else {"id": "", "count": 1}
        price = price_of(gpu["id"], gpu["count"], cloud)
    else:
        price = round(catalog.CPU_PRICE * int(cpu.get("vcpuCount", cpu.get("vcpu", 2))), 4)
    return Pod(
        id=new_id(),
        name=str(body["name"]),
        image=str(body["image"]),
        price=price,
        gpu=gpu,
        cpu=cpu or None,
        args=str(body.get("args", "")),
        disk=int(body.get("disk", 20)),
        volume=str(persistent.get("path", "")),
        volume_gb=int(persistent.get("size", 0)),
        ports=checked_ports(body.get("ports", [])),
        env={str(name): str(value) for name, value in (body.get("env") or {}).items()},
        cloud=cloud,
        ssh=bool(body.get("startSsh", False)),
        template=body.get("templateId"),
    )


def checked_ports(ports: Any) -> list[str]:
    """Ports such as `22/tcp` and `8888/http`. Raises Refused for others."""
    found = [str(port) for port in ports]
    for port in found:
        number, _, kind = port.partition("/")
        if not number.isdecimal() or not 1 <= int(number) <= 65535 or kind not in {"tcp", "http"}:
            raise Refused(400, f"a port is NUMBER/tcp or NUMBER/http, not {port!r}")
    return found


def update(pod: Pod, body: dict[str, Any]) -> Pod:
    """Changes a pod's name or lock; the rest of the real API's fields needs a new container and is refused."""
    only(body, _UPDATE)
    pod.name = str(body.get("name", pod.name))
    pod.locked = bool(body.get("locked", pod.locked))
    return pod


def login(pod: Pod) -> dict[str, Any] | None:
    """Where `ssh` finds the pod; None while it cannot."""
    forward = pod.open.get("22/tcp")
    if forward is None or pod.status != "RUNNING" or pod.host_key is None:
        return None
    user = getpass.getuser()  # in namespaces the sandbox is root's
    return {
        "host": "127.0.0.1",
        "port": forward.port,
        "username": user,
        "command": f"ssh {user}@127.0.0.1 -p {forward.port}",
    }


def opened(pod: Pod) -> list[dict[str, Any]]:
    """The ports that lead into the pod."""
    return [
        {
            "private": int(port.partition("/")[0]),
            "public": each.port,
            "type": port.partition("/")[2],
            "ip": "127.0.0.1",
        }
        for port, each in pod.open.items()
    ]


def show(pod: Pod) -> dict[str, Any]:
    """A pod as the API shows it. There is no `proxy`: RunPod's SSH proxy has nothing behind it here."""
    now = datetime.now(UTC)
    runtime = (
        {"uptime": int((now - pod.started).total_seconds()), "ports": opened(pod)} if pod.started else {}
    )
    kept = {"persistent": {"size": pod.volume_gb, "path": pod.volume}} if pod.volume else {}
    return {
        "id": pod.id,
        "name": pod.name,
        "status": pod.status,
        "actions": ACTIONS[pod.status],
        "image": pod.image,
        "args": pod.args,
        "disk": pod.disk,
        "mounts": kept,
        "ports": pod.ports,
        "env": pod.env,
        "registry": None,
        **({"gpu": pod.gpu} if pod.gpu else {"cpu": pod.cpu}),
        "cloud": pod.cloud,
        "dataCenterId": catalog.DATA_CENTERS[0][0],
        "cudaVersion": None,
        "ssh": {"proxy": None, "direct": login(pod)},
        "template": pod.template,
        "cost": pod.cost,
        "locked": pod.locked,
        "globalNetworking": {"enabled": False},
        "runtime": runtime,
        "createdAt": stamp(pod.created.timestamp()),
        "startedAt": stamp(pod.started.timestamp()) if pod.started else None,
    }


def sold(path: list[str]) -> Any:
    """The catalogue. Raises Refused 404."""
    centers = [
        {
            "id": name,
            "name": name,
            "region": region,
            "networkVolumeTypes": [],
            "compliance": [],
            "globalNetwork": False,
        }
        for name, region in catalog.DATA_CENTERS
    ]
    match path:
        case ["gpus"]:
            return {"gpus": [catalog.rest(gpu) for gpu in catalog.GPUS]}
        case ["gpus", gpu_id]:
            gpu = catalog.find(gpu_id.replace("%20", " "))
            if gpu is not None:
                return catalog.rest(gpu)
        case ["datacenters"]:
            return {"dataCenters": centers}
    raise Refused(404, f"no such thing in the catalogue: {'/'.join(path)}")
