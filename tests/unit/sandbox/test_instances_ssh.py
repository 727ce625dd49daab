"""SSH hosts and RunPod pods, asked by OpenSSH itself; RunPod's APIs by plain HTTP."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.unit.sandbox.instance_world import OBSTACLE, Place, go, place

from runctl.sandbox import http, sshd
from runctl.sandbox.call import Call, Cloud
from runctl.sandbox.runpod import api_key
from runctl.sandbox.runpod.service import RunPod
from runctl.sandbox.sshhosts import SshHosts
from runctl.sandbox.state import State
from runctl.sandbox.weather import Rule, Weather

pytestmark = [
    pytest.mark.skipif(not sshd.available(), reason="no sshd here: apt-get install openssh-server"),
    pytest.mark.skipif(shutil.which("ssh") is None, reason="no ssh here: apt-get install openssh-client"),
]
OWN = pytest.param(False, marks=pytest.mark.skipif(bool(OBSTACLE), reason=f"no namespaces: {OBSTACLE}"))
KINDS = pytest.mark.parametrize("plainly", [OWN, True], ids=["own", "plain"])


async def command(*argv: str | Path) -> tuple[int | None, str]:
    """Exit status and output of a program."""
    process = await asyncio.create_subprocess_exec(
        *map(str, argv),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode, out.decode()


@KINDS
def test_an_ssh_host(tmp_path: Path, *, plainly: bool) -> None:
    async def work() -> None:
        async with place(tmp_path / "m", plainly=plainly) as here:
            hosts = SshHosts(here.machines, tmp_path / "ssh")
            box = await hosts.add("box")
            with pytest.raises(FileExistsError):
                await hosts.add("box")
            ssh = ("ssh", "-F", box.config, "box")
            code, out = await command(*ssh, 'echo "home=$HOME" in $(pwd); echo at=$AWS_ENDPOINT_URL; exit 7')
            assert code == 7, out
            home = str(here.root / "instances/ssh-box/upper") if plainly else "/root"
            assert f"home={home} in {home}" in out
            assert f"at=http://127.0.0.1:{here.server.port}" in out
            (tmp_path / "data").write_bytes(bytes(range(256)) * 4096)
            code, out = await command("scp", "-q", "-F", box.config, tmp_path / "data", "box:data")
            assert code == 0, out
            code, out = await command(*ssh, "sha256sum < data; rm data")
            assert out == (await command("sh", "-c", f"sha256sum < {tmp_path}/data"))[1]
            await hosts.add("second")
            assert (await command("ssh", "-F", box.config, "second", "echo yes"))[1] == "yes\n"
            await hosts.remove("box")
            assert (await command(*ssh, "true"))[0] == 255
            await hosts.close()

    go(work)


class Client:
    """Speaks to RunPod's APIs of the sandbox."""

    def __init__(self, here: Place, port: int, key: str) -> None:
        self.here, self.port, self.key = here, port, key

    async def __call__(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        data = json.dumps(body).encode() if body is not None else b""
        head = f"{method} /runpod{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self.key}\r\nConnection: close\r\nContent-Length: {len(data)}\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(head.encode() + data)
        answer = await reader.read()
        writer.close()
        first, _, rest = answer.partition(b"\r\n\r\n")
        return int(first.split()[1]), json.loads(rest) if rest else None

    async def query(self, text: str, **variables: Any) -> Any:
        status, answer = await self("POST", "/graphql", {"query": text, "variables": variables})
        assert status in {200, 400}
        return answer

    async def becomes(self, pod_id: str, status: str) -> Any:
        pod: Any = {}
        for _ in range(1000):
            _, pod = await self("GET", f"/v2/pods/{pod_id}")
            if pod["status"] == status:
                return pod
            assert pod["status"] != "ERROR"
            await asyncio.sleep(0.02)
        raise AssertionError(f"still {pod['status']}")


@asynccontextmanager
async def runpod(root: Path, *, plainly: bool) -> AsyncIterator[tuple[Client, Cloud]]:
    async with place(root / "m", plainly=plainly) as here:
        cloud = Cloud(
            State(root / "state"), Weather(monotonic=asyncio.get_running_loop().time), machines=here.machines
        )
        service = RunPod(cloud)

        async def handle(request: http.Request) -> http.Response:
            body = await request.body.read(1 << 20)
            return await service.handle(request, Call("runpod", "", "", "", "", "r", body))

        server = await http.serve(handle, "127.0.0.1", 0)
        try:
            yield Client(here, server.port, api_key(cloud.state.secret)), cloud
        finally:
            for reset in cloud.resets:
                await reset()
            await server.close()


def key_pair(folder: Path) -> tuple[Path, str]:
    key = sshd.make_key("me")
    path = folder / "key"
    path.touch(mode=0o600)
    path.write_text(key.private)
    return path, key.public


def login(key: Path, at: dict[str, Any], *words: str) -> tuple[str | Path, ...]:
    options = (
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
        "-o",
        "LogLevel=ERROR",
        "-o",
        "IdentitiesOnly=yes",
    )
    return ("ssh", *options, "-i", key, "-p", str(at["port"]), f"{at['username']}@{at['host']}", *words)


REQUEST = {
    "name": "p1",
    "image": "any/image",
    "gpu": {"id": "NVIDIA A40", "count": 2},
    "mounts": {"persistent": {"size": 20, "path": "/workspace"}},
    "ports": ["22/tcp"],
    "startSsh": True,
}


@pytest.mark.skipif(bool(OBSTACLE), reason=f"no namespaces: {OBSTACLE}")
def test_the_life_of_a_pod_over_rest(tmp_path: Path) -> None:
    async def work() -> None:
        key, public = key_pair(tmp_path)
        async with runpod(tmp_path, plainly=False) as (ask, _):
            status, pod = await ask(
                "POST", "/v2/pods", {**REQUEST, "env": {"PUBLIC_KEY": public, "WORD": "w1"}}
            )
            assert (status, pod["status"], pod["cost"], pod["ssh"]["direct"]) == (
                201,
                "PROVISIONING",
                0.8,
                None,
            )
            pod = await ask.becomes(pod["id"], "RUNNING")
            script = "echo $WORD; echo kept > /workspace/a; echo lost > /root/b"
            assert await command(*login(key, pod["ssh"]["direct"], script)) == (0, "w1\n")
            first = pod["ssh"]["direct"]["port"]
            status, pod = await ask("POST", f"/v2/pods/{pod['id']}/action", {"action": "stop"})
            assert (status, pod["status"], pod["cost"], pod["actions"]) == (
                200,
                "EXITED",
                0,
                ["start", "terminate"],
            )
            assert (await ask("POST", f"/v2/pods/{pod['id']}/action", {"action": "start"}))[0] == 200
            pod = await ask.becomes(pod["id"], "RUNNING")
            assert pod["ssh"]["direct"]["port"] != first
            script = "cat /workspace/a; test -e /root/b || echo gone"
            assert await command(*login(key, pod["ssh"]["direct"], script)) == (0, "kept\ngone\n")
            assert (await ask("DELETE", f"/v2/pods/{pod['id']}"))[0] == 204
            assert (await ask("GET", "/v2/pods"))[1] == {"pods": []}
            status, problem = await ask("GET", f"/v2/pods/{pod['id']}")
            assert (status, problem["title"]) == (404, "Not Found")

    go(work)


@KINDS
def test_a_pod_that_can_be_interrupted_over_graphql(tmp_path: Path, *, plainly: bool) -> None:
    async def work() -> None:
        key, public = key_pair(tmp_path)
        async with runpod(tmp_path, plainly=plainly) as (ask, cloud):
            await ask.query(f'mutation {{ updateUserSettings(input: {{pubKey: "{public}"}}) {{ id }} }}')
            rent = """mutation Rent($bid: Float!) { podRentInterruptable(input: {bidPerGpu: $bid, gpuTypeId: "NVIDIA A40",
                gpuCount: 1, cloudType: SECURE, name: "n", imageName: "i", ports: "22/tcp", startSsh: true,
                volumeInGb: 1, volumeMountPath: "/workspace", env: [{key: "A", value: "b"}]}) { id costPerHr podType } }"""
            refused = await ask.query(rent, bid=0.01)
            assert "no longer any instances available" in refused["errors"][0]["message"]
            cloud.weather.add(Rule("capacity", instance_type="NVIDIA A40", market="spot", times=1))
            assert "errors" in await ask.query(rent, bid=0.3)
            pod = (await ask.query(rent, bid=0.3))["data"]["podRentInterruptable"]
            assert (pod["costPerHr"], pod["podType"]) == (0.3, "INTERRUPTABLE")
            one = f'query {{ pod(input: {{podId: "{pod["id"]}"}}) {{ desiredStatus runtime {{ ports {{ ip publicPort privatePort }} }} }} }}'
            await ask.becomes(pod["id"], "RUNNING")
            port = (await ask.query(one))["data"]["pod"]["runtime"]["ports"][0]
            assert port["privatePort"] == 22
            _, shown = await ask("GET", f"/v2/pods/{pod['id']}")
            assert shown["ssh"]["direct"]["port"] == port["publicPort"]
            assert (await command(*login(key, shown["ssh"]["direct"], "echo $A")))[1] == "b\n"
            stop = f'mutation {{ podStop(input: {{podId: "{pod["id"]}"}}) {{ id desiredStatus }} }}'
            assert (await ask.query(stop))["data"]["podStop"]["desiredStatus"] == "EXITED"
            end = f'mutation {{ podTerminate(input: {{podId: "{pod["id"]}"}}) }}'
            assert await ask.query(end) == {"data": {"podTerminate": None}}
            assert (await ask.query("{ myself { pods { id } } }"))["data"]["myself"]["pods"] == []

    go(work)


@pytest.mark.skipif(bool(OBSTACLE), reason=f"no namespaces: {OBSTACLE}")
def test_a_pod_that_ends_by_itself_is_exited(tmp_path: Path) -> None:
    async def work() -> None:
        key, public = key_pair(tmp_path)
        async with runpod(tmp_path, plainly=False) as (ask, _):
            _, pod = await ask("POST", "/v2/pods", {**REQUEST, "env": {"PUBLIC_KEY": public}})
            pod = await ask.becomes(pod["id"], "RUNNING")
            await command(*login(key, pod["ssh"]["direct"], "poweroff"))
            await ask.becomes(pod["id"], "EXITED")
            assert ask.here.ended == []  # the pod's own concern

    go(work)


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"surprise": 1}, 400, "unknown field 'surprise'"),
        ({"cpu": {"id": "cpu3c"}}, 400, "exactly one of gpu and cpu"),
        ({"name": ""}, 422, "name and image are required"),
        ({"gpu": {"id": "NVIDIA B9000"}}, 400, "is not a GPU type"),
        ({"gpu": {"id": "NVIDIA A40", "count": 99}}, 400, "a pod has 1 to 10"),
        ({"ports": ["ssh"]}, 400, "a port is NUMBER/tcp"),
    ],
)
def test_what_a_create_request_may_not_say(
    tmp_path: Path, change: dict[str, Any], status: int, words: str
) -> None:
    async def work() -> None:
        async with runpod(tmp_path, plainly=True) as (ask, _):
            got, problem = await ask("POST", "/v2/pods", {**REQUEST, **change})
            assert (got, problem["status"]) == (status, status)
            assert words in problem["detail"]

    go(work)


def test_a_wrong_key_and_unknown_routes(tmp_path: Path) -> None:
    async def work() -> None:
        async with runpod(tmp_path, plainly=True) as (ask, _):
            assert (await ask("GET", "/v2/nothing"))[0] == 404
            assert len((await ask("GET", "/v2/catalog/gpus"))[1]["gpus"]) == 9
            assert (await ask("GET", "/v2/catalog/gpus/NVIDIA%20A40"))[1]["memory"] == 48
            assert "Cannot query field" in (await ask.query("{ elephants { id } }"))["errors"][0]["message"]
            ask.key = "wrong"
            assert (await ask("GET", "/v2/pods"))[0] == 401
            assert (await ask("POST", "/graphql", {"query": "{ myself { id } }"}))[0] == 401

    go(work)
