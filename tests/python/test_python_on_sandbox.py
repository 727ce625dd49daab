"""`runctl.train(on="aws")` where money is spent: two attempts in one stream of events, and nobody asked is nothing bought."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.awsworld import SCRIPT, Account, account, debts
from tests.conftest import World
from tests.unit.sandbox.cloud_world import until


@pytest.fixture
def aws(tmp_path: Path) -> Iterator[Account]:
    with account(tmp_path / "account", "--plain") as owner:
        yield owner
        owner.blow("clear")
        until(lambda: not owner.instances(), lambda: str(owner.instances()))


@pytest.fixture
def user(aws: Account, tmp_path: Path) -> World:
    return aws.computer(tmp_path / "laptop")


def start(user: World, code: str) -> subprocess.Popen[str]:
    project = user.project({"train.py": SCRIPT, ".runctl.toml": 'target = "aws"\n'})
    argv = [sys.executable, "-c", f"import runctl\nfrom runctl import events\n{code}"]
    return subprocess.Popen(
        argv, env=user.env, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_machine_that_is_taken_back_is_one_more_attempt_of_the_same_stream(
    user: World, aws: Account
) -> None:
    code = """
run = runctl.train("train.py", "40", "0.1", spot=True, yes=True, wait=False)
def costs(found): return [e.cost for e in found if isinstance(e, events.RunCost)]
stream, places = run.events(), []
for event in stream:
    if isinstance(event, events.Output):
        places.append(stream.position)
        if b"step 20\\n" in event.data and places[-1].attempt == 1:
            print("far enough", flush=True)
print([each["attempt"] for each in run.record["machines"]], run.outcome)
last = [place for place in places if place.attempt == 2]
print(places[0].attempt, bool(last), last == sorted(last), run.log(tail=1).strip())
place = last[0]._replace(output=last[0].output - 1)  # the whole of it may have come at once
rest = list(runctl.run(run.name).events(after=place))
told = [e for e in rest if isinstance(e, events.Output)]
print(told[0].offset == place.output, len(costs(rest)), costs(rest)[-1] == costs(run.events())[-1])
"""
    process = start(user, code)
    assert process.stdout is not None
    assert process.stdout.readline() == "far enough\n", process.communicate()[1]
    until(lambda: any("checkpoints.json" in key for key, _ in aws.objects()))
    aws.blow("interrupt", seconds=8)
    out, err = process.communicate(timeout=110)
    assert process.returncode == 0, err
    lines = out.splitlines()
    assert lines[0] == "[1, 2] succeeded"
    assert lines[1] == "1 True True done in 2"
    assert lines[2] == "True 1 True"
    assert debts(user) == []


def test_nobody_to_ask_is_nothing_bought(user: World, aws: Account) -> None:
    code = """
try:
    runctl.train("train.py", "1", "0", quiet=True)
except runctl.UsageError as error:
    print(error.code)
print(len(runctl.runs()), runctl.plan("train.py").buys)
"""
    out, err = start(user, code).communicate(timeout=60)
    assert out.splitlines() == ["confirmation-needed", "0 True"], err
    assert not aws.instances()
