"""The sandbox's process: put together, listening, and taken apart again when it is asked to end."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import inspect
import json
import logging
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runctl.sandbox import http, instances, runpod, ssm
from runctl.sandbox.call import Cloud
from runctl.sandbox.console import Console
from runctl.sandbox.control import Control
from runctl.sandbox.ec2_rules import Ec2
from runctl.sandbox.front import Front
from runctl.sandbox.iam.guard import Guard
from runctl.sandbox.iam.identities import Identities
from runctl.sandbox.iam.service import Iam
from runctl.sandbox.iam.sts import Sts
from runctl.sandbox.moto_services import MODULES, Moto
from runctl.sandbox.pricing import Pricing
from runctl.sandbox.quotas import Quotas
from runctl.sandbox.s3 import S3
from runctl.sandbox.sshhosts import SshHosts
from runctl.sandbox.state import State, short
from runctl.sandbox.weather import Weather

if TYPE_CHECKING:
    from collections.abc import Sequence

log = logging.getLogger("runctl.sandbox")

CLOSE_SECONDS = 15.0  # for instances to be taken apart; the janitor finishes what takes longer


class Sandbox:
    """Every part of one sandbox, and the loop they share."""

    def __init__(self, state: State, *, seed: int = 0, settings: dict[str, str] | None = None) -> None:
        self.cloud = Cloud(state, Weather(monotonic=time.monotonic, seed=seed), settings=settings or {})
        self.moto = Moto(state)
        self.identities = Identities(state, self.moto)
        self.guard = Guard(self.cloud, self.moto, self.identities)
        self.cloud.guard = self.guard
        self.cloud.resets.append(self.identities.reset)
        self.ec2 = Ec2(self.cloud, self.moto)
        self.cloud.ec2 = self.ec2
        self._server: http.Server | None = None
        self._socket_folder = -1
        self.ended = asyncio.Event()

    async def start(self, port: int) -> None:
        """Listen on ``port`` of 127.0.0.1 (0: any) and on the unix socket. Raises OSError when it is taken."""
        cloud, state = self.cloud, self.cloud.state
        cloud.services.update(dict.fromkeys(MODULES, self.moto))
        cloud.services["ec2"] = Console(cloud, self.moto)
        cloud.services["iam"] = Iam(self.identities, self.moto)
        cloud.services["sts"] = Sts(state, self.identities, self.moto)
        cloud.services.update(
            {"pricing": Pricing(state), "servicequotas": Quotas(), "control": Control(cloud, self)}
        )
        self._open_s3()
        cloud.services["ssm"] = ssm.build(cloud)
        cloud.services["runpod"] = runpod.build(cloud)
        self.front = Front(cloud)
        state.socket.unlink(missing_ok=True)
        await self._add_machines()
        name, self._socket_folder = short(state.socket)
        self._server = await http.serve(self.front.handle, "127.0.0.1", port, unix=Path(name), now=state.now)
        state.port = self._server.port
        self.moto.warm(
            "ec2", "iam", "sts"
        )  # after listening: it takes a second or two, and S3 and SSM need none of it

    def _open_s3(self) -> None:
        state = self.cloud.state
        self.cloud.services["s3"] = self._s3 = S3(
            state.path("s3"), lookup=state.lookup, now=state.now, judge=self.guard.judge_s3
        )

    async def _add_machines(self) -> None:
        cloud = self.cloud
        machines = instances.build(cloud)
        await machines.begin()
        cloud.machines = machines
        self.hosts = SshHosts(machines, cloud.state.folder / "ssh")
        cloud.resets.append(self.hosts.close)
        machines.on_shutdown = self.ec2.guest_ended

    async def reset(self) -> None:
        """As after a fresh start, at the same address with the same credentials."""
        cloud = self.cloud
        cloud.weather.clear()
        await self.ec2.reset()
        await self.moto.run(self.moto.reset)
        for each in cloud.resets:
            await _maybe(each())
        await self.hosts.close()
        if cloud.machines is not None:
            await cloud.machines.reset()
        self._s3.close()
        await asyncio.to_thread(shutil.rmtree, cloud.state.path("s3"), ignore_errors=True)
        self._open_s3()
        cloud.state.reset()

    async def close(self) -> None:
        """Take everything apart. Safe to repeat."""
        if self._server is not None:
            await self._server.close(grace=0.2)
        await self.ec2.close()
        if self.cloud.machines is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.cloud.machines.close(), CLOSE_SECONDS)
        self.moto.close()
        self.cloud.state.socket.unlink(missing_ok=True)
        if self._socket_folder >= 0:
            os.close(self._socket_folder)
            self._socket_folder = -1


async def _maybe(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


async def _serve(args: argparse.Namespace) -> None:
    given = dict(pair.split("=", 1) for pair in args.set)
    state = State(Path(args.folder), name=args.name, region=args.region)
    sandbox = Sandbox(state, seed=args.seed, settings=given)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, sandbox.ended.set)
    try:
        await sandbox.start(args.port)
        state.write(started=time.time(), seed=args.seed, settings=sandbox.cloud.settings)
        _tell(args.ready, {"port": state.port})
        await sandbox.ended.wait()
    finally:
        await sandbox.close()


def _tell(descriptor: int, message: dict[str, Any]) -> None:
    """One line to whoever started us, who then need not ask again and again."""
    if descriptor >= 0:
        with contextlib.suppress(OSError):  # it has gone meanwhile
            os.write(descriptor, json.dumps(message).encode() + b"\n")
            os.close(descriptor)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one sandbox in this process until TERM; 1 when it could not start."""
    parser = argparse.ArgumentParser(prog="python -m runctl.sandbox.process")
    parser.add_argument("folder")
    parser.add_argument("--name", default="default")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--region", default="us-east-1")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument(
        "--ready", type=int, default=-1, help="descriptor for one line of JSON when it listens"
    )
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", stream=sys.stderr)
    try:
        asyncio.run(_serve(args))
    except Exception as error:
        log.exception("the sandbox could not start")
        _tell(args.ready, {"error": f"{type(error).__name__}: {error}"})
        return 1
    return 0


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # moto's thread may be inside a long import: nothing is left to wait for
