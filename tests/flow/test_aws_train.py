"""The main job: train on EC2, from nothing to a result, on a sandbox whose instances really run it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.awsworld import SCRIPT, Account, Client, account, debts
from tests.conftest import World
from tests.unit.environment.wheel_index import wheel
from tests.unit.sandbox.cloud_world import until


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    words = () if os.geteuid() == 0 else ("--plain",)
    with account(tmp_path_factory.mktemp("account"), *words) as owner:
        yield owner


@pytest.fixture
def aws(shared: Account) -> Iterator[Account]:
    """The account in fair weather; a test leaves no instance behind."""
    yield shared
    shared.blow("clear")
    until(lambda: not shared.instances(), lambda: str(shared.instances()))


@pytest.fixture
def user(aws: Account, tmp_path: Path) -> World:
    return aws.computer(tmp_path / "laptop")


@pytest.fixture
def project(user: World) -> Path:
    return user.project({"training/train.py": SCRIPT, ".runctl.toml": 'target = "aws"\n'})


def train(user: World, project: Path, *options: str, steps: int = 6, pause: float = 0.05):
    words = ("train", "training/train.py", "--yes", *options, "--", str(steps), str(pause))
    return user.runctl(*words, cwd=project, timeout=110)


def start(user: World, project: Path, *options: str, steps: int = 200, pause: float = 0.1) -> Client:
    words = ("train", "training/train.py", "--yes", *options, "--", str(steps), str(pause))
    return Client.start(user, *words, cwd=project)


def name_of(user: World) -> str:
    return str(user.runctl("runs", "--json").json()[0]["name"])


def test_a_run_from_nothing_to_a_result(user: World, project: Path, aws: Account) -> None:
    got = train(user, project, "--spot")
    assert got.code == 0, got.err
    assert got.out == "".join(f"step {n}\n" for n in range(6)) + "done in 1\n"
    assert "cost" in got.err
    assert debts(user) == []
    until(lambda: not aws.instances(), lambda: str(aws.instances()))
    assert user.runctl("logs", "latest").out == got.out  # the machine is gone, its output is not
    (checkpoint,) = user.runctl("checkpoint", "list", "latest", "--json").json()["checkpoints"]
    assert checkpoint["step"] == 5
    pulled = user.runctl("checkpoint", "pull", "latest", "--to", str(user.root / "models"))
    assert pulled.out == f"{user.root / 'models' / 'step-5.safetensors'}\n", pulled.err
    assert "step      5" in user.runctl("checkpoint", "info", "latest").out
    record = user.runctl("show", "latest", "--json").json()
    assert record["machines"][0]["to"] is not None
    assert user.runctl("resources", "--json").json() == []
    proof = user.runctl("verify", "latest", "--json", timeout=60).json()
    assert (proof["by"], proof["holds"]) == ("store", True)
    assert {proof["what"] for proof in proof["proofs"]} >= {"code", "command", "environment"}
    assert record["receipt"]["machine"]["hostname"]
    assert {"code": True, "command": True}.items() <= {p["what"]: p["holds"] for p in proof["proofs"]}.items()


def test_a_second_run_of_the_same_code_sends_nothing(user: World, project: Path) -> None:
    assert train(user, project).code == 0
    again = train(user, project)
    assert "nothing to send" in again.err
    assert again.code == 0


def test_the_scripts_own_status_comes_back_once_and_the_machine_goes(user: World, project: Path) -> None:
    (project / "training/train.py").write_text("print('before')\nraise SystemExit(7)\n")
    got = user.runctl("train", "training/train.py", "--yes", "--json", cwd=project, timeout=110)
    assert got.code == 1
    kinds = [event["kind"] for event in got.events()]
    (ended,) = [event for event in got.events() if event["kind"] == "run.ended"]
    assert (ended["outcome"], ended["exit_code"]) == ("failed", 7)
    assert kinds.count("run.cost") == 1
    assert debts(user) == []


def test_detached_it_ends_by_itself_and_gives_its_machine_back(
    user: World, project: Path, aws: Account
) -> None:
    got = train(user, project, "--detach", steps=10)
    assert got.code == 0, got.err
    name = got.out.strip()
    until(lambda: not aws.instances(), lambda: str(aws.instances()), seconds=60)
    (record,) = user.runctl("runs", "--json").json()
    assert (record["name"], record["state"], record["outcome"]) == (name, "ended", "succeeded")
    assert user.runctl("logs", name).out.endswith("done in 1\n")
    assert user.runctl("resources", "--json").json() == []  # seen gone, so nothing is owed any more
    assert debts(user) == []


def test_a_client_killed_while_following_loses_nothing(user: World, project: Path, aws: Account) -> None:
    client = start(user, project, steps=60)
    client.see("step 3\n")
    client.end(9)
    got = user.runctl("attach", "latest", timeout=90)
    assert got.code == 0, got.err
    assert got.out == "".join(f"step {n}\n" for n in range(60)) + "done in 1\n"
    assert debts(user) == []
    until(lambda: not aws.instances())


def test_another_computer_follows_and_ends_the_run(
    user: World, project: Path, aws: Account, tmp_path: Path
) -> None:
    client = start(user, project, steps=2000)
    client.see("step 3\n")
    name = name_of(user)
    client.end(9)
    other = aws.computer(tmp_path / "other")
    other.env["RUNCTL_TARGET"] = "aws"
    assert other.runctl("runs", "--json").json() == []
    assert name in {each["name"] for each in other.runctl("runs", "--everywhere", "--json").json()}
    seen = Client.start(other, "attach", name, "--new", cwd=tmp_path)
    seen.see("\nstep ")
    seen.end()
    assert "step 0\n" not in seen.text
    assert "runctl cancel" in seen.text
    cancelled = other.runctl("cancel", name, "--grace", "5", timeout=90)
    assert cancelled.code == 0, cancelled.err
    assert "saved" in other.runctl("logs", name, "--tail", "1").out  # it got its grace, and used it
    until(lambda: not aws.instances(), lambda: str(aws.instances()), seconds=60)


@pytest.mark.parametrize("weather", ["interrupt", "die"])
def test_a_machine_taken_back_costs_only_the_steps_since_the_checkpoint(
    user: World, project: Path, aws: Account, weather: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = start(user, project, "--spot", steps=60)
    client.see("step 20\n")
    until(lambda: any("checkpoints.json" in key for key, _ in aws.objects()))
    aws.blow(weather, **({"seconds": 8} if weather == "interrupt" else {}))
    got = client.result(seconds=110)
    assert got.code == 0, got.out
    resumed = int(got.out.partition("resumed at ")[2].split()[0])
    assert resumed >= (20 if weather == "interrupt" else 5)
    assert got.out.count("\ndone in 2\n") == 1
    record = user.runctl("show", "latest", "--json").json()
    assert [each["attempt"] for each in record["machines"]] == [1, 2]
    assert debts(user) == []


def test_no_spot_is_said_and_on_demand_is_bought_or_not(user: World, project: Path, aws: Account) -> None:
    aws.blow("capacity", market="spot")
    refused = train(user, project, "--spot", "--no-fallback", "--instance-type", "t3.micro")
    assert refused.code == 4, refused.err
    assert "no-capacity" in refused.err
    assert debts(user) == []
    got = train(user, project, "--spot", "--instance-type", "t3.micro")
    assert got.code == 0, got.err
    assert user.runctl("show", "latest", "--json").json()["machines"][0]["spot"] is False


def test_a_secret_reaches_the_script_and_nothing_else(user: World, project: Path, aws: Account) -> None:
    canary = "canary-58c1e0"
    (project / "training/train.py").write_text("import os\nprint(len(os.environ['TOKEN']))\n")
    got = user.runctl(
        "train", "training/train.py", "--yes", "--env-from", "TOKEN", cwd=project, timeout=110, TOKEN=canary
    )
    assert got.code == 0, got.err
    assert got.out == f"{len(canary)}\n"
    for key, data in aws.objects():
        assert canary.encode() not in data, key
    for path in user.root.rglob("*"):
        if path.is_file():
            assert canary.encode() not in path.read_bytes(), path
    ssm = aws.box.client("ssm")
    assert canary not in json.dumps(ssm.list_commands()["Commands"], default=str)


def test_a_kept_plan_is_done_exactly_or_not_at_all(user: World, project: Path) -> None:
    kept = project.parent / "plan.json"
    words = ("plan", "training/train.py", "--spot", "-o", str(kept), "--", "3", "0")
    planned = user.runctl(*words, cwd=project)
    assert planned.code == 0, planned.err
    plan = json.loads(kept.read_text())["plan"]
    name = plan["name"]
    assert "ec2:RunInstances" in {call for each in plan["actions"] for call in each["calls"]}
    got = user.runctl("apply", str(kept), timeout=110)
    assert got.code == 0, got.err
    assert got.out.endswith("done in 1\n")
    assert name_of(user) == name
    (project / "training/train.py").write_text("print('changed')\n")
    drifted = user.runctl("apply", str(kept))
    assert drifted.code == 2
    assert "plan-drifted" in drifted.err


LEAVES = """
import os
with open(os.path.join(os.environ["RUNCTL_OUTPUT_DIR"], "model.bin"), "wb") as file:
    file.write(b"model" * 20000)
