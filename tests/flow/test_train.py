"""`runctl train` on this machine, whole: what goes in, what comes out, what stays."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import World

PATIENCE = 30.0  # seconds a condition may take on a loaded machine


def until(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"did not happen in {PATIENCE} s: {what}")


def runs(world: World) -> list[dict[str, Any]]:
    listed = world.runctl("runs", "--json")
    assert listed.code == 0, listed.err
    found: list[dict[str, Any]] = listed.json()
    return found


@pytest.fixture
def started(world: World) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts runctl in the background; ends it and every run at the end of the test."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(*args: str | Path, **more: Any) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            world.argv(*args),
            env=world.env,
            cwd=more.pop("cwd", world.root),
            stdin=subprocess.DEVNULL,
            stdout=more.pop("stdout", subprocess.PIPE),
            stderr=more.pop("stderr", subprocess.PIPE),
            start_new_session=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()
    for run in runs(world):
        if run["state"] != "ended":
            world.runctl("cancel", run["name"], "--grace", "0")


def test_output_is_data_and_talk_is_apart(world: World) -> None:
    project = world.project(
        {"train.py": "import sys; print('one'); print('two', file=sys.stderr); print('three')"}
    )
    done = world.runctl("train", "train.py", cwd=project)
    assert done.code == 0, done.err
    assert done.out == "one\ntwo\nthree\n"
    assert "succeeded" in done.err


def test_the_exit_status_is_the_scripts_own_and_said_once(world: World) -> None:
    project = world.project({"train.py": "raise SystemExit(7)"})
    done = world.runctl("train", "train.py", cwd=project)
    assert done.code == 1
    assert done.err.count("error[script-failed]") == 1
    assert "exit status 7" in done.err
    (run,) = runs(world)
    assert (run["state"], run["outcome"], run["exit_code"]) == ("ended", "failed", 7)
    assert {"name", "id", "state", "outcome", "exit_code", "started_at"} <= run.keys()


def test_a_script_killed_by_a_signal_says_which(world: World) -> None:
    project = world.project({"train.py": "import os; os.kill(os.getpid(), 11)"})
    done = world.runctl("train", "train.py", cwd=project)
    assert done.code == 1
    assert "SIGSEGV" in done.err
    assert runs(world)[0]["signal"] == "SIGSEGV"


def test_arguments_and_folder_arrive_as_they_are(world: World) -> None:
    show = "import json, os, sys; print(json.dumps([sys.argv, os.getcwd(), sys.path[0]]))"
    project = world.project({"training/deep/train.py": show, "pyproject.toml": "[tool.runctl]\n"})
    odd = ["--lr", "1e-3", "a b", "$HOME", "it's", 'say "hi"', "a\nb", "--", "-x", "ü", ""]
    done = world.runctl("train", "training/deep/train.py", "--", *odd, cwd=project)
    assert done.code == 0, done.err
    argv, folder, first = json.loads(done.out)
    assert argv == ["training/deep/train.py", *odd]
    assert first == f"{folder}/training/deep"
    assert folder.endswith("/code")


@pytest.mark.parametrize(
    "given", ["train.py", "./train.py", "../training/train.py", "training/train.py", "{abs}"]
)
def test_any_path_that_leads_to_the_script_will_do(world: World, given: str) -> None:
    project = world.project(
        {"training/train.py": "import sys; sys.path.insert(0, '.'); import lib; print(sys.argv[0], lib.x)",
         "lib.py": "x = 4", ".runctl.toml": ""}
    )  # fmt: skip
    path = given.format(abs=project / "training/train.py")
    done = world.runctl("train", path, cwd=project / "training" if "abs" not in given else world.root)
    assert done.code == 0, done.err
    assert done.out == "training/train.py 4\n"


def test_run_variables(world: World) -> None:
    show = "import json, os; print(json.dumps({k: v for k, v in os.environ.items() if k.startswith(('RUNCTL_', 'MY_', 'PYTHONU'))}))"
    project = world.project({"train.py": show, ".runctl.toml": '[env]\nMY_MODE = "fast"\n'})
    done = world.runctl("train", "train.py", "--env", "MY_OTHER=a=b c", cwd=project)
    assert done.code == 0, done.err
    seen, (run,) = json.loads(done.out), runs(world)
    assert seen["MY_MODE"] == "fast"
    assert seen["MY_OTHER"] == "a=b c"
    assert seen["PYTHONUNBUFFERED"] == "1"
    assert (seen["RUNCTL_RUN_ID"], seen["RUNCTL_RUN_NAME"], seen["RUNCTL_ATTEMPT"]) == (
        run["id"],
        run["name"],
        "1",
    )
    assert Path(seen["RUNCTL_CHECKPOINT_DIR"]).is_dir()
    assert "RUNCTL_RESUME_PATH" not in seen


def test_a_secret_handed_over_is_written_nowhere(world: World) -> None:
    canary = "s3cr3t-canary-9131"
    project = world.project({"train.py": "import os; print(len(os.environ['MY_TOKEN']))"})
    world.env["MY_TOKEN"] = canary
    done = world.runctl("train", "train.py", "--env-from", "MY_TOKEN", "--verbose", "--debug", cwd=project)
    assert done.code == 0, done.err
    assert done.out == f"{len(canary)}\n"
    assert canary not in done.err
    files = [path for path in world.root.rglob("*") if path.is_file()]
    assert len(files) > 5
    assert not [path for path in files if canary.encode() in path.read_bytes()]


def everything(folder: Path) -> dict[str, tuple[int, int, str]]:
    found = {}
    for path in sorted(folder.rglob("*")):
        stat = path.lstat()
        body = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        found[str(path.relative_to(folder))] = (stat.st_mode, stat.st_mtime_ns, body)
    return found


@pytest.mark.parametrize("after_a_run", [False, True])
def test_a_dry_run_writes_not_one_byte(world: World, after_a_run: bool) -> None:
    project = world.project(
        {"train.py": "print(1)", "lib.py": "x = 1", ".env": "KEY=1", "requirements.txt": ""}
    )
    (project / ".git").mkdir()
    if after_a_run:
        assert world.runctl("train", "train.py", cwd=project).code == 0
        (project / "lib.py").write_text("x = 22")
    before = everything(world.root)
    text = world.runctl("train", "train.py", "--dry-run", "--", "--epochs", "3", cwd=project)
    value = world.runctl("train", "train.py", "--dry-run", "--json", "--", "--epochs", "3", cwd=project)
    assert everything(world.root) == before
    assert text.code == value.code == 0, text.err + value.err
    (plan,) = [event["plan"] for event in value.events() if event["kind"] == "run.planned"]
    assert plan["command"][-3:] == ["train.py", "--epochs", "3"]
    assert plan["code"]["secrets_left_out"] == [".env"]
    sends = {each["path"] for each in plan["code"]["sends"]}
    assert sends == ({"lib.py"} if after_a_run else {"train.py", "lib.py", "requirements.txt"})
    assert "train.py --epochs 3" in text.out
    assert ".env" in text.out


def test_apply_sends_what_the_plan_said_and_a_second_run_sends_nothing(world: World) -> None:
    project = world.project({"train.py": "print(open('data.txt').read())", "data.txt": "x" * 1000})
    assert world.runctl("train", "train.py", cwd=project).code == 0
    again = world.runctl("train", "train.py", "--json", cwd=project)
    plan = next(event for event in again.events() if event["kind"] == "run.planned")
    assert plan["plan"]["code"]["send_files"] == 0
    (project / "data.txt").write_text("y" * 10)
    done = world.runctl("train", "train.py", cwd=project)
    assert done.out == "y" * 10 + "\n"


def test_json_is_events_only_and_whole(world: World) -> None:
    project = world.project({"train.py": "import sys; sys.stdout.buffer.write(b'ok \\xff\\n'); sys.exit(2)"})
    done = world.runctl("train", "train.py", "--json", cwd=project)
    assert done.code == 1
    events = done.events()
    assert {event["v"] for event in events} == {1}
    kinds = [event["kind"] for event in events]
    for kind in ("run.planned", "step.started", "step.finished", "output", "run.ended", "error"):
        assert kind in kinds
    assert kinds.count("error") == 1
    assert done.err == ""
    assert events[-1]["error"]["code"] == "script-failed"
    (name,) = {event["run"] for event in events if event["run"]}
    assert name == runs(world)[0]["name"]


def test_detach_prints_the_name_alone_and_the_run_goes_on(world: World) -> None:
    project = world.project({"train.py": "import time; time.sleep(0.5); print('late')"})
    done = world.runctl("train", "train.py", "--detach", cwd=project)
    assert done.code == 0
    name = done.out.strip()
    assert world.runctl("attach", name).out == "late\n"
    assert world.runctl("logs", name).out == "late\n"


SLOW = """
import pathlib, sys, time
print("ready", flush=True)
gate = pathlib.Path(sys.argv[1])
while not gate.exists():
    time.sleep(0.02)
