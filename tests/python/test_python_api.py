"""`import runctl` in real programs: what they get, what they show, what stops them, what goes on without them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.agentbox import until
from tests.conftest import Result, World
from tests.sshbox import ssh_box

TRAIN = """
import os, sys, time
for epoch in range(int(sys.argv[1])):
    print("epoch", epoch)
print("waits")
while not os.path.exists(sys.argv[2]):
    time.sleep(0.05)
sys.exit(int(sys.argv[3]))
"""


@pytest.fixture
def project(world: World) -> Path:
    (world.root / "go").touch()
    return world.project({"train.py": TRAIN, ".runctl.toml": ""})


def argv(code: str) -> list[str]:
    return [sys.executable, "-W", "error", "-c", f"import runctl\n{code}"]


def program(world: World, project: Path, code: str, **env: str) -> Result:
    done = subprocess.run(
        argv(code),
        env={**world.env, **env},
        cwd=project,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def good(world: World, project: Path, code: str, **env: str) -> list[str]:
    done = program(world, project, code, **env)
    assert done.code == 0, done.err
    return done.out.splitlines()


def test_train_is_what_the_command_is(world: World, project: Path) -> None:
    done = program(
        world,
        project,
        f'run = runctl.train("train.py", "2", "{go(world)}", "0", env={{"A": "1"}})\n'
        "print(run.outcome, run.exit_code, run.status, run.output, run.log(tail=1), flush=True)",
    )
    assert done.code == 0, done.err
    said = "epoch 0\nepoch 1\nwaits\n"
    assert done.out == f"{said}succeeded 0 ended {said.encode()!r} waits\n\n"
    (run,) = world.runctl("runs", "--json").json()
    assert (run["outcome"], run["args"]) == ("succeeded", ["2", go(world), "0"])
    command = world.runctl("train", "train.py", "--", "2", go(world), "0", cwd=project)
    assert command.code == 0
    assert shape(done.err) == shape(command.err)


def shape(said: str) -> list[str]:
    """The lines without what differs from run to run: times, names, and what is there already the second time."""
    words = [line.split(":")[0].split(" · ")[0] for line in said.splitlines()]
    return [line for line in words if line.endswith((")", "succeeded"))]


def go(world: World) -> str:
    return str(world.root / "go")


def test_quiet_shows_nothing(world: World, project: Path) -> None:
    done = program(world, project, f'runctl.train("train.py", "1", "{go(world)}", "0", quiet=True)')
    assert (done.code, done.out, done.err) == (0, "", "")


def test_redirected_streams_of_python_get_the_lines(world: World, project: Path) -> None:
    lines = good(
        world,
        project,
        "import io, contextlib\nout, err = io.StringIO(), io.StringIO()\n"
        "with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):\n"
        f'    runctl.train("train.py", "1", "{go(world)}", "0")\n'
        'print([out.getvalue(), "succeeded" in err.getvalue()])',
    )
    assert lines == ["['epoch 0\\nwaits\\n', True]"]


def test_events_are_typed_live_and_go_on_where_one_stopped(world: World, project: Path) -> None:
    gate = world.root / "gate"
    lines = good(
        world,
        project,
        f"""
from runctl import events
import pathlib
run = runctl.train("train.py", "2", "{gate}", "0", wait=False)
first = run.events()
seen = []
for event in first:
    seen.append(event)
    if isinstance(event, events.Output) and b"waits" in event.data:
        print("live", run.status)
        pathlib.Path("{gate}").touch()
        break
place = first.position
rest = list(first)
again = list(run.events(after=place))
elsewhere = list(runctl.run(run.name).events(after=place))
print(isinstance(seen[0], events.StepStarted), any(isinstance(e, events.RunPlanned) for e in seen))
def told_there(found): return [e for e in found if e.end >= 0 or isinstance(e, events.Output)]
print(type(rest[-1]).__name__, rest == again, len(told_there(rest)), told_there(rest) == told_there(elsewhere))
whole = b"".join(e.data for e in run.events() if isinstance(e, events.Output))
print(whole == run.output == b"".join(e.data for e in runctl.run(run.id).events() if isinstance(e, events.Output)))
""",
    )
    assert lines == ["live running", "True True", "RunEnded True 1 True", "True"]


def test_failures_are_the_errors_of_the_command_line(world: World, project: Path) -> None:
    lines = good(
        world,
        project,
        f"""
for what in (
    lambda: runctl.train("train.py", "1", "{go(world)}", "3", quiet=True),
    lambda: runctl.train("tran.py", quiet=True),
    lambda: runctl.train("train.py", on="nowhere", quiet=True),
    lambda: runctl.train("train.py", gpuu="A10G"),
    lambda: runctl.train("train.py", max_hours="soon"),
    lambda: runctl.train("train.py", 3),
    lambda: runctl.plan("train.py", settings={{"aws.profil": "x"}}),
    lambda: runctl.run("no-such-run"),
):
    try:
        what()
    except runctl.RunctlError as error:
        print(type(error).__name__, error.code, error.exit_code, error.why)