print("left", flush=True)
"""


def outputs(aws: Account) -> dict[str, int]:
    return {key.rpartition("/")[2]: len(body) for key, body in aws.objects() if "/outputs/" in key}


def test_the_machine_is_held_until_all_that_the_run_left_is_stored(
    user: World, project: Path, aws: Account
) -> None:
    (project / "training/train.py").write_text(LEAVES)
    aws.blow("slow", service="s3", action="PutObject", delay=2)
    got = user.runctl("train", "training/train.py", "--yes", "--json", cwd=project, timeout=110)
    assert got.code == 0, got.err
    assert outputs(aws) == {"model.bin": 100000}
    (saved,) = [e for e in got.events() if e["kind"] == "step.finished" and e["step"] == "save"]
    assert saved["summary"] == "all of it"
    assert any("1 output file stored" in line for line in machine_events(user))
    assert debts(user) == []


def test_ctrl_c_while_that_is_stored_loses_nothing(user: World, project: Path, aws: Account) -> None:
    (project / "training/train.py").write_text(LEAVES)
    aws.blow("slow", service="s3", action="PutObject", delay=3)
    client = Client.start(user, "train", "training/train.py", "--yes", cwd=project)
    client.see("store what the run left")
    assert client.end() < 5
    assert "goes back by itself" in client.text
    until(lambda: not aws.instances(), lambda: str(aws.instances()), seconds=60)
    assert outputs(aws) == {"model.bin": 100000}
    user.runctl("resources")
    assert debts(user) == []


def machine_events(user: World) -> list[str]:
    """The machine's events as this computer has recorded them, of all runs."""
    found = user.root.rglob("machine-events-*.jsonl")
    return [line for path in found for line in path.read_text().splitlines()]


