"""A fresh AWS machine until the script starts, by where its environment comes from: cold, volume, store, image.

On the sandbox, as root, with real packages: torch (its CPU build) where ``tests/wheels.sh`` could fetch it, else what the
digits example needs. They come from an index on loopback, so downloading costs almost nothing here, and what is
saved over a real network is more. Each sample is a machine of its own, ended when its script has begun.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.cloud import new_cloud, until
from benchmarks.measure import Row, in_turns
from benchmarks.world import RUNCTL, new_world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.cloud import Cloud
    from benchmarks.world import World

WHEELS = Path(__file__).parents[1] / ".venv/wheels"
DIGITS = Path(__file__).parents[1] / "examples/digits/requirements.txt"
SCRIPT = "import time\nprint('begun', flush=True)\ntime.sleep(600)\n"
TYPE = ("--instance-type", "t3.micro", "--region", "us-east-1")
INSTALLER = ("--installer", "pip")  # what the images of AWS have
VOLUME = ("--cache-volume=bench", "--cache-volume-gb", "10")


def rows(*, rounds: int) -> list[Row]:
    """Seconds of the step that makes the environment, and from buying to the script's start; over the cold ones."""
    if os.geteuid() != 0:
        return [Row("a fresh machine", (0.0,), note="not measured: volumes and images take root")]
    with _index() as address, new_world() as world:
        for name in ("PIP_CONFIG_FILE", "UV_NO_CONFIG"):  # machines are led to the index by their files
            del world.env[name]
        world.env |= {"PIP_INDEX_URL": address}  # which lets the sandbox's machines reach it
        with new_cloud(world) as cloud:
            bench = _Bench(world, cloud, address)
            found = bench.measure(rounds)
    out = []
    for part, title in enumerate(("environment", "bought until the script starts")):
        cold = Row(f"{title}: cold", tuple(each[part] for each in found["cold"]), note=bench.note)
        out.append(cold)
        out += [
            Row(f"{title}: {name}", tuple(each[part] for each in found[name]), floor=cold.value)
            for name in ("from the cache volume", "from the store", "in the image")
        ]
    return out


