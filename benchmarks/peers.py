"""The same small questions to two programs that also start a script on this machine: torchx and submitit.

They are installed by pip, with whatever index pip is configured for, into a temporary environment; nothing of it stays.
"""

from __future__ import annotations

import subprocess
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.measure import Row, in_turns, wall
from benchmarks.world import PYTHON, RUNCTL, new_world

if TYPE_CHECKING:
    from collections.abc import Callable

PEERS = ("torchx==0.7.0", "submitit==1.5.4")
SUBMIT = """
import submitit
executor = submitit.LocalExecutor(folder="logs")
executor.update_parameters(timeout_min=1)
assert executor.submit(int, "7").result() == 7
"""


def rows(*, rounds: int) -> list[Row]:
    """``--version``, ``--help`` and a no-op run, side by side with ours."""
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
    floor = Row("python -c pass", found.pop("python -c pass"))
    return [floor, *(Row(name, samples, floor=floor.value) for name, samples in found.items())]