run = runctl.train("train.py", "1", "{go(world)}", "3", quiet=True, check=False)
print(run.outcome, run.exit_code, repr(run) == f"<Run {{run.name}}: failed>")
""",
    )
    assert lines[0] == "ScriptFailed script-failed 1 exit status 3"
    assert lines[1].startswith("UsageError script-not-found 2")
    assert lines[2].startswith("UsageError unknown-target 2")
    assert lines[3] == "UsageError wrong-keyword 2 there is no keyword 'gpuu'; did you mean gpu?"
    assert lines[4] == 'UsageError wrong-keyword 2 max_hours needs a number above 0, not "soon"'
    assert lines[5] == "UsageError wrong-keyword 2 the script's arguments are text, not 3"
    assert "did you mean aws.profile?" in lines[6]
    assert lines[7].startswith("UsageError run-not-found 2")
    assert lines[8] == "failed 3 True"


def test_an_uncaught_error_says_cause_and_remedy_in_its_traceback(world: World, project: Path) -> None:
    done = program(world, project, f'runctl.train("train.py", "1", "{go(world)}", "3", quiet=True)')
    assert done.code == 1
    assert "runctl.core.errors.ScriptFailed: train.py ended with exit status 3" in done.err
    assert "code: script-failed" in done.err
    assert "runctl logs" in done.err
    assert "--debug" not in done.err


def test_cancel_ends_a_run_and_its_handle_knows(world: World, project: Path) -> None:
    lines = good(
        world,
        project,
        """
run = runctl.train("train.py", "1", "never", "0", detach=True, quiet=True)
print(run.status in ("preparing", "running"), len(runctl.runs(state="active")))
print(run.cancel(grace=0).outcome, run.cancel().status, len(runctl.runs(state="active")))
try:
    run.wait(quiet=True)
except runctl.Cancelled as error:
    print(error.code)
print(runctl.runs())
""",
    )
    assert lines[:3] == ["True 1", "cancelled ended 0", "run-cancelled"]
    assert lines[3].split()[:2] == ["NAME", "STATE"]
    assert "cancelled" in lines[4]


def test_ctrl_c_ends_the_watching_and_the_handle_goes_on(world: World, project: Path) -> None:
    gate = world.root / "gate"
    code = f"""
import pathlib, signal
before = signal.getsignal(signal.SIGINT)
run = runctl.train("train.py", "1", "{gate}", "0", wait=False)
try:
    run.wait()
except KeyboardInterrupt:
    print("stopped", run.status, run.outcome)
assert signal.getsignal(signal.SIGINT) is before
pathlib.Path("{gate}").touch()
print("then", run.wait(quiet=True).outcome)
"""
    process = subprocess.Popen(
        argv(code),
        env=world.env,
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    while "waits" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out.splitlines() == ["stopped running None", "then succeeded"]
    name = world.runctl("runs", "--json").json()[0]["name"]
    assert f"detached; {name} goes on on" in err
    assert f"runctl attach {name}" in err


def test_ctrl_c_in_a_loop_over_events_is_the_same(world: World, project: Path) -> None:
    gate = world.root / "gate"
    code = f"""
import pathlib
run = runctl.train("train.py", "1", "{gate}", "0", wait=False)
try:
    for event in run.events():
        if isinstance(event, runctl.events.Output):
            print("output", flush=True)
except KeyboardInterrupt:
    print(run.status)
pathlib.Path("{gate}").touch()
print(list(run.events())[-1].outcome)
"""
    process = subprocess.Popen(argv(code), env=world.env, cwd=project, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "output\n"
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert out.splitlines()[-2:] == ["running", "succeeded"]


def test_two_threads_train_at_once_and_nobody_touches_signals(world: World, project: Path) -> None:
    lines = good(
        world,
        project,
        f"""
import signal, threading
before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
found = {{}}
def one(n):
    found[n] = runctl.train("train.py", str(n), "{go(world)}", "0", quiet=n == 1)
