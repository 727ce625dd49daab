"""GraphQL: the operations of RunPod's SDK, and those for interruptable (spot) pods."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from runctl.sandbox.runpod import catalog
from runctl.sandbox.runpod.pods import NO_CAPACITY, Pod, Pods, Refused, new_id, price_of
from runctl.sandbox.runpod.rest import checked_ports

if TYPE_CHECKING:
    from runctl.sandbox.runpod.document import Resolver


def resolvers(pods: Pods) -> dict[str, Resolver]:
    """What answers each field at the top of an operation."""

    async def create(arguments: dict[str, Any]) -> Any:
        return show(pods.create(wanted(arguments.get("input") or {}, interruptable=False)))

    async def rent(arguments: dict[str, Any]) -> Any:
        return show(pods.create(wanted(arguments.get("input") or {}, interruptable=True)))

    async def stop(arguments: dict[str, Any]) -> Any:
        return show(await pods.stop(of(arguments)))

    async def resume(arguments: dict[str, Any]) -> Any:
        bid = (arguments.get("input") or {}).get("bidPerGpu")
        return show(await pods.start(of(arguments), bid=None if bid is None else float(bid)))

    async def terminate(arguments: dict[str, Any]) -> None:
        await pods.terminate(of(arguments))

    async def one(arguments: dict[str, Any]) -> Any:
        pod = pods.all.get(of(arguments))
        return show(pod) if pod else None

    async def myself(_: dict[str, Any]) -> Any:
        return {
            "id": "sandbox",
            "pubKey": "\n".join(pods.keys),
            "pods": [show(pod) for pod in pods.all.values()],
            "networkVolumes": [],
        }

    async def update_user(arguments: dict[str, Any]) -> Any:
        text = str((arguments.get("input") or {}).get("pubKey", ""))
        pods.keys[:] = [line.strip() for line in text.splitlines() if line.strip()]
        return {"id": "sandbox", "pubKey": text}

    async def gpus(arguments: dict[str, Any]) -> Any:
        wanted_id = (arguments.get("input") or {}).get("id")
        return [catalog.graph(gpu) for gpu in catalog.GPUS if wanted_id in {None, gpu.id}]

    return {
        "podFindAndDeployOnDemand": create,
        "deployCpuPod": create,
        "podRentInterruptable": rent,
        "podStop": stop,
        "podResume": resume,
        "podBidResume": resume,
        "podTerminate": terminate,
        "pod": one,
        "myself": myself,
        "updateUserSettings": update_user,
        "gpuTypes": gpus,
    }


def of(arguments: dict[str, Any]) -> str:
    """The pod that `input: {podId}` names."""
    return str((arguments.get("input") or {}).get("podId", ""))


def wanted(given: dict[str, Any], *, interruptable: bool) -> Pod:
    """The pod that an input describes. Raises Refused, for a bid that is too low too."""
    cloud, gpu_id = str(given.get("cloudType", "ALL")), given.get("gpuTypeId")
    count = int(given.get("gpuCount") or 1)
    price = price_of(str(gpu_id), count, cloud) if gpu_id else catalog.CPU_PRICE * 2
    bid = given.get("bidPerGpu")
    if interruptable:
        if bid is None:
            raise Refused(400, "bidPerGpu is required")
        if float(bid) * count < price * catalog.SPOT:
            raise Refused(500, NO_CAPACITY)
        price = float(bid) * count
    ports = given.get("ports") or ""
    return Pod(
        id=new_id(),
        name=str(given.get("name", "")),
        image=str(given.get("imageName", "")),
        price=round(price, 4),
        gpu={"id": gpu_id, "count": count} if gpu_id else None,
        cpu=None if gpu_id else {"id": given.get("instanceId", "cpu3c")},
        args=str(given.get("dockerArgs") or ""),
        disk=int(given.get("containerDiskInGb") or 20),
        volume=str(given.get("volumeMountPath") or "/workspace") if given.get("volumeInGb") else "",
        volume_gb=int(given.get("volumeInGb") or 0),
        ports=checked_ports(port for port in ports.split(",") if port),
        env={str(each["key"]): str(each["value"]) for each in given.get("env") or []},
        cloud=cloud,
        ssh=bool(given.get("startSsh", False)),
        interruptable=interruptable,
        bid=None if bid is None else float(bid),
        template=given.get("templateId"),
    )


def show(pod: Pod) -> dict[str, Any]:
    """A pod as GraphQL shows it."""
    ports = [
        {
            "ip": "127.0.0.1",
            "isIpPublic": port.endswith("/tcp"),
            "privatePort": int(port.partition("/")[0]),
            "publicPort": each.port,
            "type": port.partition("/")[2],
        }
        for port, each in pod.open.items()
    ]
    up = int(time.time() - pod.started.timestamp()) if pod.started else 0
    gpu = catalog.find(pod.gpu["id"]) if pod.gpu else None
    return {
        "id": pod.id,
        "name": pod.name,
        "imageName": pod.image,
        "containerDiskInGb": pod.disk,
        "costPerHr": pod.cost,
        "desiredStatus": "EXITED" if pod.status in {"EXITED", "ERROR"} else "RUNNING",
        "dockerArgs": pod.args,
        "env": [f"{name}={value}" for name, value in pod.env.items()],
        "gpuCount": pod.gpu["count"] if pod.gpu else 0,
        "lastStatusChange": "",
        "machineId": "sandbox",
        "memoryInGb": 16,
        "podType": "INTERRUPTABLE" if pod.interruptable else "RESERVED",
        "ports": ",".join(pod.ports),
        "uptimeSeconds": up,
        "vcpuCount": 2,
        "volumeInGb": pod.volume_gb,
        "volumeMountPath": pod.volume,
        "runtime": {"uptimeInSeconds": up, "ports": ports} if pod.status == "RUNNING" else None,
        "machine": {"gpuDisplayName": gpu.name if gpu else None, "podHostId": f"{pod.id}-64410001"},
    }
