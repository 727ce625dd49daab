"""Several hosts under one name: a run takes one that is free, says who holds the others, and gives it back by ending."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.agentbox import until
from tests.conftest import Result, World
from tests.sshbox import SshBox, ssh_box

WAITS = """\
import pathlib, sys, time
print("on", pathlib.Path.home().name, flush=True)
gate = pathlib.Path(sys.argv[1])
while not gate.exists():
    time.sleep(0.05)
"""


@pytest.fixture
def lab(world: World, tmp_path: Path) -> Iterator[list[SshBox]]:
    """Two hosts, each with a home of its own, known as ``a`` and ``b``."""
    with ExitStack() as stack:
        found = []
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            found.append(
                stack.enter_context(ssh_box(tmp_path / f"box-{name}", env={"HOME": str(tmp_path / name)}))
            )
        joined = tmp_path / "config"
        texts = [
            box.config.read_text().replace("Host box gpubox", f"Host {n}")
            for n, box in zip("ab", found, strict=True)
        ]
        joined.write_text("".join(texts))
        world.env["RUNCTL_SSH_CONFIG"] = str(joined)
        yield found
        (tmp_path / "gate").touch()


@pytest.fixture
def project(world: World) -> Path:
    settings = 'target = "lab"\n[hosts]\nlab = "ssh://a ssh://b"\n'
    return world.project({"train.py": WAITS, ".runctl.toml": settings})


def train(world: World, project: Path, *options: str) -> Result:
    return world.runctl("train", "train.py", *options, "--", world.root / "gate", cwd=project)


def test_each_run_has_a_host_of_its_own_and_gives_it_back(
    world: World, lab: list[SshBox], project: Path
) -> None:
    first, second = train(world, project, "--detach"), train(world, project, "--detach")
    assert (first.code, second.code) == (0, 0), first.err + second.err
    names = [first.out.strip(), second.out.strip()]
    held = {run["name"]: run["machine"] for run in world.runctl("runs", "--json").json()}
    assert held == {names[0]: "a", names[1]: "b"}

    third = train(world, project, "--detach")
    assert (third.code, "error[pool-full]" in third.err) == (4, True), third.err
    assert f"a: it runs {names[0]}" in third.err
    assert f"b: it runs {names[1]}" in third.err

    (world.root / "gate").touch()
    until(lambda: world.runctl("show", names[1], "--json").json()["state"] == "ended", "the second ends")
    again = train(world, project)
    assert again.code == 0, again.err


def test_shared_hosts_take_several_runs(world: World, lab: list[SshBox], project: Path) -> None:
    assert [train(world, project, "--detach", "--share").code for _ in range(3)] == [0, 0, 0]


def test_a_host_that_is_down_is_passed_over(world: World, lab: list[SshBox], project: Path) -> None:
    lab[0].stop()
    (world.root / "gate").touch()
    got = train(world, project)
    assert (got.code, got.out) == (0, "on b\n"), got.err


def test_what_no_host_has_is_said_of_each(world: World, lab: list[SshBox], project: Path) -> None:
    lab[1].stop()
    got = train(world, project, "--memory", "9999")
    assert (got.code, "error[pool-full]" in got.err) == (4, True), got.err
    assert "a: 9999 GiB memory wanted" in got.err
    assert "b: nothing answers at the SSH port of b" in got.err


def test_a_pool_is_no_single_place_to_sync_to(world: World, lab: list[SshBox], project: Path) -> None:
    got = world.runctl("sync", "lab", cwd=project)
    assert (got.code, "error[sync-which-machine]" in got.err) == (2, True), got.err
    assert "ssh://a, ssh://b" in got.err
