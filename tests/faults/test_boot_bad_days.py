"""Bad days of a machine that begins its run by itself: killed, taken back, cut off, full, forgotten."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.bootbox import Cloud, Run, cloud
from tests.flow.test_boot_on_sandbox import SAVE, verified
from tests.unit.sandbox.cloud_world import until
from tests.unit.sandbox.instance_world import OBSTACLE, WHY

from runctl.engine import boot

pytestmark = pytest.mark.skipif(bool(OBSTACLE), reason=WHY)

COUNTS = """
import os, sys, time
n = 0
while not os.path.exists("go"):
    print(n, flush=True)
    n += 1
    time.sleep(0.1)
print("over")
"""
SAVES_ON_TERM = (
    SAVE
    + """
import signal
def leave(*_):
    print("told to leave", flush=True)
    save("last.safetensors", 99, 3 << 20)
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
save("early.safetensors", 1)
print("begun", flush=True)
while True: time.sleep(0.05)
"""
)


@pytest.fixture(scope="module")
def cloudy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with cloud(tmp_path_factory.mktemp("faults")) as cloudy:
        cloudy.prepare()
        yield cloudy


@pytest.fixture
def sky(cloudy: Cloud) -> Iterator[Cloud]:
    yield cloudy
    cloudy.box.weather("clear")


def whole_count(run: Run) -> None:
    """The output is what the script printed, without a gap, and says that it came to its end."""
    lines = run.grown("output").decode().split()
    assert lines == [*map(str, range(len(lines) - 1)), "over"]


def machines_own(sky: Cloud, kind: str, *words: str) -> Any:
    """Weather that the machines' calls to S3 meet, and ours do not."""
    return sky.box.weather(kind, "--service", "s3", "--access-key", "ASIA*", *words)


@pytest.mark.parametrize("victim", ["pid", "guardian"])
def test_a_keeper_that_is_killed_comes_back_and_loses_nothing(victim: str, sky: Cloud) -> None:
    run = sky.run(f"killed-{victim}", COUNTS).begin()
    run.says(b"5\n")
    before = run.keeper()
    run.kill(before[victim])
    until(lambda: run.keeper().get("pid") not in (None, before["pid"]), run.told)
    seen = len(run.grown("output"))
    until(lambda: len(run.grown("output")) > seen + 20, run.told)
    run.touch("go")
    assert run.ended()["outcome"] == "succeeded"
    run.gone()
    whole_count(run)


def test_a_keeper_killed_before_the_run_has_come_still_brings_it(sky: Cloud) -> None:
    run = sky.run("killed-early", "print('here')", files={"big": os.urandom(3 << 20)}).buy()
    until(lambda: run.json("heartbeat.json").get("phase") == "waiting", run.told)
    before = run.keeper()["pid"]
    run.kill(before)
    machines_own(sky, "slow", "--rate", "1000000", "--action", "GetObject", "--key", "*packs*")
    run.send()
    until(lambda: any(each.get("step") == "fetch" for each in run.events()), run.told)
    again = run.keeper()["pid"]
    run.kill(again)
    until(lambda: run.keeper().get("pid") not in (before, again), run.told)
    sky.box.weather("clear")
    assert run.ended()["outcome"] == "succeeded", run.told()
    assert run.grown("output") == b"here\n"
    run.gone()


def test_a_disk_that_is_full_before_the_code_has_come_is_said_and_the_machine_goes_back(sky: Cloud) -> None:
    run = sky.run("full-early", "print('no')", files={"big": os.urandom(3 << 20)}).buy()
    until(lambda: run.json("heartbeat.json").get("phase") == "waiting", run.told)
    sky.box.weather("disk-full", "--instance", run.instance)
    run.send()
    status = run.ended()
    assert (status["outcome"], status["error"]["code"]) == ("failed", "disk-full"), status["error"]
    run.gone()


