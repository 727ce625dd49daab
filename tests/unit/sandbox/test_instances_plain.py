"""Instances as ordinary processes: the same interface, and what is weaker is said."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.unit.sandbox.instance_world import go, place, until

from runctl.sandbox.instances import janitor

ASK = f"""
{sys.executable} - <<'END'
import os, urllib.request
at = os.environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"] + "/latest/"
put = urllib.request.Request(at + "api/token", method="PUT", headers={{"X-aws-ec2-metadata-token-ttl-seconds": "60"}})
token = urllib.request.urlopen(put).read().decode()
get = urllib.request.Request(at + "meta-data/instance-id", headers={{"X-aws-ec2-metadata-token": token}})
print("imds:", urllib.request.urlopen(get).read().decode())
END
"""


def test_the_life_of_a_plain_instance(tmp_path: Path) -> None:
    async def work() -> None:
        async with place(tmp_path / "m", plainly=True) as here:
            assert any("ordinary processes" in each for each in here.machines.weaker)
            log = "/var/log/agent.log"
            agent = {
                "argv": ["/bin/sh", "-c", "echo agent of $RUNCTL_SANDBOX_INSTANCE; exec sleep 1000"],
                "env": {},
                "log": log,
            }
            await here.run(
                "i-1", f"echo home=$HOME; echo kept > ~/word; {ASK} sleep 1000 & echo going", services=[agent]
            )
            seen = await here.says("i-1", "going")
            await here.says("i-1", "imds: i-1")
            folder = here.root / "instances/i-1"
            assert f"home={folder}/upper" in seen
            await until(lambda: "agent of i-1" in (folder / "log/agent.log").read_text(), "the agent")
            await here.machines.stop("i-1")
            assert janitor.marked(here.root) == []
            await here.machines.start("i-1")
            assert (folder / "upper/word").read_text() == "kept\n"
            image = await here.machines.snapshot_disk("i-1")
            await here.machines.terminate("i-1")
            assert not folder.exists()
            await here.run("i-2", "cat ~/word; echo looked", image_disk=image)
            assert "kept" in await here.says("i-2", "looked")

    go(work)


def test_a_plain_instance_powers_itself_off(tmp_path: Path) -> None:
    async def work() -> None:
        async with place(tmp_path / "m", plainly=True) as here:
            await here.run("i-1", "shutdown -h +60; shutdown -c; shutdown -h now")
            await until(lambda: here.ended == ["i-1"], "the power off")
            await here.run("i-2", "[ -e ~/again ] || { touch ~/again; reboot; }")
            again = here.root / "instances/i-2/upper/again"
            await until(again.exists, "the first boot")

    go(work)


def test_a_plain_volume_is_a_folder_that_survives(tmp_path: Path) -> None:
    async def work() -> None:
        async with place(tmp_path / "m", plainly=True) as here:
            wait = "until [ -d ~/volumes/sdf ]; do sleep 0.02; done; "
            await here.run("i-1", wait + "echo precious > ~/volumes/sdf/data; echo wrote")
            await here.machines.attach_volume("i-1", "vol-1", "/dev/sdf")
            await here.says("i-1", "wrote")
            await here.machines.terminate("i-1")
            await here.machines.copy_volume("vol-1", "vol-2")
            await here.run("i-2", wait + "echo read-$(cat ~/volumes/sdf/data)")
            await here.machines.attach_volume("i-2", "vol-2", "/dev/sdf")
            await here.says("i-2", "read-precious")
            await here.machines.detach_volume("i-2", "vol-2")
            await here.machines.delete_volume("vol-2")

    go(work)


def test_nothing_stays_after_the_end(tmp_path: Path) -> None:
    async def work() -> None:
        async with place(tmp_path / "m", plainly=True) as here:
            await here.run("i-1", "setsid sleep 1000 & sleep 1000")
            await until(
                lambda: len(janitor.marked(here.root)) >= 2 or not os.path.isdir("/proc/self"),
                "the processes",
            )

    go(work)
    assert janitor.marked(tmp_path / "m") == []
    assert not (tmp_path / "m").exists()