@pytest.mark.parametrize("moment", ["read the project", "send code", "step 2\n"])
def test_ctrl_c_is_heard_at_once_whatever_goes_on(
    user: World, project: Path, aws: Account, moment: str
) -> None:
    aws.blow(
        "slow", service="ec2", action="RunInstances", delay=2
    )  # code is sent while the purchase is on its way
    client = start(user, project)
    client.see(moment)
    assert client.end() < 12
    assert client.process.returncode == 130, client.text
    if moment == "step 2\n":
        assert "runctl attach" in client.text
        assert user.runctl("cancel", "latest", "--grace", "0", timeout=90).code == 0
        assert user.runctl("clean", "--yes").code == 0
    until(lambda: not aws.instances(), lambda: str(aws.instances()), seconds=60)
    assert debts(user) == []


def test_a_damaged_checkpoint_in_the_bucket_is_found_by_verify(
    user: World, project: Path, aws: Account
) -> None:
    assert train(user, project).code == 0
    whole = user.runctl("checkpoint", "verify", "latest")
    assert (whole.code, whole.out) == (0, "whole    step-5.safetensors\n"), whole.err
    (found,) = user.runctl("checkpoint", "list", "latest", "--json").json()["checkpoints"]
    bucket, _, prefix = found["place"].removeprefix("s3://").partition("/")
    assert found["files"][0]["key"].startswith("checkpoints/")
    key = f"{prefix.removesuffix('checkpoints')}{found['files'][0]['key']}"
    body = aws.box.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    aws.box.client("s3").put_object(Bucket=bucket, Key=key, Body=body[:-1] + bytes([body[-1] ^ 1]))
    damaged = user.runctl("checkpoint", "verify", "latest")
    assert damaged.code == 1
    assert "DAMAGED  step-5.safetensors: " in damaged.out
    assert "error[checkpoint-damaged]" in damaged.err