def test_a_keeper_killed_while_it_stores_a_checkpoint_stores_it_again(sky: Cloud) -> None:
    machines_own(sky, "slow", "--rate", "20000000", "--action", "UploadPart")
    run = sky.run(
        "killed-storing",
        SAVE
        + "save('big.safetensors', 1, 100 << 20)\nprint('saved', flush=True)\n"
        + "while not os.path.exists('go'): time.sleep(0.05)\n",
    ).begin()
    run.says(b"saved")
    bucket = {"Bucket": "memory"}
    until(lambda: sky.s3.list_multipart_uploads(**bucket).get("Uploads"), run.told)
    before = run.keeper()
    run.kill(before["pid"])
    sky.box.weather("clear")
    until(lambda: verified(run) == ["big.safetensors"], run.told)
    run.touch("go")
    run.ended()
    run.gone()


def test_a_supervisor_that_is_killed_leaves_its_script_watched_and_the_machine_goes_back(sky: Cloud) -> None:
    run = sky.run("no-supervisor", COUNTS).begin()
    run.says(b"5\n")
    run.kill(run.status()["supervisor"]["pid"])
    until(lambda: run.status().get("reason") == "unsupervised", run.told)
    run.touch("go")
    status = run.ended()
    assert (status["outcome"], status["error"]["code"]) == ("failed", "agent-died")
    run.gone()
    whole_count(run)


def test_of_a_machine_that_dies_all_but_the_last_moment_is_in_the_store(sky: Cloud) -> None:
    run = sky.run("dies", SAVE + "save('a.safetensors', 1)\n" + COUNTS).begin()
    run.says(b"20\n")
    until(lambda: verified(run) == ["a.safetensors"], run.told)
    sky.box.weather("die", "--instance", run.instance)
    run.gone()
    lines = run.grown("output").decode().splitlines()
    assert lines == [*map(str, range(len(lines)))]
    assert len(lines) > 20
    assert run.status()["state"] == "running"
    beat = run.json("heartbeat.json")
    assert beat["phase"] == "running"


def test_a_machine_that_dies_while_it_stores_a_checkpoint_leaves_the_one_before(sky: Cloud) -> None:
    run = sky.run(
        "dies-storing",
        SAVE
        + "save('one.safetensors', 1)\nprint('one', flush=True)\n"
        + "while not os.path.exists('go'): time.sleep(0.05)\n"
        + "save('two.safetensors', 2, 100 << 20)\nsave('one.safetensors', 3, 1 << 20)\ntime.sleep(60)\n",
    ).begin()
    run.says(b"one")
    until(lambda: verified(run) == ["one.safetensors"], run.told)
    machines_own(sky, "slow", "--rate", "3000000")
    run.touch("go")
    until(lambda: sky.s3.list_multipart_uploads(Bucket="memory").get("Uploads"), run.told)
    sky.box.weather("die", "--instance", run.instance)
    run.gone()
    sky.box.weather("clear")
    assert verified(run) in (["one.safetensors"], ["one.safetensors", "two.safetensors"])
    listed = run.json("checkpoints.json")["checkpoints"]
    assert [each["step"] for each in listed if each["path"] == "one.safetensors"] in ([1], [3])


def test_a_spot_machine_that_is_taken_back_stores_its_last_checkpoint_first(sky: Cloud) -> None:
    run = sky.run("spot", SAVES_ON_TERM, grace=1).begin(spot=True)
    run.says(b"begun")
    sky.box.weather("interrupt", "--instance", run.instance, "--seconds", "20")
    status = run.ended()
    assert (status["outcome"], status["exit_code"]) == ("preempted", 0)
    assert status["reason"] == "EC2 takes the machine back (terminate)"
    run.gone()
    assert verified(run) == ["last.safetensors", "early.safetensors"]
    assert run.grown("output") == b"begun\ntold to leave\n"
    (warning,) = [each["text"] for each in run.events("notice") if each["level"] == "warning"]
    assert re.fullmatch(r"EC2 takes this machine back at \S+Z \(terminate\)", warning)
    beat = run.json("heartbeat.json")
    assert (beat["phase"], beat["notice"]["action"]) == ("done", "terminate")


def test_a_script_gets_all_the_time_there_is_when_its_machine_is_taken_back(sky: Cloud) -> None:
    slow = SAVES_ON_TERM.replace('save("last', 'time.sleep(4); save("last')
    run = sky.run("slow-leaver", slow, grace=1).begin(spot=True)
    run.says(b"begun")
    sky.box.weather("interrupt", "--instance", run.instance, "--seconds", "20")
    assert run.ended()["outcome"] == "preempted"
    run.gone()
    assert verified(run) == ["last.safetensors", "early.safetensors"]


