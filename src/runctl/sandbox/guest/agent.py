"""The stand-in for AWS's agent inside an instance: registers, holds a control channel, runs commands and sessions.

It speaks the protocol of the genuine agent and behaves as that was recorded to behave, oddities included. It takes
its identity and credentials from the instance's metadata service and finds the gateway at `AWS_ENDPOINT_URL`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import platform
import signal
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runctl.core import ssm_frames
from runctl.sandbox.guest import sessions
from runctl.sandbox.guest.aws import Identity
from runctl.sandbox.guest.channel import DataChannel, open_channel
from runctl.sandbox.guest.scripts import PLUGIN, REPLY_LIMIT, Script
from runctl.sandbox.ssm.websocket import BINARY, SocketClosed, WebSocket

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from runctl.core.ssm_frames import Frame

log = logging.getLogger("runctl.sandbox.guest")

VERSION = "3.0.161.0"  # from before the agent multiplexed ports: clients that look at it send plain TCP
PING_SECONDS = 60.0
REPLY_SECONDS = 2.0  # a reply that was not acknowledged is sent again
RECONNECT_SECONDS = (0.2, 5.0)
JOBS_REMEMBERED = 1_000


def go_json(value: Any) -> bytes:
    """JSON as Go writes it: `<`, `>`, `&` and U+FFFD escaped; its length decides whether a reply is sent at all."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for written in ("<", ">", "&", "\ufffd", "\u2028", "\u2029"):
        text = text.replace(written, f"\\u{ord(written):04x}")
    return text.encode("utf-8", "replace")