print("done", flush=True)
"""


def test_ctrl_c_detaches_and_says_how_to_come_back(world: World, started: Any) -> None:
    project = world.project({"train.py": SLOW})
    gate = world.root / "gate"
    process = started("train", "train.py", "--", str(gate), cwd=project)
    assert process.stdout.readline() == b"ready\n"
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert time.monotonic() - begun < 5
    assert process.returncode == 130
    (run,) = runs(world)
    assert f"runctl attach {run['name']}" in err.decode()
    assert run["state"] == "running"
    gate.touch()
    attached = world.runctl("attach", run["name"])
    assert (attached.code, attached.out) == (0, "ready\ndone\n")


def test_kill_minus_nine_of_the_client_changes_nothing(world: World, started: Any) -> None:
    project = world.project({"train.py": SLOW})
    gate = world.root / "gate"
    process = started("train", "train.py", "--", str(gate), cwd=project)
    assert process.stdout.readline() == b"ready\n"
    os.killpg(process.pid, signal.SIGKILL)
    gate.touch()
    (run,) = until(lambda: [r for r in runs(world) if r["state"] == "ended"], "the run ends by itself")
    assert (run["outcome"], run["exit_code"]) == ("succeeded", 0)
    assert world.runctl("logs", run["name"]).out == "ready\ndone\n"


def test_any_number_of_clients_may_follow(world: World, started: Any) -> None:
    project = world.project({"train.py": SLOW})
    gate = world.root / "gate"
    name = world.runctl("train", "train.py", "-d", "--", str(gate), cwd=project).out.strip()
    clients = [started("attach", name) for _ in range(3)]
    for client in clients:
        assert client.stdout.readline() == b"ready\n"
    gate.touch()
    for client in clients:
        out, err = client.communicate(timeout=PATIENCE)
        assert (client.returncode, out) == (0, b"done\n"), err


def test_cancel_ends_every_descendant_and_says_which(world: World) -> None:
    script = """