def test_a_rebalance_recommendation_is_said_and_nothing_else(sky: Cloud) -> None:
    run = sky.run("rebalance", COUNTS).begin(spot=True)
    run.says(b"1\n")
    sky.box.weather("rebalance", "--instance", run.instance)
    until(lambda: any("rebalance" in each["text"] for each in run.events("notice")), run.told)
    run.touch("go")
    assert run.ended()["outcome"] == "succeeded"
    whole_count(run)
    run.gone()


def test_a_machine_that_restarts_says_so_stores_what_there_is_and_goes_back(sky: Cloud) -> None:
    run = sky.run("restarts", SAVE + "save('a.safetensors', 1)\n" + COUNTS).begin()
    run.says(b"9\n")
    sky.box.client("ec2").reboot_instances(InstanceIds=[run.instance])
    status = run.ended()
    assert status["reason"] in ("the machine restarted", "the machine is going down")
    run.gone()
    lines = run.grown("output").decode().splitlines()
    assert lines == [*map(str, range(len(lines)))]
    assert verified(run) == ["a.safetensors"]


def test_a_script_without_its_supervisor_is_told_when_its_machine_is_taken_back(sky: Cloud) -> None:
    run = sky.run("spot-alone", SAVES_ON_TERM).begin(spot=True)
    run.says(b"begun")
    run.kill(run.status()["supervisor"]["pid"])
    sky.box.weather("interrupt", "--instance", run.instance, "--seconds", "20")
    status = run.ended()
    assert (status["outcome"], status["reason"]) == ("preempted", "EC2 takes the machine back (terminate)")
    run.gone()
    assert verified(run) == ["last.safetensors", "early.safetensors"]


@pytest.mark.parametrize("kind", ["unavailable", "cut", "denied", "expired"])
def test_a_store_out_of_reach_for_a_while_delays_and_loses_nothing(kind: str, sky: Cloud) -> None:
    run = sky.run(f"cut-off-{kind}", SAVE + "save('a.safetensors', 1)\n" + COUNTS).begin()
    run.says(b"3\n")
    cut = ["--after-bytes", "0", "--direction", "up"] if kind == "cut" else []
    machines_own(sky, kind, *cut)
    until(lambda: sky.box.weather()["weather"][0]["hit"] > 8, run.told)
    before = run.grown("output")
    until(lambda: sky.box.weather()["weather"][0]["hit"] > 16, run.told)
    assert run.grown("output") == before
    assert run.alive()
    sky.box.weather("clear")
    until(lambda: len(run.grown("output")) > len(before) + 40, run.told)
    run.touch("go")
    assert run.ended()["outcome"] == "succeeded"
    run.gone()
    whole_count(run)
    assert verified(run) == ["a.safetensors"]


def test_a_store_out_of_reach_for_long_is_said_when_it_is_back(sky: Cloud) -> None:
    run = sky.run("long-cut-off", COUNTS).begin()
    run.says(b"3\n")
    machines_own(sky, "unavailable")
    events = run.inside("/root/.runctl/runs/long-cut-off/events.jsonl")
    assert events is not None
    until(lambda: "cannot be stored now" in events.read_text(), run.told, seconds=60)
    sky.box.weather("clear")
    until(lambda: any("reached again" in each["text"] for each in run.events("notice")), run.told)
    run.touch("go")
    assert run.ended()["outcome"] == "succeeded"
    whole_count(run)
    levels = [each["level"] for each in run.events("notice")]
    assert levels == ["warning", "info"]
    run.gone()


def test_a_run_that_ends_while_the_store_is_out_of_reach_is_stored_before_the_machine_goes(
    sky: Cloud,
) -> None:
    run = sky.run("ends-cut-off", COUNTS + SAVE + "save('end.safetensors', 5)\n").begin()
    run.says(b"3\n")
    machines_own(sky, "unavailable", "--seconds", "10")
    run.touch("go")
    assert run.ended()["outcome"] == "succeeded"
    run.gone()
    whole_count(run)
    assert verified(run) == ["end.safetensors"]