class _Bench:
    """One account and one project; what a way must not find is removed before it is measured."""

    def __init__(self, world: World, cloud: Cloud, address: str) -> None:
        self._cloud = cloud
        self._env = {**world.env, **cloud.env}
        torch = sorted(WHEELS.glob("torch-*"))
        needs = f"torch=={torch[0].name.split('-')[1]}\n" if torch else DIGITS.read_text()
        self.note = needs.split()[0].replace("==", " ") if torch else "scikit-learn of examples/digits"
        lines = f"--index-url {address}\n--trusted-host 127.0.0.1\n{needs}"
        self._project = world.project("fresh", {"train.py": SCRIPT, "requirements.txt": lines})
        self._ran("aws", "setup", "--yes")

    def measure(self, rounds: int) -> dict[str, list[tuple[float, float]]]:
        """Each way's samples: (environment, until the script starts)."""
        samples: dict[str, list[tuple[float, float]]] = {}

        def keep(name: str, *options: str, says: str) -> float:
            found = self._sample(*options, says=says)
            samples.setdefault(name, []).append(found)
            return found[0]

        def cold() -> float:
            self._forget()
            return keep("cold", says="package")

        def volume() -> float:
            self._forget()
            return keep("from the cache volume", *VOLUME, says="from the cache volume")

        self._sample(*VOLUME, says="package")
        in_turns({"cold": cold, "volume": volume}, rounds=rounds, warm_up=0)
        self._store()
        in_turns(
            {"store": lambda: keep("from the store", says="restored from the store")},
            rounds=rounds,
            warm_up=0,
        )
        self._ran("aws", "ami", "bake", "train.py", *TYPE, "--yes", RUNCTL_INSTALLER="pip")
        in_turns({"image": lambda: keep("in the image", says="cached")}, rounds=rounds, warm_up=0)
        return samples

    def _sample(self, *options: str, says: str) -> tuple[float, float]:
        """One run on a machine of its own, cancelled once its script has begun."""
        words = [
            RUNCTL,
            "train",
            "train.py",
            "--on",
            "aws",
            *TYPE,
            *INSTALLER,
            *options,
            "--yes",
            "--json",
            "--grace",
            "0",
        ]
        process = subprocess.Popen(
            words, cwd=self._project, env=self._env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        bought = built = began = 0.0
        told = ""
        with process.stdout as lines:
            for line in lines:
                event = json.loads(line)
                step, kind = event.get("step"), event["kind"]
                if kind in ("notice", "step.failed", "error"):
                    told += f"{kind} {event.get('text') or event.get('what')}\n"
                if (kind, step) == ("step.started", "acquire"):
                    bought = _at(event)
                if (kind, step) == ("step.finished", "environment"):
                    built = event["seconds"]
                    assert says in event["summary"], f"{event['summary']}: {told}"
                if kind == "run.changed" and event.get("state") == "running" and not began:
                    began = _at(event)
                    self._ran("cancel", event["run"])
        process.wait()
        assert began, f"the run ended with {process.returncode}: {told}"
        until(lambda: not self._alive(), limit=120)
        return built, began - bought

    def _alive(self) -> bool:
        groups = self._cloud.client("ec2").describe_instances()["Reservations"]
        return any(each["State"]["Name"] != "terminated" for group in groups for each in group["Instances"])

    def _forget(self) -> None:
        """Remove every environment from the store."""
        for bucket, key in list(self._environments()):
            self._cloud.client("s3").delete_object(Bucket=bucket, Key=key)

    def _environments(self) -> Iterator[tuple[str, str]]:
        s3 = self._cloud.client("s3")
        for bucket in s3.list_buckets()["Buckets"]:
            for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket["Name"]):
                for each in page.get("Contents", ()):
                    if "/envs/" in each["Key"]:
                        yield bucket["Name"], each["Key"]

    def _store(self) -> None:
        """A run whose environment is stored while its script goes on."""
        self._forget()
        self._ran("train", "train.py", "--on", "aws", *TYPE, *INSTALLER, "--yes", "--detach", "--grace", "0")
        until(lambda: any(key.endswith("/manifest.json") for _, key in self._environments()), limit=300)
        self._ran("cancel", "latest")
        until(lambda: not self._alive(), limit=120)

    def _ran(self, *words: str, **more: str) -> None:
        done = subprocess.run(
            [RUNCTL, *words],
            cwd=self._project,
            env={**self._env, **more},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"runctl {' '.join(words)}: {done.stderr.decode()[-2000:]}")


def _at(event: dict[str, Any]) -> float:
    import datetime as dt  # noqa: PLC0415 - here only

    return dt.datetime.fromisoformat(event["ts"]).timestamp()


@contextlib.contextmanager
def _index() -> Iterator[str]:
    """The address of an index (PEP 503) of the wheels, whose files may be kept, as those of the great one."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            name = self.path.strip("/").rpartition("/")[2]
            if self.path.startswith("/simple/"):
                files = [
                    each.name for each in WHEELS.glob("*.whl") if _normal(each.name.split("-")[0]) == name
                ]
                links = "".join(f'<a href="/files/{each.replace("+", "%2B")}">{each}</a>' for each in files)
                self._send(links.encode(), "text/html", "no-cache")
            else:
                file = WHEELS / name.replace("%2B", "+")
                self._send(file.read_bytes(), "application/octet-stream", "max-age=365000000, immutable")

        def _send(self, data: bytes, kind: str, kept: str) -> None:
            self.send_response(200)
            for key, value in (
                ("Content-Type", kind),
                ("Content-Length", len(data)),
                ("Cache-Control", kept),
            ):
                self.send_header(key, str(value))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/simple/"
    finally:
        server.shutdown()
        server.server_close()


def _normal(name: str) -> str:
    return name.lower().replace("_", "-")
