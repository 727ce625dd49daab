"""Which container engine a machine has, docker or podman, and whether it answers."""

from __future__ import annotations

import os
import shutil

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from typing import Any

ANSWER_TIMEOUT = 20  # seconds; a daemon that starts on its first request takes some
_ASKS = (
    ("docker", ["version", "--format", "{{.Server.Version}}"]),
    ("podman", ["info", "--format", "{{.Version.Version}}"]),
)


def describe(image: str) -> dict[str, Any]:
    """``{"engine", "version", "present", "tried"}``: the first engine that answers, and whether it has the image.

    ``engine`` is empty where none does; ``tried`` then says why each of those that are installed does not.
    """
    tried: list[dict[str, str]] = []
    for engine, ask in _ASKS:
        if shutil.which(engine) is None:
            continue
        code, out = call([engine, *ask])
        if code == 0 and out:
            present = call([engine, "image", "inspect", "--format", "{{.Id}}", image])[0] == 0
            return {"engine": engine, "version": out.split()[0], "present": present, "tried": tried}
        tried.append({"engine": engine, "why": (out.splitlines() or ["exit status %d" % code])[-1]})
    return {"engine": "", "version": "", "present": False, "tried": tried}


def call(argv: list[str]) -> tuple[int, str]:
    """Run a short command of an engine: its exit status and its words; 124 when it does not answer in time."""
    import subprocess  # noqa: PLC0415 - 10 ms that a run without an image does not pay

    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=ANSWER_TIMEOUT,
            check=False,
            env=dict(os.environ, LC_ALL="C"),
        )
    except subprocess.TimeoutExpired:
        return 124, "no answer within %d s" % ANSWER_TIMEOUT
    except OSError as error:
        return 127, error.strerror or str(error)
    return done.returncode, done.stdout.decode("utf-8", "replace").strip()