def test_a_full_disk_costs_the_run_and_not_what_it_has_left(sky: Cloud) -> None:
    run = sky.run(
        "full",
        SAVE
        + "save('before.safetensors', 1)\nprint('begun', flush=True)\n"
        + "while not os.path.exists('go'): time.sleep(0.05)\n"
        + "while True:\n    save('after.safetensors', 2, 1 << 20); time.sleep(0.1)\n",
    ).begin()
    run.says(b"begun")
    until(lambda: verified(run) == ["before.safetensors"], run.told)
    run.touch("go")
    sky.box.weather("disk-full", "--instance", run.instance)
    status = run.ended()
    assert (status["outcome"], status["exit_code"]) == ("failed", 1), str(sorted(status.items()))
    assert b"begun" in run.grown("output")
    assert "before.safetensors" in verified(run)
    run.gone()


def test_a_cancel_in_the_store_ends_the_run_and_the_machine(sky: Cloud) -> None:
    run = sky.run("cancelled", SAVES_ON_TERM).begin()
    run.says(b"begun")
    run.put("cancel.json", {"grace": 5, "reason": "by hand", "attempt": 1}, whole=True)
    status = run.ended()
    assert (status["outcome"], status["reason"]) == ("cancelled", "by hand")
    run.gone()
    assert "last.safetensors" in verified(run)


def test_a_cancel_before_the_run_has_come_starts_nothing(sky: Cloud) -> None:
    run = sky.run("never", "print('no')").buy()
    run.put("cancel.json", {"reason": "changed my mind"}, whole=True)
    status = run.ended()
    assert (status["outcome"], status["reason"]) == ("cancelled", "changed my mind")
    run.gone()
    assert run.keys("output/") == []


def test_code_that_is_damaged_starts_nothing_and_is_said(sky: Cloud) -> None:
    run = sky.run("damaged", "print('no')", files={"data/big": os.urandom(200_000)}).send()
    packs = sky.s3.list_objects_v2(Bucket="memory", Prefix="runctl/packs/")["Contents"]
    newest = max(packs, key=lambda each: each["LastModified"])["Key"]
    sky.s3.put_object(Bucket="memory", Key=newest, Body=b"R200000\n" + bytes(200_000))
    status = run.buy().ended()
    assert status["outcome"] == "failed"
    assert status["error"]["code"] in ("blob-corrupt", "tree-object", "store-corrupt")
    assert run.keys("output/") == []
    run.gone()


def test_two_machines_whose_clients_vanished_go_down_by_themselves(sky: Cloud) -> None:
    """One whose request never comes, one whose keeper hangs: after the lease, a minute, they are gone."""
    forgotten = sky.run("forgotten", "print('no')").buy(lease=60)
    hung = sky.run("hung", SAVES_ON_TERM).begin(lease=60)
    hung.says(b"begun")
    note = hung.keeper()
    for name in ("guardian", "pid"):
        hung.kill(note[name], signal.SIGSTOP)
    forgotten.gone(100)
    hung.gone(100)
    assert forgotten.json("heartbeat.json")["phase"] == "waiting"
    assert hung.grown("output").startswith(b"begun\n")


def test_a_role_that_may_not_read_the_agent_ends_the_machine(
    sky: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        boot, "_STUB", boot._STUB.replace("GIVE_UP, PAUSE = 180.0, 2.0", "GIVE_UP, PAUSE = 3.0, 0.5")
    )
    machines_own(sky, "denied", "--action", "GetObject")
    run = sky.run("denied", "print('no')").send()
    begun = time.monotonic()
    run.buy()
    run.gone()
    assert time.monotonic() - begun < 30  # not only at its deadline


def test_an_agent_that_is_damaged_in_the_store_is_never_run(sky: Cloud) -> None:
    from runctl.engine.bundle import bundle

    key = f"runctl/agent/{bundle().digest}.py"
    sky.s3.put_object(Bucket="memory", Key=key, Body=bundle().source + b"#")
    run = sky.run("bad-agent", "print('here')").begin()
    console = run.inside
    log = until(
        lambda: (p := console("/root/.runctl/boot.log")) is not None and p.exists() and p.read_text(),
        run.told,
    )
    assert "store-corrupt" in log
    assert run.json("heartbeat.json") == {}
    sky.s3.put_object(Bucket="memory", Key=key, Body=bundle().source)
    assert run.ended()["outcome"] == "succeeded"
    run.gone()
