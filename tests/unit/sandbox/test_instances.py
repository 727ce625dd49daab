"""Instances in namespaces of their own, looked at from inside."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path

import pytest
from tests.unit.sandbox.instance_world import OBSTACLE, WHY, go, place, until

from runctl.sandbox.instances import janitor

pytestmark = pytest.mark.skipif(bool(OBSTACLE), reason=WHY)

IMDS = """
imds() { curl -sf -H "X-aws-ec2-metadata-token: $T" "http://169.254.169.254/latest/$1"; }
T=$(curl -sf -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' http://169.254.169.254/latest/api/token)
"""


def test_a_guest_is_a_machine_of_its_own(tmp_path: Path) -> None:
    async def work() -> None:
        async with place(tmp_path / "m") as here:
            assert here.machines.weaker == ()
            script = "echo id=$(id -u) home=$HOME host=$(hostname) pid1=$(tr '\\0' ' ' </proc/1/cmdline)\n"
            script += "ls -A /root /tmp | tr '\\n' ' '; ip -4 -o addr show eth0; getent hosts $(hostname); date -s 12:00\n"
            script += "echo new > /etc/of-the-guest; ls /proc/[0-9]* -d | wc -l; echo done-looking"
            await here.run("i-1", script)
            seen = await here.says("i-1", "done-looking")
            assert "id=0 home=/root host=ip-172-31-7-7.ec2.internal" in seen
            assert "init.py" in seen
            assert "172.31.7.7/16" in seen
            assert "172.31.7.7      ip-172-31-7-7" in seen
            assert "cannot set date" in seen  # the clock is the host's
            assert str(tmp_path.name) not in seen

    go(work)
    assert not os.path.exists("/etc/of-the-guest")


def test_nothing_outside_can_be_reached(tmp_path: Path) -> None:
    async def work() -> None:
        async with place(tmp_path / "m") as here:
            tries = """
import socket, time
for host in ("192.0.2.1", "10.77.3.40", "198.51.100.9"):
    started = time.monotonic()
    try:
        socket.create_connection((host, 22), 5)
        print("REACHED", host)
    except OSError as error:
        print(host, error.errno, time.monotonic() - started < 1)
print("routes:", open("/proc/net/route").read().count("00000000\\t00000000"), "tried")
"""
            await here.run("i-1", f"python3 - <<'END'\n{tries}\nEND")
            seen = await here.says("i-1", "tried")
            assert "REACHED" not in seen
            assert seen.count("101 True") == 3  # ENETUNREACH, at once

    go(work)


def test_guests_reach_the_front_and_each_other(tmp_path: Path) -> None:
    async def work() -> None:
        async with place(tmp_path / "m") as here:
            await here.run(
                "i-a", "cd /tmp && echo from-a > word && python3 -m http.server 8080", "172.31.0.1"
            )
            ask = "curl -s $AWS_ENDPOINT_URL/some/path; until curl -sf http://172.31.0.1:8080/word; do sleep 0.05; done"
            await here.run("i-b", ask, "172.31.0.2")
            seen = await here.says("i-b", "from-a")
            assert "front GET /some/path" in seen

    go(work)


def test_metadata_needs_a_token_and_tells_who_it_is(tmp_path: Path) -> None:
    async def work() -> None:
        async with place(tmp_path / "m") as here:
            script = (
                IMDS
                + """
echo v1=$(curl -s -o /dev/null -w '%{http_code}' http://169.254.169.254/latest/meta-data/instance-id)
echo ttl=$(curl -s -o /dev/null -w '%{http_code}' -X PUT http://169.254.169.254/latest/api/token)
echo id=$(imds meta-data/instance-id) zone=$(imds meta-data/placement/availability-zone) role=$(imds meta-data/iam/security-credentials/)
echo key=$(imds meta-data/iam/security-credentials/node | python3 -c 'import json,sys; print(json.load(sys.stdin)["AccessKeyId"])')
echo life=$(imds meta-data/instance-life-cycle) tag=$(imds meta-data/tags/instance/Name)
echo notice=$(curl -s -o /dev/null -w '%{http_code}' -H "X-aws-ec2-metadata-token: $T" http://169.254.169.254/latest/meta-data/spot/instance-action)
echo asked-once; until imds meta-data/spot/instance-action; do sleep 0.02; done; imds meta-data/events/recommendations/rebalance
echo; echo asked-all
"""
            )
            await here.run("i-1", script, profile="node", spot=True, tags={"Name": "n1"}, show_tags=True)
            await here.says("i-1", "asked-once")
            here.machines.rebalance("i-1")
            here.machines.notice("i-1", "terminate", 1_800_000_000)
            seen = await here.says("i-1", "asked-all")
            for line in (
                "v1=401",
                "ttl=400",
                "id=i-1 zone=us-east-1a role=node",
                "key=ASIAi-1",
                "life=spot tag=n1",
                "notice=404",
            ):
                assert line in seen, line
            assert '{"action": "terminate", "time": "2027-01-15T08:00:00Z"}' in seen
            assert "noticeTime" in seen

    go(work)


def test_stop_keeps_the_disk_and_user_data_runs_once(tmp_path: Path) -> None:
    async def work() -> None:
        async with place(tmp_path / "m") as here:
            await here.run("i-1", "echo kept > /root/word; echo ran >> /root/times; echo first-boot")
            await here.says("i-1", "first-boot")
            await here.machines.stop("i-1")
            await here.machines.stop("i-1")
            assert here.ended == []  # asked for, so nobody is told
            await here.machines.start("i-1")
            upper = here.root / "instances" / "i-1" / "upper"
            assert (upper / "root/word").read_text() == "kept\n"
            await here.boots("i-1", 2)
            await here.machines.reboot("i-1")
            await here.boots("i-1", 3)
            assert (upper / "root/times").read_text() == "ran\n"
            assert b"first-boot" in (upper / "var/log/cloud-init-output.log").read_bytes()
            await here.machines.terminate("i-1")
            assert not (here.root / "instances" / "i-1").exists()
            await here.machines.terminate("i-1")

    go(work)


@pytest.mark.parametrize("word", ["shutdown -h now", "/sbin/poweroff", "halt", "kill -38 1"])
def test_a_guest_that_powers_itself_off_is_noticed(tmp_path: Path, word: str) -> None:
    async def work() -> None:
        async with place(tmp_path / "m") as here:
            await here.run("i-1", word)
            await until(lambda: here.ended == ["i-1"], "the power off")
            await here.machines.start("i-1")  # and can be started again
            await here.boots("i-1", 2)

    go(work)


def test_a_guest_that_reboots_comes_back(tmp_path: Path) -> None:
    async def work() -> None:
        async with place(tmp_path / "m") as here:
            await here.run("i-1", "shutdown -h +60; shutdown -c; reboot")
            await here.boots("i-1", 2)
            assert here.ended == []

    go(work)


def test_an_instance_that_dies_is_told_of(tmp_path: Path) -> None:
    async def work() -> None:
        async with place(tmp_path / "m") as here:
            await here.run("i-1", "trap '' TERM; echo up; sleep 1000")
            await here.says("i-1", "up")
            started = time.monotonic()
            await here.machines.kill("i-1")
            assert time.monotonic() - started < 2
            assert here.ended == ["i-1"]

    go(work)


def test_orphans_are_reaped_and_services_come_back(tmp_path: Path) -> None:
    async def work() -> None:
        async with place(tmp_path / "m") as here:
            log = "/var/log/count.log"
            service = {"argv": ["/bin/sh", "-c", "echo started; exit 3"], "env": {}, "log": log}
            script = "for n in $(seq 50); do ( ( sleep 0.01 & ) & ); done; sleep 0.5; echo zombies=$(ps -eo stat | grep -c ^Z)"
            await here.run("i-1", script, services=[service])
            assert "zombies=0" in await here.says("i-1", "zombies=")
            file = here.root / "instances/i-1/upper" / log.lstrip("/")
            await until(lambda: file.read_text().count("started") >= 2, "a service that is started again")

    go(work)


def test_an_image_holds_the_disk_it_was_made_from(tmp_path: Path) -> None:
    async def work() -> None:
        async with place(tmp_path / "m") as here:
            script = "echo baked > /opt/baked; rm /etc/issue; truncate -s 1G /opt/hole; ln -s baked /opt/link; echo made"
            await here.run("i-1", script)
            await here.says("i-1", "made")
            image = await here.machines.snapshot_disk("i-1")
            await here.machines.terminate("i-1")
            look = "echo $(cat /opt/link; ls /etc/issue 2>/dev/null || echo no-issue; stat -c %s /opt/hole) looked"
            await here.run("i-2", look, image_disk=image)
            seen = await here.says("i-2", "looked")
            assert "baked no-issue 1073741824 looked" in seen  # its own user data ran: another instance
            assert (image / "upper/opt/hole").stat().st_blocks == 0
            await here.machines.delete_disk(image)
            assert not image.exists()

    go(work)


@pytest.mark.skipif(not os.path.exists("/dev/loop-control"), reason="no loop devices here")
def test_a_volume_is_a_block_device_and_survives(tmp_path: Path) -> None:
    async def work() -> None:
        async with place(tmp_path / "m") as here:
            wait = "until [ -b /dev/xvdf ]; do sleep 0.02; done\n"
            first = (
                wait
                + "mkfs.ext4 -q /dev/sdf && mount /dev/nvme1n1 /mnt && echo precious > /mnt/data && umount /mnt; echo wrote"
            )
            await here.run("i-1", first, "172.31.0.1")
            await here.machines.attach_volume("i-1", "vol-1", "/dev/sdf", gib=1)
            await here.says("i-1", "wrote")
            await here.machines.terminate("i-1")
            await here.machines.copy_volume("vol-1", "snap-1")
            await here.machines.copy_volume("snap-1", "vol-2")
            second = wait + "mount /dev/xvdf /mnt && cat /mnt/data; df -m /mnt; echo read-$(cat /mnt/data)"
            for number, volume in enumerate(("vol-1", "vol-2"), 2):
                await here.run(f"i-{number}", second, f"172.31.0.{number}")
                await here.machines.attach_volume(f"i-{number}", volume, "/dev/sdf")
                await here.says(f"i-{number}", "read-precious")
                await here.machines.detach_volume(f"i-{number}", volume)
            await here.machines.delete_volume("vol-1")
            assert not (here.root / "volumes/vol-1").exists()
        assert janitor.mounts(tmp_path) == []

    go(work)


def test_a_full_disk_refuses_writes_until_it_is_freed(tmp_path: Path) -> None:
    async def work() -> None:
        async with place(tmp_path / "m") as here:
            script = """
until ! dd if=/dev/zero of=/root/big bs=4k count=1 2>/tmp/why; do sleep 0.02; done
python3 -c 'open("/opt/x", "w").write("x" * 9000)' 2>&1 | tail -1; head -1 /etc/hostname
until dd if=/dev/zero of=/root/big bs=4k count=1 2>/dev/null; do sleep 0.02; done; echo free-again
"""
            await here.run("i-1", script)
            await here.boots("i-1", 1)
            here.machines.fill_disk("i-1", full=True)
            seen = await here.says("i-1", "No space left on device")
            here.machines.fill_disk("i-1", full=False)
            seen = await here.says("i-1", "free-again")
            assert "ip-172-31-7-7" in seen  # reading went on

    go(work)


def test_twenty_at_once(tmp_path: Path) -> None:
    async def work() -> None:
        async with place(tmp_path / "m") as here:
            started = time.monotonic()
            await asyncio.gather(*(here.run(f"i-{n}", "echo up", f"172.31.1.{n + 1}") for n in range(20)))
            took = time.monotonic() - started
            await asyncio.gather(*(here.says(f"i-{n}", "up") for n in range(20)))
            assert took < 15  # 0.6 s on two idle cores
            await asyncio.gather(*(here.machines.terminate(f"i-{n}") for n in range(20)))
            assert list((here.root / "instances").iterdir()) == []

    go(work)


def test_the_boot_time_can_be_set(tmp_path: Path) -> None:
    async def work() -> None:
        async with place(tmp_path / "m", boot_seconds=0.4) as here:
            started = time.monotonic()
            await here.run("i-1", "true")
            assert time.monotonic() - started >= 0.4

    go(work)


def test_an_instance_that_cannot_boot_leaves_nothing(tmp_path: Path) -> None:
    async def work() -> None:
        async with place(tmp_path / "m") as here:
            with pytest.raises(OSError, match="ip:"):
                await here.run("i-1", "true", "999.1.2.3")
            assert list((here.root / "instances").iterdir()) == []
            await here.run("i-1", "echo well")
            await here.says("i-1", "well")

    go(work)


def test_the_homes_and_the_sandbox_itself_are_hidden(tmp_path: Path) -> None:
    secret = tmp_path / "home" / ".aws" / "credentials"
    secret.parent.mkdir(parents=True)
    secret.write_text("mine")

    async def work() -> None:
        environ = {**os.environ, "HOME": str(tmp_path / "home")}
        (tmp_path / "state").mkdir()
        (tmp_path / "state" / "key").write_text("mine")
        async with place(tmp_path / "state" / "m", environ=environ, private=[tmp_path / "state"]) as here:
            await here.run(
                "i-1",
                f"ls -A {tmp_path}/home {tmp_path}/state {tmp_path}/state/m /root 2>&1 | sort -u; echo seen",
            )
            seen = await here.says("i-1", "seen")
            assert ".aws" not in seen
            assert "key" not in seen
            assert "instances" not in seen

    go(work)


def test_boot_json_names_no_secret(tmp_path: Path) -> None:
    async def work() -> None:
        async with place(tmp_path / "m", environ={**os.environ, "AWS_SECRET_ACCESS_KEY": "hush"}) as here:
            await here.run("i-1", "env; cat /run/runctl/boot.json; echo; echo listed")
            seen = await here.says("i-1", "listed")
            assert "hush" not in seen
            assert (
                json.loads(next(line for line in seen.splitlines() if line.startswith('{"instance_id"')))[
                    "env"
                ]["HOME"]
                == "/root"
            )

    go(work)


def test_a_stop_just_after_the_boot_is_heard(tmp_path: Path) -> None:
    async def work() -> None:
        async with place(tmp_path / "m") as here:
            for _ in range(3):
                await here.machines.boot("i-1", address="172.31.0.1")
                started = time.monotonic()
                await here.machines.stop("i-1")
                assert time.monotonic() - started < 5  # not the plug after six seconds
                await here.machines.terminate("i-1")

    go(work)