import os, subprocess, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execvp("sleep", ["sleep", "613"])
    os._exit(0)
subprocess.Popen(["sleep", "614"], start_new_session=True)
print("ready", flush=True)
time.sleep(600)
"""
    project = world.project({"train.py": script})
    name = world.runctl("train", "train.py", "-d", cwd=project).out.strip()
    until(lambda: world.runctl("logs", name).out == "ready\n", "the script is up")
    done = world.runctl("cancel", name, "--grace", "5")
    assert done.code == 0, done.err
    assert "sleep 613" in done.err
    assert "sleep 614" in done.err
    left = subprocess.run(["pgrep", "-f", "sleep 61[34]"], capture_output=True, text=True, check=False).stdout
    assert left == ""
    (run,) = runs(world)
    assert (run["state"], run["outcome"]) == ("ended", "cancelled")
    assert world.runctl("attach", name).code == 130


def test_this_machine_holds_several_runs_and_says_so(world: World, started: Any) -> None:
    project = world.project({"train.py": SLOW})
    gate = world.root / "gate"
    first = world.runctl("train", "train.py", "-d", "--", str(gate), cwd=project).out.strip()
    second = world.runctl("train", "train.py", "--dry-run", "--", str(gate), cwd=project)
    assert first in second.out
    gate.touch()


def test_the_time_limit_is_wall_clock_and_named(world: World) -> None:
    project = world.project({"train.py": "import time; time.sleep(600)"})
    done = world.runctl("train", "train.py", "--max-hours", "0.0002", "--grace", "1", cwd=project)
    assert done.code == 1
    assert "time limit" in done.err
    assert runs(world)[0]["outcome"] == "failed"


def test_output_of_any_size_arrives_whole(world: World) -> None:
    script = "import sys\nline = b'%07d ' + b'x' * 91 + b'\\n'\nfor i in range(200_000): sys.stdout.buffer.write(line % i)"
    project = world.project({"train.py": script})
    done = world.runctl("train", "train.py", cwd=project)
    assert done.code == 0, done.err
    expected = hashlib.sha256(b"".join((b"%07d " + b"x" * 91 + b"\n") % i for i in range(200_000)))
    assert hashlib.sha256(done.out.encode()).hexdigest() == expected.hexdigest()


def test_resume_takes_the_newest_checkpoint_of_a_run(world: World) -> None:
    script = """
import os, pathlib, struct, json
resume = os.environ.get("RUNCTL_RESUME_PATH")
print("resume", resume and pathlib.Path(resume).name)
for step in (9, 10):
    head = json.dumps({"w": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}).encode()
    pathlib.Path(os.environ["RUNCTL_CHECKPOINT_DIR"], f"step-{step}.safetensors").write_bytes(
        struct.pack("<Q", len(head)) + head + b"x")
"""
    project = world.project({"train.py": script})
    assert world.runctl("train", "train.py", cwd=project).out == "resume None\n"
    (run,) = runs(world)
    done = world.runctl("train", "train.py", "--resume", run["name"], cwd=project)
    assert done.out == "resume step-10.safetensors\n", done.err
    listed = world.runctl("checkpoint", "list", run["name"], "--json").json()
    assert [each["step"] for each in listed["checkpoints"]] == [10, 9]


def test_nothing_to_resume_from_is_said_before_anything_starts(world: World) -> None:
    project = world.project({"train.py": "print(1)"})
    assert world.runctl("train", "train.py", cwd=project).code == 0
    done = world.runctl("train", "train.py", "--resume", runs(world)[0]["name"], cwd=project)
    assert done.code == 2
    assert "error[checkpoint-none]" in done.err
    assert len(runs(world)) == 1


def test_an_option_of_the_script_without_the_dashes_is_corrected(world: World) -> None:
    project = world.project({"train.py": "print(1)"})
    done = world.runctl("train", "train.py", "--epochs", "20", "--detach", cwd=project)
    assert done.code == 2
    assert "runctl train train.py --detach -- --epochs 20" in done.err


def test_a_missing_script_names_the_nearest(world: World) -> None:
    project = world.project({"training/train_mnist.py": "", ".runctl.toml": ""})
    done = world.runctl("train", "train_mnst.py", cwd=project)
    assert done.code == 2
    assert "training/train_mnist.py" in done.err
