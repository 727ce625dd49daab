"""Environments built by the real uv and the real pip from an index on loopback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest
from tests.unit.environment.env_machine import INSTALLERS, Machine, until
from tests.unit.environment.wheel_index import Index, broken_sdist, wheel

from runctl.agent import environment, pythons
from runctl.agent.failure import AgentFailure

each_installer = pytest.mark.parametrize("installer", INSTALLERS)
BIG = os.urandom(2_000_000)


def big(name: str = "big") -> tuple[str, bytes]:
    return wheel(name, files={f"{name}/__init__.py": "x = 1\n", f"{name}/data.bin": BIG})


@each_installer
def test_builds_tells_how_far_it_is_and_is_there_the_second_time(installer, tmp_path, monkeypatch) -> None:
    with Index().add(big()).add(wheel("alpha")).add(wheel("beta", requires=("alpha==1.0",))) as index:
        index.rate["big-1.0-py3-none-any.whl"] = 2_000_000
        machine = Machine(tmp_path, monkeypatch, index)
        request = machine.request("beta", "big", installer=installer)
        before = environment.describe(request, home=str(machine.home))
        assert before is not None
        assert (before["cached"], before["installer"]) == (False, installer)
        assert before["argv"][-1][-1] == "CODE/requirements.txt"
        assert not list(machine.home.iterdir())

        found = machine.ensure(request)
        found.wait()
        assert machine.run(found, "import alpha, beta, big").returncode == 0
        assert found.key == before["key"] == machine.complete()[0]
        kinds = [event["kind"] for event in machine.events()]
        assert kinds[0] == "step.started"
        assert kinds[-1] == "step.finished"
        progress = machine.events("step.progress")
        moving = [event for event in progress if event["unit"] == "bytes" and event["total"]]
        assert moving, progress
        assert max(event["total"] for event in moving) >= len(BIG)
        assert any(0 < event["done"] < event["total"] for event in moving), moving
        assert progress[-1]["done"] == progress[-1]["total"] == 3
        assert "3 packages" in machine.events("step.finished")[0]["summary"]
        assert "big" in (machine.home / "envs" / f"{found.key}.log").read_text()
        assert machine.events("installer.output")
        assert [event["exit_code"] for event in machine.events("command")] == [0, 0]

        asked = index.requests.total()
        again = machine.ensure(request)
        again.wait()
        assert again.python == found.python
        assert machine.events("step.finished")[-1]["skipped"] is True
        after = environment.describe(request, home=str(machine.home))
        assert after is not None
        assert (after["cached"], after["argv"]) == (True, [])
        assert index.requests.total() == asked
        # No process and no state is left behind; only the environment, its lock and its log.
        left = {path.name.partition(".")[2] for path in (machine.home / "envs").iterdir()}
        assert left <= {"", "lock", "log"}


@each_installer
def test_killed_half_way_it_is_never_used_and_built_anew(installer, tmp_path, monkeypatch) -> None:
    with Index().add(big()) as index:
        index.hold("big-1.0-py3-none-any.whl")
        machine = Machine(tmp_path, monkeypatch, index)
        request = machine.request("big", installer=installer)
        process = machine.start(request)
        until(lambda: index.requests["/files/big/big-1.0-py3-none-any.whl"])
        state = until(lambda: list(machine.home.glob("envs/*.state.json")))[0]
        installing = until(lambda: json.loads(state.read_text()).get("installer"))
        process.kill()
        process.communicate()
        assert machine.complete() == []
        described = environment.describe(request, home=str(machine.home))
        assert described is not None
        assert described["cached"] is False
        index.gate.clear()  # the next download runs through; the first one hangs until its process is gone
        half = machine.home / "envs" / described["key"]
        (half / "half-made").write_text("left by the first build")
        found = machine.ensure(request)
        assert machine.run(found, "import big").returncode == 0
        assert not (half / "half-made").exists()
        assert machine.complete() == [found.key]
        until(lambda: not _alive(installing[0]))


@each_installer
def test_of_two_at_once_one_builds_and_the_other_waits_and_says_so(installer, tmp_path, monkeypatch) -> None:
    with Index().add(big()) as index:
        event = index.hold("big-1.0-py3-none-any.whl")
        machine = Machine(tmp_path, monkeypatch, index)
        request = machine.request("big", installer=installer)
        first = machine.start(request, journal="first.jsonl")
        until(lambda: index.requests["/files/big/big-1.0-py3-none-any.whl"])
        second = machine.start(request, journal="second.jsonl")
        until(lambda: "another run is installing" in machine.notices("second.jsonl"))
        until(lambda: machine.events("step.progress", "second.jsonl"))  # the first one's progress is relayed
        event.set()
        answers = [json.loads(process.communicate(timeout=60)[0]) for process in (first, second)]
        assert answers[0] == answers[1]
        assert index.requests["/files/big/big-1.0-py3-none-any.whl"] == 1
        assert [e["skipped"] for e in machine.events("step.finished", "second.jsonl")] == [True]


def failing(machine: Machine, request: dict[str, object]) -> AgentFailure:
    with pytest.raises(AgentFailure) as caught:
        machine.ensure(request)
    assert machine.complete() == []
    assert machine.events()[-1]["kind"] == "step.failed"
    assert machine.events()[-1]["code"] == caught.value.code
    json.dumps(caught.value.to_json())
    return caught.value


@each_installer
@pytest.mark.parametrize(
    ("lines", "code", "package", "says"),
    [
        (("beta", "gamma"), "resolution-impossible", "", "alpha==1.0"),
        (("alpha==9",), "resolution-impossible", "alpha==9", "alpha==9"),
        (("nosuchthing",), "package-not-found", "nosuchthing", "nosuchthing"),
        (("nobuild",), "build-failed", "nobuild", "needs the flux compiler"),
        (("badhash",), "hash-mismatch", "", "sha256"),
        (("alpha==1.0 --hash=sha256:" + "0" * 64,), "hash-mismatch", "alpha==1.0", "0" * 64),
        (("alpha", "this is not one"), "requirements-invalid", "", "this is not one"),
    ],
)
def test_a_failing_install_says_why_in_the_installers_words(
    installer, lines, code, package, says, tmp_path, monkeypatch
) -> None:
    index = (
        Index().add(wheel("alpha")).add(wheel("alpha", "2.0")).add(wheel("beta", requires=("alpha==1.0",)))
    )
    index.add(wheel("gamma", requires=("alpha==2.0",))).add(broken_sdist("nobuild")).add(wheel("badhash"))
    index.false_hash.add("badhash-1.0-py3-none-any.whl")
    with index:
        machine = Machine(tmp_path, monkeypatch, index)
        failure = failing(machine, machine.request(*lines, installer=installer))
    assert failure.code == code, failure.facts
    assert says in failure.facts["reason"]
    assert 1 <= len(failure.facts["reason"].splitlines()) <= 8
    if package:
        assert failure.facts["package"].startswith(package)
    log = failure.facts["log"]
    assert says in Path(log).read_text()


@each_installer
def test_an_index_that_does_not_answer_is_tried_again_and_named(installer, tmp_path, monkeypatch) -> None:
    machine = Machine(tmp_path, monkeypatch)
    for name in ("PIP_INDEX_URL", "UV_DEFAULT_INDEX"):
        monkeypatch.setenv(name, "http://someone:s3cret@127.0.0.1:9/simple/")
    request = machine.request("alpha", installer=installer)
    with pytest.raises(AgentFailure) as caught:
        machine.ensure(request, retry_after=(0.1, 0.1))
    assert caught.value.code == "index-unreachable", caught.value.facts
    assert "refused" in caught.value.facts["reason"]
    assert machine.notices().count("trying again") == 2
    everything = (
        machine.journal.read_text()
        + Path(caught.value.facts["log"]).read_text()
        + json.dumps(caught.value.facts)
    )
    assert "s3cret" not in everything


@each_installer
def test_a_connection_cut_in_the_middle_of_a_wheel_is_a_matter_of_the_network(
    installer, tmp_path, monkeypatch
) -> None:
    with Index().add(big()) as index:
        index.cut["big-1.0-py3-none-any.whl"] = 1
        machine = Machine(tmp_path, monkeypatch, index)
        request = machine.request("big", installer=installer)
        found = machine.ensure(request, retry_after=(0.05, 0.05))
        assert machine.run(found, "import big").returncode == 0
        index.cut["big-1.0-py3-none-any.whl"] = 100
        other = machine.request("big==1.0", installer=installer)
        shutil.rmtree(machine.root / "uv-cache", ignore_errors=True)
        shutil.rmtree(machine.root / "pip-cache", ignore_errors=True)
        with pytest.raises(AgentFailure) as caught:
            machine.ensure(other, retry_after=(0.05,))
        assert caught.value.code == "index-unreachable", caught.value.facts


@each_installer
def test_a_busy_index_is_waited_for(installer, tmp_path, monkeypatch) -> None:
    with Index().add(wheel("alpha")) as index:
        index.unavailable = 2
        machine = Machine(tmp_path, monkeypatch, index)
        found = machine.ensure(machine.request("alpha", installer=installer), retry_after=(0.05, 0.05))
        assert machine.run(found, "import alpha").returncode == 0


@each_installer
def test_silence_is_told_with_what_it_last_did(installer, tmp_path, monkeypatch) -> None:
    with Index().add(big()) as index:
        event = index.hold("big-1.0-py3-none-any.whl")
        machine = Machine(tmp_path, monkeypatch, index)
        request = machine.request("big", installer=installer)
        thread = threading.Thread(target=machine.ensure, args=(request,), kwargs={"stall_after": 0.4})
        thread.start()
        until(lambda: "last: downloading big" in machine.notices())
        event.set()
        thread.join(60)
        assert "silent for" in machine.notices()
        assert len(machine.complete()) == 1


@each_installer
def test_a_cancel_ends_the_installer_and_all_it_started(installer, tmp_path, monkeypatch) -> None:
    with Index().add(big()) as index:
        index.hold("big-1.0-py3-none-any.whl")
        machine = Machine(tmp_path, monkeypatch, index)
        request = machine.request("big", installer=installer)
        asked = threading.Event()
        ended: list[float] = []

        def work() -> None:
            with pytest.raises(AgentFailure, match="cancelled"):
                machine.ensure(request, cancelled=asked.is_set)
            ended.append(time.monotonic())

        thread = threading.Thread(target=work)
        thread.start()
        until(lambda: index.requests["/files/big/big-1.0-py3-none-any.whl"])
        state = until(lambda: list(machine.home.glob("envs/*.state.json")))[0]
        group = json.loads(state.read_text())["installer"][0]
        began = time.monotonic()
        asked.set()
        thread.join(20)
        assert ended[0] - began < 2
        assert not _alive(group)
        assert machine.complete() == []
        index.gate.clear()
        machine.ensure(request).wait()


def test_pip_settings_reach_uv_without_a_word_of_them_in_an_argv(tmp_path, monkeypatch) -> None:
    with Index().add(wheel("alpha")) as index, Index().add(wheel("alpha", "2.0")) as extra:
        machine = Machine(tmp_path, monkeypatch)
        secret = extra.url.replace("://", "://user:s3cret@")
        config = tmp_path / "pip.conf"
        config.write_text(f"[global]\nindex-url = {index.url}\n[install]\nextra-index-url =\n  {secret}\n")
        monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
        found = machine.ensure(machine.request("alpha", installer="uv"))
        version = machine.run(found, "import alpha; print(alpha.__version__)").stdout
        assert version == "2.0\n"  # the best version over all indexes, as pip would have it
        assert "UV_EXTRA_INDEX_URL" in machine.notices()
        assert "s3cret" not in machine.journal.read_text()


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root for a small file system"
)
@each_installer
def test_a_full_disk_is_named(installer, tmp_path, monkeypatch) -> None:
    content: dict[str, str | bytes] = {
        "big/__init__.py": "",
        **{f"big/part{n}.bin": os.urandom(1_000_000) for n in range(12)},
    }
    with Index().add(wheel("big", files=content)) as index:
        machine = Machine(tmp_path, monkeypatch, index)
        mount = f'mount -t tmpfs -o size=8m tmpfs {machine.home} && exec "$@"'
        prefix = ("unshare", "-m", "sh", "-c", mount, "sh")
        trial = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
        if trial.returncode != 0:
            pytest.skip("this machine does not allow new mount name spaces")
        out = machine.start(machine.request("big", installer=installer), prefix=prefix).communicate(
            timeout=60
        )[0]
        answer = json.loads(out)
        assert answer["code"] == "disk-full", answer
        assert answer["facts"]["free_bytes"] < 13_000_000
        assert machine.events("step.failed")[0]["code"] == "disk-full"


def test_a_lock_file_is_installed_exactly_and_the_project_comes_from_its_code(tmp_path, monkeypatch) -> None:
    index = Index().add(wheel("alpha")).add(wheel("alpha", "2.0")).add(wheel("tester"))
    with index:
        machine = Machine(tmp_path, monkeypatch, index)
        package = machine.code / "src" / "mine"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("name = 'mine'\n")
        (machine.code / ".python-version").write_text("3.11.2\n")  # a patch number this machine need not have
        (machine.code / "pyproject.toml").write_text(
            '[project]\nname = "mine"\nversion = "0"\nrequires-python = ">=3.8"\ndependencies = ["alpha<2"]\n'
            '[dependency-groups]\ndev = ["tester"]\n'
            '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        )
        uv = pythons.find_uv()
        assert uv is not None
        base = pythons.choose(None)
        subprocess.run([uv, "lock", "--quiet", "--python", base.path], cwd=machine.code, check=True)
        request = machine.request()
        request |= {
            "kind": "uv-lock",
            "files": ["uv.lock", "pyproject.toml"],
            "project": "pyproject.toml",
            "exclude": [],
            "source_paths": ["src"],
        }
        found = machine.ensure(request)
        done = machine.run(found, "import alpha, tester, mine; print(alpha.__version__, mine.__file__)")
        assert done.stdout == f"1.0 {package}/__init__.py\n", done.stderr
        freeze = subprocess.run(
            [uv, "pip", "freeze", "--python", found.python], capture_output=True, text=True, check=True
        )
        assert freeze.stdout.split() == ["alpha==1.0", "tester==1.0"]


def test_a_machine_without_uv_fetches_it_for_a_lock_file(tmp_path, monkeypatch) -> None:
    uv = pythons.find_uv()
    assert uv is not None
    program = f'#!/bin/sh\nexec {uv} "$@"\n'
    index = (
        Index()
        .add(wheel("alpha"))
        .add(wheel("uv", files={"uv/__init__.py": "", "uv-1.0.data/scripts/uv": program}))
    )
    with index:
        machine = Machine(tmp_path, monkeypatch, index)
        (machine.code / "pyproject.toml").write_text(
            '[project]\nname = "mine"\nversion = "0"\nrequires-python = ">=3.8"\ndependencies = ["alpha"]\n'
        )
        base = pythons.choose(None)
        subprocess.run([uv, "lock", "--quiet", "--python", base.path], cwd=machine.code, check=True)
        request = machine.request(installer="pip")
        request |= {"kind": "uv-lock", "files": ["uv.lock", "pyproject.toml"], "project": "pyproject.toml"}
        described = environment.describe(request, home=str(machine.home))
        assert described is not None
        assert described["argv"][0][-1] == "uv"
        found = machine.ensure(request)
        assert machine.run(found, "import alpha").returncode == 0
        assert "needs uv" in machine.notices()


@each_installer
def test_the_projects_own_folder_in_the_requirements_is_not_installed(
    installer, tmp_path, monkeypatch
) -> None:
    with Index().add(wheel("alpha")).add(wheel("beta")) as index:
        machine = Machine(tmp_path, monkeypatch, index)
        (machine.code / "src" / "mine").mkdir(parents=True)
        (machine.code / "src" / "mine" / "__init__.py").write_text("")
        request = machine.request("-r more.txt", "-e .", installer=installer)
        (machine.code / "more.txt").write_text("alpha\n")
        request |= {"requirements": ["beta"], "skip": {"requirements.txt": [2]}, "source_paths": ["src"]}
        found = machine.ensure(request)
        done = machine.run(found, "import alpha, beta, mine; print(mine.__file__)")
        assert done.stdout.startswith(str(machine.code)), done.stderr


def test_nothing_to_install_and_skip_need_no_environment(tmp_path, monkeypatch) -> None:
    machine = Machine(tmp_path, monkeypatch)
    for request, mode in ((None, "wait"), (machine.request("alpha"), "skip")):
        found = machine.ensure(request, mode=mode)
        found.wait()
        assert (found.key, found.variables) == ("", {})
        assert os.access(found.python, os.X_OK)
    monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path / "active"))
    (tmp_path / "active" / "bin").mkdir(parents=True)
    (tmp_path / "active" / "bin" / "python").symlink_to(shutil.which("python3") or "")
    assert machine.ensure(None).python == str(tmp_path / "active" / "bin" / "python")
    assert not (machine.home / "envs").exists()


def test_an_environment_whose_python_is_gone_is_built_anew(tmp_path, monkeypatch) -> None:
    with Index().add(wheel("alpha")) as index:
        machine = Machine(tmp_path, monkeypatch, index)
        request = machine.request("alpha", installer="uv")
        found = machine.ensure(request)
        os.unlink(found.python)
        os.symlink("/nowhere/python3", found.python)
        again = machine.ensure(request)
        assert machine.run(again, "import alpha").returncode == 0


def test_no_python_that_fits_names_those_found(tmp_path, monkeypatch) -> None:
    machine = Machine(tmp_path, monkeypatch)
    with pytest.raises(AgentFailure) as caught:
        machine.ensure(machine.request("alpha") | {"python": ">=3.99"})
    assert caught.value.code == "python-missing"
    assert "3." in caught.value.facts["found"]
    assert machine.events()[-1]["code"] == "python-missing"


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
