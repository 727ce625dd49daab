"""A machine that begins its run by itself, from the store, keeps it there, and gives itself back."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from tests.agentbox import AgentBox
from tests.bootbox import BUCKET, PREFIX, Cloud, Run, cloud
from tests.unit.sandbox.cloud_world import until
from tests.unit.sandbox.instance_world import OBSTACLE, WHY

pytestmark = pytest.mark.skipif(bool(OBSTACLE), reason=WHY)

SAVE = """
import json, os, struct, sys, time
def save(name, step, size=1000):
    folder = os.environ["RUNCTL_CHECKPOINT_DIR"]
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]},
                         "__metadata__": {"step": str(step)}}).encode()
    with open(folder + "/part", "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header + bytes([step % 256]) * size)
    os.replace(folder + "/part", folder + "/" + name)
"""


@pytest.fixture(scope="module")
def sky(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with cloud(tmp_path_factory.mktemp("boot"), "--set", "ssm_register_seconds=60") as sky:
        sky.prepare()
        yield sky


def verified(run: Run) -> list[str]:
    """The paths of the listed checkpoints, each of which is in the store as it was listed."""
    listed = run.json("checkpoints.json").get("checkpoints", [])
    for each in listed:
        for file in each["files"]:
            data = run.object(file["key"])
            assert data is not None
            assert (len(data), hashlib.sha256(data).hexdigest()) == (file["size"], file["digest"])
    return [each["path"] for each in listed]


def test_a_run_begins_before_systems_manager_knows_the_machine_and_all_of_it_stays(sky: Cloud) -> None:
    run = sky.run(
        "whole",
        SAVE
        + "print('begun', flush=True)\n"
        + "save('a.safetensors', 7)\n"
        + "open(os.environ['RUNCTL_OUTPUT_DIR'] + '/result', 'w').write('42')\n"
        + "while not os.path.exists('go'): time.sleep(0.05)\n"
        + "print('over')\n",
        files={"data/noise.bin": os.urandom(3 << 20)},
    ).begin()
    run.says(b"begun\n")
    assert sky.box.client("ssm").describe_instance_information()["InstanceInformationList"] == []
    assert run.status()["state"] == "running"
    until(lambda: verified(run) == ["a.safetensors"], run.told)
    beat = run.json("heartbeat.json")
    assert (beat["phase"], beat["machine"]) == ("running", run.instance)
    left = datetime.fromisoformat(beat["expires_at"]).timestamp() - time.time()
    assert 500 < left < 601
    run.touch("go")
    status = run.ended()
    assert (status["outcome"], status["exit_code"], status["attempt"]) == ("succeeded", 0, 1)
    run.gone()
    assert run.grown("output") == b"begun\nover\n"
    assert run.object("outputs/result") == b"42"
    assert run.json("heartbeat.json")["phase"] == "done"
    kinds = [each["kind"] for each in run.events()]
    assert "checkpoint.stored" in kinds
    steps = [each["step"] for each in run.events("step.finished")]
    assert steps == ["request", "fetch", "code", "start"]


def test_a_line_is_in_the_store_within_two_seconds(sky: Cloud) -> None:
    run = sky.run(
        "fresh",
        "import time\nfor _ in range(40):\n    print('%.3f' % time.time(), flush=True)\n    time.sleep(0.2)\n",
    ).begin()
    lags: list[float] = []
    seen = 0

    def look() -> bool:
        nonlocal seen
        lines = run.grown("output").decode().splitlines()
        now = time.time()
        lags.extend(now - float(line) for line in lines[seen:])
        seen = len(lines)
        return seen == 40

    until(look, run.told, seconds=60)
    lags.sort()
    assert lags[len(lags) * 9 // 10] < 2, lags
    assert run.ended()["outcome"] == "succeeded", run.told()


def test_a_hundred_megabytes_of_output_are_the_same_bytes_and_the_keeper_stays_small(sky: Cloud) -> None:
    run = sky.run(
        "much",
        SAVE
        + "import hashlib\n"
        + "block = bytes(range(256)) * 4096\n"
        + "for n in range(100): os.write(1, n.to_bytes(4, 'big') + block)\n"
        + "save('big.safetensors', 1, 100 << 20)\n"
        + "while not os.path.exists('go'): time.sleep(0.05)\n",
    ).begin()
    until(lambda: run.json("checkpoints.json"), run.told, seconds=60)
    until(lambda: len(run.keys("output/")) == 101, run.told, seconds=60)
    pid = run.outer(run.keeper()["pid"])
    peak = int(Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024
    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    before, since = int(ticks[11]) + int(ticks[12]), time.monotonic()
    time.sleep(3)
    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    busy = (int(ticks[11]) + int(ticks[12]) - before) / os.sysconf("SC_CLK_TCK") / (time.monotonic() - since)
    assert peak < 40, f"{peak:.0f} MiB"
    assert busy < 0.05, f"{busy:.1%} of a processor while nothing happens"
    run.touch("go")
    run.ended()
    block = bytes(range(256)) * 4096
    wanted = b"".join(n.to_bytes(4, "big") + block for n in range(100))
    assert hashlib.sha256(run.grown("output")).digest() == hashlib.sha256(wanted).digest()
    assert verified(run) == ["big.safetensors"]
    run.gone()


def test_another_machine_resumes_from_the_checkpoint_in_the_store(sky: Cloud) -> None:
    first = sky.run(
        "moves", SAVE + "save('step-3.safetensors', 3)\nsave('step-4.safetensors', 4, 5 << 20)\n"
    ).begin()
    first.ended()
    first.gone()
    newest = verified(first)[0]
    assert newest == "step-4.safetensors"
    second = sky.run(
        "moves",
        "import os, hashlib\n"
        "path = os.environ['RUNCTL_RESUME_PATH']\n"
        "print(os.path.basename(path), hashlib.sha256(open(path, 'rb').read()).hexdigest(), "
        "os.environ['RUNCTL_ATTEMPT'])\n",
        attempt=2,
        resume_from={"store": f"{first.prefix}checkpoints/{newest}"},
    ).begin()
    assert second.ended()["outcome"] == "succeeded"
    digest = first.json("checkpoints.json")["checkpoints"][0]["files"][0]["digest"]
    assert second.grown("output").decode() == f"step-4.safetensors {digest} 2\n"
    second.gone()


def test_data_comes_from_a_bucket_and_outputs_go_to_another(sky: Cloud) -> None:
    sky.s3.create_bucket(Bucket="elsewhere")
    allowed = [
        {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::elsewhere"},
        {
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:PutObject"],
            "Resource": "arn:aws:s3:::elsewhere/*",
        },
    ]
    document = json.dumps({"Version": "2012-10-17", "Statement": allowed})
    sky.box.client("iam").put_role_policy(RoleName="machine", PolicyName="data", PolicyDocument=document)
    for number in range(30):
        sky.s3.put_object(Bucket="elsewhere", Key=f"sets/train/{number:02d}.txt", Body=b"%d" % number)
    run = sky.run(
        "data",
        "import os, pathlib\n"
        "found = sorted(pathlib.Path(os.environ['RUNCTL_DATA_DIR'], 'train').iterdir())\n"
        "total = sum(int(path.read_text()) for path in found)\n"
        "pathlib.Path(os.environ['RUNCTL_OUTPUT_DIR'], 'sum').write_text(str(total))\n",
        data=[{"from": "s3://elsewhere/sets/train", "to": "train"}],
        output="s3://elsewhere/results",
    ).begin()
    assert run.ended()["outcome"] == "succeeded", run.told()
    run.gone()
    assert sky.s3.get_object(Bucket="elsewhere", Key="results/sum")["Body"].read() == b"435"
    assert run.json("outputs.json")["to"] == "s3://elsewhere/results"


def test_data_that_the_role_may_not_read_is_said_with_the_right_it_lacks(sky: Cloud) -> None:
    sky.s3.create_bucket(Bucket="foreign")
    run = sky.run("foreign", "print('no')", data=[{"from": "s3://foreign/x", "to": "x"}]).begin()
    status = run.ended()
    assert (status["outcome"], status["error"]["code"]) == ("failed", "store-denied")
    assert "s3:ListBucket" in status["error"]["facts"]["detail"]
    run.gone()


def test_code_may_come_long_after_the_machine_is_up(sky: Cloud) -> None:
    run = sky.run("late", "print('here')").buy()
    until(lambda: run.json("heartbeat.json").get("phase") == "waiting", run.told)
    run.put("request.json", run.request)
    until(lambda: any(each.get("step") == "fetch" for each in run.events()), run.told)
    assert run.status() == {}
    run.send_code()
    assert run.ended()["outcome"] == "succeeded", run.told()
    assert run.grown("output") == b"here\n"
    run.gone()


def test_secrets_are_handed_over_and_lie_nowhere(sky: Cloud) -> None:
    run = sky.run("secret", "import os; print(len(os.environ['TOKEN']))", secret_env=["TOKEN"]).begin()
    until(lambda: any(each.get("step") == "secrets" for each in run.events()), run.told)
    machine = AgentBox(Path("/root/.runctl"))
    machine.prefix = ["nsenter", "-t", str(run.init()), "-m", "-p", "-n", "-i", "-u"]
    assert machine.call("secrets", {"run": "secret", "values": {"TOKEN": "canary-7"}})["delivered"]
    assert run.ended()["outcome"] == "succeeded", run.told()
    assert run.grown("output") == b"8\n"
    disk = run.inside("/root/.runctl")
    if disk is not None:
        for path in disk.rglob("*"):
            assert not path.is_file() or b"canary-7" not in path.read_bytes()
    for key in run.keys(""):
        assert b"canary-7" not in (run.object(key) or b"")
    run.gone()


def test_a_machine_that_is_kept_waits_for_its_deadline_which_can_be_moved(sky: Cloud) -> None:
    run = sky.run("kept", "print('over')").begin(release="keep")
    until(lambda: run.json("heartbeat.json").get("phase") == "done", run.told)
    until(lambda: run.keeper().get("over"), run.told)
    machine = AgentBox(Path("/root/.runctl"))
    machine.prefix = ["nsenter", "-t", str(run.init()), "-m", "-p", "-n", "-i", "-u"]
    until(lambda: machine.call("status", {"runs": None})["runs"][0]["state"] == "ended")
    answer = machine.call("renew", {"seconds": 7200})
    left = datetime.fromisoformat(answer["expires_at"]).timestamp() - time.time()
    assert 7100 < left < 7201
    plan = run.inside("/run/runctl/shutdown.json")
    assert plan is not None
    assert abs(json.loads(plan.read_text())["at"] - time.time() - left) < 5
    assert sky.box.state(run.instance) == "running"
    sky.box.client("ec2").terminate_instances(InstanceIds=[run.instance])


def test_user_data_is_small_and_says_no_secret(sky: Cloud) -> None:
    run = sky.run("small", "").buy()
    data = sky.box.client("ec2").describe_instance_attribute(InstanceId=run.instance, Attribute="userData")
    import base64

    text = base64.b64decode(data["UserData"]["Value"]).decode()
    assert len(text) < 16384
    first = [line for line in text.splitlines() if not line.startswith("#")][1]
    assert first.startswith("shutdown -h +10 ")  # before anything else
    assert sky.box.values["AWS_SECRET_ACCESS_KEY"] not in text
    assert f'"bucket":"{BUCKET}","prefix":"{PREFIX}"' not in text  # it is packed
    sky.box.client("ec2").terminate_instances(InstanceIds=[run.instance])