class Agent:
    """One agent of one instance."""

    def __init__(self, identity: Identity, endpoint: str, folder: Path) -> None:
        self._identity = identity
        self._endpoint = endpoint.rstrip("/")
        self._folder = folder
        self._control: WebSocket | None = None
        self._scripts: dict[str, Script] = {}
        self._seen: dict[str, None] = {}  # jobs taken, in order
        self._channels: dict[str, DataChannel] = {}
        self._replies: dict[str, tuple[bytes, float]] = {}  # message id -> the message, when it was sent
        self._tasks: set[asyncio.Future[Any]] = set()

    async def run(self) -> None:
        """Until it is cancelled: register, hold the control channel, and begin again when it is lost."""
        self._start(self._repeat())
        pause = RECONNECT_SECONDS[0]
        while True:
            try:
                if not self._identity.instance:
                    await self._identity.learn()
                await self._register()
                self._control = await open_channel(
                    self._identity, self._endpoint, "control-channel", self._identity.instance
                )
                pause = RECONNECT_SECONDS[0]
                for name, (data, _) in self._replies.items():
                    self._replies[name] = (data, time.monotonic())
                    self._control.send(data)
                while True:
                    for opcode, payload in await self._control.receive():
                        if opcode == BINARY:
                            self._take(payload)
            except (
                OSError,
                ValueError,
                KeyError,
                IndexError,
            ) as error:  # what a broken answer can raise, too
                log.info("not connected: %s: %s", type(error).__name__, error)
            self._control = None
            await asyncio.sleep(pause)
            pause = min(pause * 2, RECONNECT_SECONDS[1])

    def _start(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _register(self) -> None:
        system = _release()
        told = {
            "InstanceId": self._identity.instance,
            "AgentName": "amazon-ssm-agent",
            "AgentStatus": "Active",
            "AgentVersion": VERSION,
            "ComputerName": socket.gethostname(),
            "IPAddress": self._identity.address,
            "PlatformType": "Linux",
            "PlatformName": system.get("NAME", platform.system()),
            "PlatformVersion": system.get("VERSION_ID", platform.release()),
        }
        headers = {
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": "AmazonSSM.UpdateInstanceInformation",
        }
        body = json.dumps(told).encode()
        await self._identity.call("POST", f"{self._endpoint}/", service="ssm", body=body, headers=headers)

    async def _repeat(self) -> None:
        pinged = time.monotonic()
        while True:
            await asyncio.sleep(REPLY_SECONDS / 2)
            now = time.monotonic()
            for name, (data, sent) in list(self._replies.items()):
                if self._control is not None and now - sent > REPLY_SECONDS:
                    self._replies[name] = (data, now)
                    self._control.send(data)
            if now - pinged > PING_SECONDS and self._control is not None:
                pinged = now
                with contextlib.suppress(OSError):
                    await self._register()

    # --- messages -------------------------------------------------------------------------------------------

    def _tell(self, kind: str, body: dict[str, Any]) -> None:
        if self._control is not None:
            self._control.send(ssm_frames.encode(ssm_frames.new(kind, json.dumps(body).encode())))

    def _take(self, data: bytes) -> None:
        try:
            frame = ssm_frames.decode(data)
            body = json.loads(frame.payload or b"{}")
            if frame.type == "agent_job":
                self._job(frame, body)
            elif frame.type == "interactive_shell":
                content = json.loads(body["Content"])
                if content["SessionId"] not in self._channels:
                    self._start(self._session(content, str(body.get("Topic", ""))))
            elif frame.type == "agent_job_reply_ack":
                self._replies.pop(str(body.get("acknowledgedMessageId")), None)
        except (ValueError, KeyError, TypeError) as error:
            log.warning("a message that cannot be read: %s", error)

    def _job(self, frame: Frame, body: dict[str, Any]) -> None:
        job, topic = str(body["JobId"]), str(body["Topic"])
        content = json.loads(body["Content"])
        ack = {"jobId": job, "acknowledgedMessageId": ssm_frames.id_text(frame.id), "statusCode": "NoError"}
        self._tell("agent_job_ack", {**ack, "createdDate": str(frame.created_ms), "errorMessage": ""})
        if job in self._seen:
            return  # it was sent again because our acknowledgement was lost
        self._seen[job] = None
        while len(self._seen) > JOBS_REMEMBERED:
            del self._seen[next(iter(self._seen))]
        if topic.startswith("aws.ssm.cancelCommand"):
            found = self._scripts.get(str(content.get("CancelMessageId")))
            if found is not None:
                found.cancel()
        elif topic.startswith("aws.ssm.sendCommand"):
            self._scripts[job] = script = Script(job, content, self._folder, self._environment())
            self._start(self._run(script))

    async def _run(self, script: Script) -> None:
        try:
            await script.run(self._reply, self._upload)
        finally:
            del self._scripts[script.job]

    async def _upload(self, bucket: str, key: str, file: Path) -> None:
        try:
            await self._identity.upload(self._endpoint, bucket, key, file)
        except OSError as error:  # the command has ended as it has ended
            log.warning("output was not uploaded to %s/%s: %s", bucket, key, error)

    def _reply(self, job: str, status: str, result: dict[str, Any]) -> None:
        content = {
            "additionalInfo": {
                "agent": {
                    "lang": "en-US",
                    "name": "amazon-ssm-agent",
                    "os": "",
                    "osver": "1",
                    "ver": VERSION,
                },
                "dateTime": result["endDateTime"],
                "runId": "",
                "runtimeStatusCounts": {status: 1},
            },
            "documentStatus": status,
            "documentTraceOutput": "",
            "runtimeStatus": {PLUGIN: result},
        }
        text = go_json(content)
        if len(text) > REPLY_LIMIT:
            log.error("the reply for %s has %d bytes and is not sent", job, len(text))
            return
        body = {"schemaVersion": 1, "jobId": job, "content": text.decode(), "topic": "aws.ssm.sendCommand"}
        frame = ssm_frames.new("agent_job_reply", json.dumps(body).encode())
        data = ssm_frames.encode(frame)
        self._replies[ssm_frames.id_text(frame.id)] = (data, time.monotonic())
        if self._control is not None:
            self._control.send(data)

    async def _session(self, content: dict[str, Any], topic: str) -> None:
        name = str(content["SessionId"])
        channel = self._channels[name] = DataChannel(self._identity, self._endpoint, name)
        status, output = "Failed", ""
        try:
            status, output = await sessions.run(channel, content, self._environment(), version=VERSION)
        except Exception as error:
            log.exception("session %s", name)
            output = f"{type(error).__name__}: {error}"
        finally:
            done = {
                "SchemaVersion": 1,
                "TaskId": name,
                "Topic": topic,
                "FinalTaskStatus": status,
                "IsRoutingFailure": False,
                "InstanceId": self._identity.instance,
                "Output": output,
            }
            self._tell("agent_task_complete", done)
            await channel.close()
            del self._channels[name]

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "AWS_SSM_INSTANCE_ID": self._identity.instance,
            "AWS_SSM_REGION_NAME": self._identity.region,
            "AWS_SSM_PLATFORM_NAME": _release().get("NAME", ""),
            "AWS_SSM_PLATFORM_TYPE": "Linux",
        }

    async def close(self) -> None:
        """End sessions and commands with the agent, as a service that is stopped does."""
        for script in list(self._scripts.values()):
            script.cancel()
        for channel in list(self._channels.values()):
            await channel.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._control is not None:
            with contextlib.suppress(SocketClosed):
                await self._control.close()


def _release() -> dict[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}


async def _main() -> None:
    endpoint = os.environ.get("AWS_ENDPOINT_URL_SSM") or os.environ["AWS_ENDPOINT_URL"]
    folder = Path(os.environ.get("HOME") or "/root") / ".ssm-agent"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.chdir(folder)
    agent = Agent(Identity(), endpoint, folder)
    running = asyncio.ensure_future(agent.run())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, running.cancel)
    try:
        await running
    except asyncio.CancelledError:
        await agent.close()


def main() -> int:
    """Run until TERM. 2 when the environment does not say where the gateway is."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    if not (os.environ.get("AWS_ENDPOINT_URL_SSM") or os.environ.get("AWS_ENDPOINT_URL")):
        sys.stderr.write("AWS_ENDPOINT_URL is not set: where is the gateway?\n")
        return 2
    asyncio.run(_main())
    return 0


if __name__ == "__main__":
    sys.exit(main())
