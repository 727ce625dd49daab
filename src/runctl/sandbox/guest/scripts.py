"""Run Command inside the instance: the lines of AWS-RunShellScript, run by `sh`, watched and told of."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

OUTPUT_LIMIT = 24_000  # characters of each stream that are sent; the service cuts stderr shorter
TRUNCATED = "--output truncated--"
REPLY_LIMIT = 120_000  # bytes of JSON: a larger reply is dropped, as the genuine agent drops it
TIMEOUTS = (5, 172_800)  # seconds; what is outside is taken for the default
DEFAULT_TIMEOUT = 3600
KILLED = 137  # the code of a command that was cancelled or took too long
DRAIN_SECONDS = 1.0  # for output still on its way once the group was killed
UPDATE_SECONDS = 0.05  # the reply "InProgress" follows the start by so much: often after the end
PLUGIN = "aws:runShellScript"

Send = Callable[[str, str, dict[str, Any]], None]  # job id, status, the plugin's result
Upload = Callable[[str, str, Path], Awaitable[None]]  # bucket, key, file


def execution_seconds(text: str) -> int:
    """The timeout as the agent takes it: what it cannot use is 3,600 without a word."""
    try:
        seconds = int(float(text))
    except ValueError:
        return DEFAULT_TIMEOUT
    return seconds if TIMEOUTS[0] <= seconds <= TIMEOUTS[1] else DEFAULT_TIMEOUT


def first_characters(path: Path) -> str:
    """The first 24,000 characters of a file, marked when there are more; bytes that are no UTF-8 become U+FFFD."""
    with path.open("rb") as file:
        data = file.read(4 * OUTPUT_LIMIT + 4)
    text = data.decode("utf-8", "replace")
    return text if len(text) <= OUTPUT_LIMIT else text[: OUTPUT_LIMIT - len(TRUNCATED)] + TRUNCATED


class Script:
    """One command of one job."""

    def __init__(self, job: str, content: dict[str, Any], folder: Path, environment: dict[str, str]) -> None:
        self.job = job
        self.content = content
        self.folder = folder / str(content.get("CommandId", "command"))
        self._environment = environment
        self._process: asyncio.subprocess.Process | None = None
        self.cancelled = False
        self.timed_out = False

    def cancel(self) -> None:
        """Kill the command's process group; safe to repeat, and before it has started."""
        self.cancelled = True
        self._kill()

    def _kill(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def run(self, send: Send, upload: Upload) -> None:
        """Run it to its end and tell of it; what cannot be started or written is a failure with the reason in stderr."""
        started = time.time()
        asyncio.get_running_loop().call_later(UPDATE_SECONDS, self._in_progress, send, started)
        try:
            code = await self._execute()
        except OSError as error:
            code = 1
            with contextlib.suppress(OSError):
                self._append("stderr", f"failed to run commands: {error}\n")
        if self.cancelled or self.timed_out:
            code = KILLED
        status = (
            "Cancelled"
            if self.cancelled
            else "TimedOut"
            if self.timed_out
            else "Success"
            if code == 0
            else "Failed"
        )
        if status == "Failed" and code:
            with contextlib.suppress(OSError):
                self._append("stderr", f"failed to run commands: exit status {code}")
        await self._upload(upload)
        send(self.job, status, self._result(status, code, started))

    def _in_progress(self, send: Send, started: float) -> None:
        send(self.job, "InProgress", self._result("InProgress", -1, started))

    async def _execute(self) -> int:
        parameters = self.content.get("Parameters", {})
        self.folder.mkdir(parents=True, exist_ok=True)
        script = self.folder / "_script.sh"
        lines = parameters.get("commands", [])
        script.write_text("\n".join(lines if isinstance(lines, list) else [lines]) + "\n", encoding="utf-8")
        for name in ("stdout", "stderr"):
            (self.folder / name).write_bytes(b"")
        self._process = process = await asyncio.create_subprocess_exec(
            "sh",
            str(script),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=parameters.get("workingDirectory") or str(self.folder.parent),
            env=self._environment,
            start_new_session=True,
        )
        if self.cancelled:
            self._kill()
        pumps: list[asyncio.Future[None]] = [
            asyncio.ensure_future(self._pump("stdout", process.stdout)),
            asyncio.ensure_future(self._pump("stderr", process.stderr)),
        ]
        limit = execution_seconds(str(parameters.get("executionTimeout", "")))
        try:
            await asyncio.wait_for(process.wait(), limit)
            # children that kept the streams keep the command going, until they end or its time is over
            await self._drained(pumps, limit)
        except TimeoutError:
            self.timed_out = not self.cancelled
            self._kill()
            await process.wait()
            await asyncio.wait(pumps, timeout=DRAIN_SECONDS)
        failed = [
            pump.exception() for pump in pumps if pump.done() and not pump.cancelled() and pump.exception()
        ]
        for pump in pumps:
            pump.cancel()
        if failed:
            raise OSError(str(failed[0]))
        code = process.returncode or 0
        return code if code >= 0 else 128 - code

    async def _drained(self, pumps: list[asyncio.Future[None]], limit: float) -> None:
        deadline = time.monotonic() + limit
        while not all(pump.done() for pump in pumps):
            if time.monotonic() > deadline:
                raise TimeoutError
            await asyncio.wait(pumps, timeout=DRAIN_SECONDS / 4)
            if self.cancelled:
                await asyncio.wait(pumps, timeout=DRAIN_SECONDS)
                return

    async def _pump(self, name: str, stream: asyncio.StreamReader | None) -> None:
        if stream is None:
            return
        with (self.folder / name).open("ab", buffering=0) as file:
            while piece := await stream.read(64 * 1024):
                file.write(piece)

    def _append(self, name: str, text: str) -> None:
        with (self.folder / name).open("a", encoding="utf-8") as file:
            file.write(text)

    async def _upload(self, upload: Upload) -> None:
        bucket = self.content.get("OutputS3BucketName")
        if not bucket:
            return
        instance = self.job.rpartition(".")[2]
        plain = PLUGIN.replace(":", "")
        parts = [
            str(self.content.get("OutputS3KeyPrefix", "")).strip("/"),
            self.folder.name,
            instance,
            plain,
            f"0.{plain}",
        ]
        prefix = "/".join(part for part in parts if part)
        for name in ("stdout", "stderr"):
            file = self.folder / name
            if file.exists() and file.stat().st_size:
                await upload(str(bucket), f"{prefix}/{name}", file)

    def _result(self, status: str, code: int, started: float) -> dict[str, Any]:
        over = status != "InProgress"
        streams = {}
        for name in ("stdout", "stderr"):
            file = self.folder / name
            streams[name] = first_characters(file) if over and file.exists() else ""
        return {
            "status": status,
            "code": code,
            "name": PLUGIN,
            "output": "",
            "startDateTime": _stamp(started),
            "endDateTime": _stamp(time.time()) if over else "0001-01-01T00:00:00.000Z",
            "outputS3BucketName": self.content.get("OutputS3BucketName", ""),
            "outputS3KeyPrefix": self.content.get("OutputS3KeyPrefix", ""),
            "stepName": "",
            "standardOutput": streams["stdout"],
            "standardError": streams["stderr"],
        }


def _stamp(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + f".{int(at % 1 * 1000):03d}Z"
