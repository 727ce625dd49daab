"""SSM behind the real front on a real port, with agents as plain processes: each has a metadata service of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import boto3
from botocore.config import Config

from runctl.sandbox import http, ssm
from runctl.sandbox.call import Cloud, InstanceFacts
from runctl.sandbox.front import Front
from runctl.sandbox.s3 import S3
from runctl.sandbox.state import State
from runctl.sandbox.weather import Weather, parse

T = TypeVar("T")
REGION = "us-east-1"


def until(condition: Callable[[], T | None], *, seconds: float = 20.0, what: str = "") -> T:
    """The first true value of `condition`; fails when there is none in time."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"never came true: {what or condition}"
        time.sleep(0.01)
    return value


class Directory:
    """EC2 as SSM sees it."""

    def __init__(self) -> None:
        self.all: dict[str, InstanceFacts] = {}

    def add(self, instance: str, **changes: Any) -> None:
        facts = InstanceFacts(instance, "running", "trainer", {}, "Linux", REGION, "t3.micro", "10.0.0.1")
        self.all[instance] = facts._replace(**changes)

    def describe(self, instance: str) -> InstanceFacts | None:
        return self.all.get(instance)

    def instances(self, region: str | None = None) -> list[InstanceFacts]:
        return [each for each in self.all.values() if region in (None, each.region)]


class SsmBox:
    """One sandbox with nothing but SSM in it, on a loop in a thread of its own."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.ec2 = Directory()
        self.agents: dict[str, subprocess.Popen[bytes]] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.ssm: Any = None
        self.run(self._open(settings))

    async def _open(self, settings: dict[str, str]) -> None:
        self.state = State(self.folder / "state")
        self.weather = Weather(monotonic=time.monotonic)
        self.cloud = Cloud(self.state, self.weather, settings=settings, ec2=self.ec2)
        self.ssm = ssm.build(self.cloud)
        self.cloud.services.update(
            {"ssm": self.ssm, "s3": S3(self.state.path("s3"), lookup=self.state.lookup)}
        )
        self._server = await http.serve(Front(self.cloud).handle, "127.0.0.1", 0)
        self._metadata = await http.serve(self._imds, "127.0.0.1", 0)
        self.state.port = self._server.port

    def run(self, work: Any) -> Any:
        future: Future[Any] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result(30)

    async def _imds(self, request: http.Request) -> http.Response:
        _, instance, path = request.path.split("/", 2)
        held = self.state.role_credentials(instance, "trainer")
        expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(held.expires))
        credentials = {"AccessKeyId": held.access_key, "SecretAccessKey": held.secret, "Token": held.token}
        answers = {
            "latest/api/token": "token",
            "latest/meta-data/instance-id": instance,
            "latest/meta-data/placement/region": self.ec2.all[instance].region,
            "latest/meta-data/local-ipv4": "10.0.0.1",
            "latest/meta-data/iam/security-credentials/": "trainer",
            "latest/meta-data/iam/security-credentials/trainer": json.dumps(
                {**credentials, "Expiration": expires}
            ),
        }
        found = answers.get(path)
        return http.Response(200 if found else 404, (), (found or "").encode())

    def environment(self, instance: str) -> dict[str, str]:
        """How programs of an instance find the sandbox."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._server.port}",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{self._metadata.port}/{instance}",
        }

    def boot(self, instance: str = "i-0123456789abcdef0", *, wait: bool = True, **facts: Any) -> str:
        """An instance whose agent runs here, as a process with a home of its own."""
        self.ec2.add(instance, **facts)
        home = self.folder / instance
        home.mkdir(exist_ok=True)
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            **self.environment(instance),
        }
        with (home / "agent.log").open("ab") as log:
            self.agents[instance] = subprocess.Popen(
                [sys.executable, "-m", "runctl.sandbox.guest.agent"], env=env, stderr=log, stdout=log
            )
        if wait:
            until(lambda: self.ssm.agents.online(instance), what=f"{instance} is online")
        return instance

    def kill(self, instance: str, number: int = signal.SIGTERM) -> None:
        process = self.agents.pop(instance)
        process.send_signal(number)
        process.wait(20)

    def storm(self, **rule: Any) -> None:
        self.weather.add(parse(rule))

    def client(self, service: str = "ssm", *, region: str = REGION, checked: bool = True) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.state.endpoint,
            region_name=region,
            aws_access_key_id=self.state.access_key,
            aws_secret_access_key=self.state.secret,
            config=Config(
                parameter_validation=checked, retries={"total_max_attempts": 1}, max_pool_connections=50
            ),
        )

    def send(self, *lines: str, to: str, **more: Any) -> str:
        parameters = {"commands": list(lines), **more.pop("parameters", {})}
        answer = self.client().send_command(
            InstanceIds=[to], DocumentName="AWS-RunShellScript", Parameters=parameters, **more
        )
        return str(answer["Command"]["CommandId"])

    def result(self, command: str, instance: str, *, seconds: float = 20.0) -> dict[str, Any]:
        client = self.client()

        def over() -> dict[str, Any] | None:
            found: dict[str, Any] = client.get_command_invocation(CommandId=command, InstanceId=instance)
            return found if found["Status"] in ("Success", "Failed", "Cancelled", "TimedOut") else None

        return until(over, seconds=seconds, what=f"the end of {command}") or {}

    def close(self) -> None:
        for instance in list(self.agents):
            self.kill(instance)
        self.run(self._shut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _shut(self) -> None:
        await self.ssm.close()
        await self._server.close()
        await self._metadata.close()
