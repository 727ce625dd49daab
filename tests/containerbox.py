"""A real podman with a real image: this interpreter's Python, packed into a root folder and imported."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

IMAGE = "localhost/python-here:1"
LIMIT = 1024  # files and processes: below what any test machine has, so that it may be set


def engine_here(folder: Path) -> dict[str, str]:
    """Variables under which podman works in ``folder``: storage of its own, limits that may be set where tests run."""
    (folder / "containers.conf").write_text(
        f'[containers]\ndefault_ulimits=["nofile={LIMIT}:{LIMIT}","nproc={LIMIT}:{LIMIT}"]\n'
        '[engine]\nruntime="runc"\ncgroup_manager="cgroupfs"\nevents_logger="file"\n'
    )
    (folder / "storage.conf").write_text(
        f'[storage]\ndriver="vfs"\nrunroot="{folder}/run"\ngraphroot="{folder}/storage"\n'
    )
    return {
        "CONTAINERS_CONF": str(folder / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
    }


def make_image(folder: Path, env: dict[str, str]) -> None:
    """Import the image; raises ``CalledProcessError`` where podman cannot."""
    root = folder / "root"
    home = Path(sys.base_prefix)
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    shutil.copytree(
        home / "lib" / version,
        root / f"{home}/lib/{version}".lstrip("/"),
        symlinks=True,
        ignore=shutil.ignore_patterns("site-packages", "test", "__pycache__", "idlelib", "config-*"),
    )
    real = Path(sys.base_exec_prefix, "bin", version)
    programs = [Path(shutil.which(name) or name).resolve() for name in ("sh", "sed")]
    needed = {str(real)}
    for program in (real, *programs, *Path(home, "lib", version, "lib-dynload").glob("*.so")):
        out = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False).stdout
        needed |= {word for word in out.split() if word.startswith("/")}
    for path in needed:
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(os.path.realpath(path), target)
    (root / "bin").mkdir(exist_ok=True)
    for name, program in zip(("sh", "sed"), programs, strict=True):
        shutil.copy(program, root / "bin" / name)
    link = root / "usr/bin/python3"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(real)
    for name in ("tmp", "etc"):
        (root / name).mkdir(exist_ok=True)
    (root / "etc/made-of").write_text("an image\n")
    subprocess.run(
        f"tar -C '{root}' -c . | podman import -c ENV=PATH={home}/bin:/usr/bin:/bin - {IMAGE}",
        shell=True,
        env=os.environ | env,
        check=True,
        capture_output=True,
    )
    shutil.rmtree(root)


def runs_here(env: dict[str, str]) -> str:
    """Why podman cannot run a container here; empty when it can."""
    argv = ["podman", "run", "--rm", "--pid=host", "--network=host", "--ipc=host", "--entrypoint", "python3"]
    done = subprocess.run(
        [*argv, IMAGE, "-c", "print(1)"], env=os.environ | env, capture_output=True, text=True, check=False
    )
    return "" if done.returncode == 0 else done.stderr.strip()[-300:]


def engine_or_skip(folder: Path) -> dict[str, str]:
    """Variables under which podman has ``IMAGE`` and runs it; skips the test where it cannot."""
    env = engine_here(folder)
    try:
        make_image(folder, env)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"podman makes no image here: {error.stderr.decode()[-300:]}")
    if why := runs_here(env):
        pytest.skip(f"podman runs no container here: {why}")
    return env
