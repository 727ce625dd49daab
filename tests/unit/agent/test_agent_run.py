"""A run from launch to end: what the script sees, what is recorded, what a follower is sent."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path

import pytest
from tests.agentbox import AgentBox, AgentError, alive, entry, packed, tree_digest, until

VERSIONS = Path("~/.pyenv/versions").expanduser()
PYTHONS = [sys.executable] + [
    str(path) for v in ("3.8", "3.13") for path in VERSIONS.glob(f"{v}.*/bin/python")
]


@pytest.mark.parametrize("python", PYTHONS, ids=lambda path: path.split("/")[-3])
def test_a_run_from_launch_to_end_on_every_python(python: str, tmp_path: Path) -> None:
    box = AgentBox(tmp_path / "machine", python)
    followed = box.whole("r1", "import sys; print('hello'); print('there', file=sys.stderr); sys.exit(3)")
    assert sorted(followed.output.split()) == [b"hello", b"there"]
    last = followed.last
    assert (last["state"], last["outcome"], last["exit_code"], last["signal"]) == ("ended", "failed", 3, None)
    assert last["reason"] == "exit status 3"
    assert last["peak_memory_bytes"] > 1 << 20
    assert last == box.status("r1") == json.loads((box.folder("r1") / "status.json").read_text())
    assert followed.kinds()[0] == "run.changed"
    assert followed.kinds()[-1] == "run.ended"
    started = [event["step"] for event in followed.of("step.started")]
    assert started[0] == "code"
    assert started[-1] == "start"
    assert {event["run"] for event in followed.events} == {"r1"}
    box.check_nothing_left()


@pytest.mark.parametrize("version", ["3.8", "3.13"])
def test_the_oldest_and_the_newest_python_were_tried(version: str) -> None:
    if not any(f"/{version}." in python for python in PYTHONS):
        pytest.skip(f"no Python {version} below {VERSIONS}")
    assert len(PYTHONS) >= 2


@pytest.mark.parametrize(
    ("source", "outcome", "exit_code", "signal", "reason"),
    [
        ("", "succeeded", 0, None, ""),
        ("raise SystemExit(1)", "failed", 1, None, "exit status 1"),
        ("raise SystemExit(137)", "failed", 137, None, "exit status 137"),
        ("raise SystemExit(255)", "failed", 255, None, "exit status 255"),
        ("1/0", "failed", 1, None, "exit status 1"),
        ("import os; os.kill(os.getpid(), 9)", "failed", None, "SIGKILL", "signal SIGKILL"),
        ("import os; os.kill(os.getpid(), 15)", "failed", None, "SIGTERM", "signal SIGTERM"),
        ("import os; os.abort()", "failed", None, "SIGABRT", "signal SIGABRT"),
        ("import os; os.kill(os.getpid(), 40)", "failed", None, "SIG40", "signal SIG40"),
    ],
)
def test_the_exit_status_is_the_scripts_own(
    box: AgentBox, source: str, outcome: str, exit_code: int | None, signal: str | None, reason: str
) -> None:
    followed = box.whole("r1", source)
    last = followed.last
    assert [last[k] for k in ("outcome", "exit_code", "signal", "reason")] == [
        outcome,
        exit_code,
        signal,
        reason,
    ]
    (ended,) = followed.of("run.ended")
    assert [ended[k] for k in ("outcome", "exit_code", "signal", "reason")] == [
        outcome,
        exit_code,
        signal,
        reason,
    ]
    assert last["killed"] == []


def test_what_the_script_sees(box: AgentBox) -> None:
    source = (
        "import json, os, sys\n"
        "print(json.dumps({'argv': sys.argv, 'cwd': os.getcwd(), 'env': dict(os.environ), 'path': sys.path[0],\n"
        "  'stdin': sys.stdin.read(), 'session': os.getsid(0) == os.getpid(), 'fds': sorted(os.listdir('/dev/fd')),\n"
        "  'same': os.fstat(1).st_ino == os.fstat(2).st_ino == os.stat('../output.log').st_ino}))\n"
    )
    args = [
        "",
        "two words",
        "it's",
        'a "quote"',
        "$HOME `id` \\",
        "new\nline",
        "é",
        "\udcff",
        "--",
        "-x",
        "*",
    ]
    env = {"SPACED": "a b\nc", "RUNCTL_RUN_ID": "mine", "ODD": "\udcfe"}
    box.env["RUNCTL_RESUME_PATH"] = "/stale"
    box.env["INHERITED"] = "yes"
    followed = box.whole("r1", source, args=args, env=env, attempt=3)
    seen = json.loads(followed.output)
    code = str(box.folder("r1") / "code")
    assert seen["argv"] == ["training/train.py", *args]
    assert (seen["cwd"], seen["path"], seen["stdin"]) == (code, f"{code}/training", "")
    assert seen["session"]
    assert seen["same"]
    assert len(seen["fds"]) == 4  # the three, and the listing's own
    assert seen["env"]["RUNCTL_RUN_ID"] == "r1"
    assert seen["env"]["RUNCTL_RUN_NAME"] == "name-of-r1"
    assert seen["env"]["RUNCTL_ATTEMPT"] == "3"
    assert seen["env"]["RUNCTL_CHECKPOINT_DIR"] == str(box.folder("r1") / "checkpoints")
    assert seen["env"]["PYTHONUNBUFFERED"] == "1"
    assert "RUNCTL_RESUME_PATH" not in seen["env"]
    assert (seen["env"]["SPACED"], seen["env"]["ODD"], seen["env"]["INHERITED"]) == (
        "a b\nc",
        "\udcfe",
        "yes",
    )
    assert followed.last["command"][1:] == ["training/train.py", *args]


def test_a_resume_path_a_script_named_like_an_option_and_a_name_that_is_no_utf8(box: AgentBox) -> None:
    source = b"import os; print(os.environ['RUNCTL_RESUME_PATH'])"
    for run, script in (("r1", "-x.py"), ("r2", "od\udcffd/\udcfe é.py")):
        tree = [entry(script, source)]
        box.call("receive", {}, packed(source))
        request = box.request(run, resume_from="/from/here", script=script)
        box.call("launch", {**request, "tree": tree, "tree_digest": tree_digest(tree)})
        followed = box.follow(run)
        assert (followed.output, followed.last["exit_code"]) == (b"/from/here\n", 0)


def test_secret_values_are_not_recorded(box: AgentBox) -> None:
    source = "import os; print(len(os.environ['TOKEN']))"
    followed = box.whole("r1", source, env={"TOKEN": "hunter2", "OPEN": "1"}, secret_env=["TOKEN"])
    assert followed.output == b"7\n"
    assert json.loads((box.folder("r1") / "spec.json").read_text())["env"] == {"TOKEN": None, "OPEN": "1"}
    everything = b"".join(path.read_bytes() for path in box.folder("r1").rglob("*") if path.is_file())
    assert b"hunter2" not in everything


def test_output_is_bytes_untouched(box: AgentBox) -> None:
    source = (
        "import sys\n"
        "w = sys.stdout.buffer.write\n"
        "for i in range(100): w(b'\\r%d%%' % i)\n"
        "w(bytes(range(256)) * 4); w(b'no newline at the end')\n"
    )
    followed = box.whole("r1", source)
    expected = b"".join(b"\r%d%%" % i for i in range(100)) + bytes(range(256)) * 4 + b"no newline at the end"
    assert followed.output == expected
    assert followed.last["output_bytes"] == len(expected)
    part = box.follow("r1", output=100, events=None)
    assert (part.output, part.events) == (expected[100:], [])
    none = box.follow("r1", output=None, events=0)
    assert (none.output, none.events) == (b"", followed.events)


def test_the_same_run_is_started_once(box: AgentBox) -> None:
    request = box.request("r1", "import time; print('begun'); time.sleep(1)")
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(box.call("launch", request))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({answer["pid"] for answer in answers}) == 1
    assert box.follow("r1").output == b"begun\n"
    after = box.call("launch", request)
    assert (after["state"], after["pid"]) == ("ended", answers[0]["pid"])
    assert box.output("r1") == b"begun\n"


def test_an_exclusive_run_is_refused_while_another_is_active(box: AgentBox) -> None:
    box.launch("r1", "import time; print('begun'); time.sleep(60)")
    request = box.request("r2", "print('second')", exclusive=True)
    with pytest.raises(AgentError) as caught:
        box.call("launch", request)
    assert (caught.value.code, caught.value.facts) == (
        "machine-busy",
        {"other": "name-of-r1", "other_run": "r1"},
    )
    assert not box.folder("r2").exists()
    assert box.call("probe", {"blobs": []})["active"] == [{"run": "r1", "name": "name-of-r1"}]
    assert box.whole("r3", "print('shared')").output == b"shared\n"
    box.cancel("r1", grace=1)
    box.ended("r1")
    box.call("launch", request)
    assert box.follow("r2").output == b"second\n"


def test_two_exclusive_launches_at_once_start_one(box: AgentBox) -> None:
    requests = [box.request(f"r{i}", "import time; time.sleep(60)", exclusive=True) for i in range(4)]
    started, refused = [], []

    def launch(index: int) -> None:
        try:
            started.append(box.call("launch", requests[index])["run"])
        except AgentError as error:
            refused.append(error.code)

    threads = [threading.Thread(target=launch, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(started), refused) == (1, ["machine-busy"] * 3)
    box.cancel(started[0], grace=0)
    box.ended(started[0])


def test_removing_a_run(box: AgentBox) -> None:
    box.launch("r1", "import time; print('x' * 1000); time.sleep(60)")
    box.says("r1", b"x\n")
    with pytest.raises(AgentError) as caught:
        box.call("remove", {"run": "r1"})
    assert caught.value.code == "run-active"
    box.cancel("r1", grace=0)
    box.ended("r1")
    answer = box.call("remove", {"run": "r1"})
    assert answer["removed"]
    assert answer["bytes"] > 1000
    assert os.listdir(box.home / "runs") == []
    assert box.call("remove", {"run": "r1"}) == {"removed": False, "bytes": 0}


def test_when_the_output_grew_is_noted(box: AgentBox) -> None:
    followed = box.whole("r1", "import time\nfor i in range(3): print(i); time.sleep(0.3)")
    times = [line.split() for line in (box.folder("r1") / "output.times").read_text().splitlines()]
    offsets, seconds = [int(line[0]) for line in times], [float(line[1]) for line in times]
    assert offsets == sorted(set(offsets))
    assert offsets[-1] == len(followed.output) == 6
    assert seconds == sorted(seconds)
    assert len(times) >= 2


def test_a_checkpoint_is_announced_while_the_script_runs(box: AgentBox) -> None:
    source = (
        "import json, os, struct, time\n"
        "d = os.environ['RUNCTL_CHECKPOINT_DIR']; p = os.path.join(d, 'step-7.safetensors')\n"
        "h = json.dumps({'a': {'dtype': 'F32', 'shape': [1], 'data_offsets': [0, 4]}}).encode()\n"
        "open(p + '.tmp', 'wb').write(struct.pack('<Q', len(h)) + h + bytes(4)); os.rename(p + '.tmp', p)\n"
        "time.sleep(60)\n"
    )
    box.launch("r1", source)
    seen = until(lambda: box.follow("r1", wait=False).of("checkpoint"), "the checkpoint is announced")
    assert seen[0]["format"] == "safetensors"
    box.cancel("r1", grace=0)
    assert len(box.follow("r1").of("checkpoint")) == 1
    listed = box.call("checkpoints", {"run": "r1", "verify": True})
    assert [found["path"] for found in listed["checkpoints"]] == [seen[0]["path"]]


def test_the_interpreter_that_is_gone_is_said(box: AgentBox) -> None:
    box.env["PATH"] = str(box.home)
    gone = box.home / "python3"
    request = box.request("r1", "print(1)")
    gone.write_text("#!/nonexistent\n")
    gone.chmod(0o755)
    box.call("launch", request)
    last = box.follow("r1").last
    assert (last["outcome"], last["exit_code"]) == ("failed", None)
    assert last["error"]["code"] == "script-not-started"
    assert last["error"]["facts"]["detail"] == "No such file or directory"


def test_nobody_of_the_agent_is_left_and_no_group_either(box: AgentBox) -> None:
    status = box.whole("r1", "print(1)").last
    until(lambda: not alive(status["supervisor"]["pid"]), "the supervisor ends")
    assert not [folder for folder in status["cgroups"] if os.path.exists(folder)]