threads = [threading.Thread(target=one, args=(n,)) for n in (1, 2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
print([found[n].output for n in (1, 2)], found[1].name != found[2].name)
""",
    )
    assert lines[-1] == "[b'epoch 0\\nwaits\\n', b'epoch 0\\nepoch 1\\nwaits\\n'] True"


def test_a_program_that_ends_leaves_the_run_to_its_machine(world: World, project: Path) -> None:
    gate = world.root / "gate"
    good(world, project, f'runctl.train("train.py", "1", "{gate}", "0", wait=False)')
    (run,) = world.runctl("runs", "--json").json()
    assert run["state"] in ("preparing", "running")
    gate.touch()
    assert world.runctl("attach", run["name"]).out == "epoch 0\nwaits\n"


def test_a_plan_writes_nothing(world: World, project: Path) -> None:
    lines = good(
        world,
        project,
        'plan = runctl.plan("train.py", "1")\nprint(plan.buys, plan.to_json()["script"], plan._repr_html_()[:4])\nprint(plan)',
    )
    assert lines[0] == "False train.py <pre"
    assert lines[1].startswith("Plan for ")
    assert not (world.home / ".local").exists()
    assert not world.machine.exists()


def test_checkpoints_are_listed_and_pulled_and_started_from(world: World) -> None:
    save = (
        "import os, pickle\nprint(os.environ.get('RUNCTL_RESUME_PATH', 'fresh').rpartition('/')[2])\n"
        "path = os.environ['RUNCTL_CHECKPOINT_DIR'] + '/epoch_1.pkl'\n"
        "pickle.dump({'epoch': 1}, open(path, 'wb'))\n"
    )
    project = world.project({"train.py": save, ".runctl.toml": ""})
    lines = good(
        world,
        project,
        """
import pickle
run = runctl.train("train.py", quiet=True)
print([each["path"] for each in run.checkpoints()])
there = run.pull(to="models", quiet=True)
print(there.name, pickle.loads(there.read_bytes()))
print(runctl.train("train.py", resume=run, quiet=True).log().strip())
try:
    run.pull("epoch_2.pkl", quiet=True)
except runctl.UsageError as error:
    print(error.code, error.fix)
""",
    )
    assert lines[:3] == ["['epoch_1.pkl']", "epoch_1.pkl {'epoch': 1}", "epoch_1.pkl"]
    assert lines[3].startswith("checkpoint-unknown")
    assert "epoch_1.pkl" in lines[3]


def test_an_ssh_host_is_another_word(world: World, project: Path) -> None:
    (world.root / "there").mkdir()
    with ssh_box(world.root / "box", env={"HOME": str(world.root / "there")}) as box:
        lines = good(
            world,
            project,
            f"""
run = runctl.train("train.py", "1", "{go(world)}", "0", on="ssh://box", quiet=True)
print(run.record["transport"], run.outcome, run.output)
try:
    runctl.train("train.py", "1", "{go(world)}", "4", on="ssh://box", quiet=True)
except runctl.ScriptFailed as error:
    print(error.code, runctl.run().exit_code)
live = runctl.train("train.py", "1", "never", "0", on="ssh://box", wait=False)
for event in live.events():
    if isinstance(event, runctl.events.Output):
        live.cancel(grace=0)
print(live.outcome, type(event).__name__)
""",
            RUNCTL_SSH_CONFIG=str(box.config),
        )
    assert lines == ["ssh succeeded b'epoch 0\\nwaits\\n'", "script-failed 4", "cancelled RunEnded"]


def test_to_import_it_loads_nothing(world: World) -> None:
    code = "import sys; before = set(sys.modules); import runctl; print(sorted(set(sys.modules) - before))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=world.env, capture_output=True, text=True, check=True
    )
    assert done.stdout == "['runctl']\n"


def test_every_public_name_is_there() -> None:
    import runctl

    for name in dir(runctl):
        assert getattr(runctl, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        _ = runctl.nothing


def test_the_keywords_are_the_options_of_train() -> None:
    from runctl.cli import parsing
    from runctl.python.options import Options, keywords

    assert set(Options.__annotations__) == {*keywords(), "settings"}
    options = {name.removeprefix("--").replace("-", "_") for name in parsing.parser_for("train").options()}
    assert set(keywords()) <= options


def test_a_program_that_uses_it_passes_the_strict_checker(tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "examples" / "notebook" / "train_and_compare.py"
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--config-file=", example],
        env={**os.environ, "MYPYPATH": str(Path(__file__).parents[2] / "src")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("size", [0, 1, 300_000])
def test_output_of_any_size_is_whole_in_the_events(world: World, size: int) -> None:
    project = world.project({"train.py": f"import sys; sys.stdout.write('x' * {size})"})
    lines = good(
        world,
        project,
        'run = runctl.train("train.py", quiet=True)\n'
        "print(sum(len(e.data) for e in run.events() if isinstance(e, runctl.events.Output)), len(run.output))",
    )
    assert lines == [f"{size} {size}"]


def test_an_interrupt_before_the_machine_has_it_leaves_nothing(world: World, project: Path) -> None:
    lines = good(
        world,
        project,
        """
run = runctl.train("train.py", "1", "never", "0", wait=False)
run.cancel(grace=0)
print(run.status, run.outcome)
""",
    )
    assert lines == ["ended cancelled"]
    until(
        lambda: all(run["state"] == "ended" for run in world.runctl("runs", "--json").json()),
        "nothing goes on",
    )