def test_a_run_that_ended_unwatched_costs_what_it_took(user: World, project: Path, aws: Account) -> None:
    assert train(user, project, "--detach").code == 0
    until(lambda: user.runctl("show", "latest", "--json").json()["state"] == "ended", lambda: "")
    shown = user.runctl("show", "latest", "--json").json()
    assert shown["machines"][0]["to"] == shown["ended_at"]
    until(lambda: not aws.instances(), lambda: str(aws.instances()))
    assert shown["paths"]["output"] == f"{shown['store']}/runs/{shown['id']}/1/output"
    since = user.runctl("logs", "latest", "--since", "1h")
    assert since.code == 6
    assert "error[logs-since-gone]" in since.err
    assert f"runctl logs --tail 100 {shown['name']}" in since.err
    closing = user.runctl("attach", "latest").err
    assert "cost        0.00" in closing, closing
    assert "runctl checkpoint pull" in closing


def test_the_second_machine_restores_the_environment_that_the_first_one_built(
    user: World, project: Path, aws: Account
) -> None:
    name, data = wheel("alpha")
    (project / "wheels").mkdir()
    (project / "wheels" / name).write_bytes(data)
    (project / "requirements.txt").write_text(f"--no-index\n./wheels/{name}\n")
    (project / "training/train.py").write_text("import alpha\nprint(alpha.__version__)\n")

    def planned() -> str:
        got = user.runctl("plan", "training/train.py", cwd=project)
        return got.out + got.err

    def told() -> str:
        return b"".join(body for key, body in aws.objects() if "/events/" in key).decode()

    assert "the store does not have it" in planned()
    words = ("train", "training/train.py", "--yes", "--spot")
    assert user.runctl(*words, "--detach", cwd=project, timeout=110).code == 0  # the machine sees to the rest
    until(lambda: any(key.endswith("/manifest.json") for key, _ in aws.objects()), told, seconds=40)
    until(lambda: not aws.instances(), seconds=60)
    assert "nobody has restored it yet" in planned()

    got = user.runctl(*words, "--detach", "--json", cwd=project, timeout=110)
    assert got.code == 0, got.err
    until(lambda: not aws.instances(), seconds=60)
    events = [json.loads(line) for line in told().splitlines()]
    done = [each for each in events if each["kind"] == "step.finished" and each["step"] == "environment"]
    assert sorted(each["summary"].partition(",")[0] for each in done) == [
        "1 package",
        "restored from the store: 1 package",
    ]
    assert user.runctl("logs", "latest").out == "1.0\n"
    assert "restored if the machine has Python" in planned()
    assert "nobody" not in planned()
    (row,) = user.runctl("env", "list", "--store", "--json", cwd=project).json()
    assert row["packages"] == 1
    assert row["restore_seconds"] > 0
