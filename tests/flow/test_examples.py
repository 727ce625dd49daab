"""The examples, trained through runctl with environments that are really installed, from wheels on disk."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from tests.conftest import World

REPO = Path(__file__).parents[2]
WHEELS = REPO / ".venv" / "wheels"


@pytest.fixture
def offline(world: World) -> World:
    """A world whose installers know the wheels on disk and nothing else."""
    if not list(WHEELS.glob("scikit_learn-*")):
        pytest.skip("the wheels were not fetched: run `make test`, or sh tests/wheels.sh .venv/wheels")
    for name in [name for name in world.env if name.startswith(("PIP_", "UV_"))]:
        del world.env[name]
    world.env |= {
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(WHEELS),
        "UV_NO_CONFIG": "1",
        "UV_CACHE_DIR": str(world.root / "uv-cache"),
    }
    return world


def copied(world: World, name: str) -> Path:
    project = world.root / name
    shutil.copytree(
        REPO / "examples" / name, project, ignore=shutil.ignore_patterns("checkpoints", "__pycache__")
    )
    return project


@pytest.mark.timeout(300)
@pytest.mark.parametrize("installer", ["uv", "pip"])
def test_digits(offline: World, installer: str) -> None:
    project = copied(offline, "digits")
    train = ("train", project / "training" / "train.py", "--installer", installer)
    first = offline.runctl(*train, "--", "--epochs", "20", timeout=240)
    assert first.code == 0, first.err
    found = re.search(r"test accuracy ([\d.]+)", first.out)
    assert found
    assert float(found[1]) >= 97
    (run,) = offline.runctl("runs", "--json").json()
    listed = offline.runctl("checkpoint", "list", run["name"], "--json").json()["checkpoints"]
    assert listed
    assert offline.runctl("checkpoint", "verify", run["name"]).code == 0
    again = offline.runctl(*train, "--resume", run["name"], "--json", "--", "--epochs", "21", timeout=240)
    events = again.events()
    plan = next(event["plan"] for event in events if event["kind"] == "run.planned")
    assert plan["environment"]["cached"]
    assert plan["resume_from"].endswith(listed[0]["path"])
    output = "".join(event.get("text", "") for event in events if event["kind"] == "output")
    assert re.search(r"epoch +21/21", output)
    assert not re.search(r"epoch +20/21", output)


@pytest.mark.timeout(600)
def test_torch_starts_at_once_and_its_import_waits(offline: World) -> None:
    if not list(WHEELS.glob("torch-*")):
        pytest.skip("pip finds no CPU build of torch here")
    project = copied(offline, "torch_digits")
    done = offline.runctl(
        "train", project / "training" / "train.py", "--deps", "background", "--json", "--", "--epochs", "4", timeout=500
    )  # fmt: skip
    assert done.code == 0, done.out[-3000:]
    events = done.events()
    at = {
        (event["kind"], event.get("step")): event["ts"]
        for event in events
        if event["kind"].startswith("step.")
    }
    assert (
        at["step.finished", "start"] < at["step.finished", "environment"]
    )  # the script was running meanwhile
    output = "".join(event.get("text", "") for event in events if event["kind"] == "output")
    found = re.search(r"test accuracy ([\d.]+)", output)
    assert found
    (run,) = offline.runctl("runs", "--json").json()
    listed = offline.runctl("checkpoint", "list", run["name"], "--json").json()["checkpoints"]
    assert {each["format"] for each in listed} == {"torch"}


@pytest.mark.timeout(600)
def test_a_trainer_of_hugging_face_saves_and_goes_on(offline: World) -> None:
    if not list(WHEELS.glob("torch-*")) or not list(WHEELS.glob("transformers-*")):
        pytest.skip("pip finds no CPU build of torch, or no transformers, here")
    script = copied(offline, "trainer") / "train.py"
    offline.env |= {"HF_HUB_OFFLINE": "1"}
    first = offline.runctl("train", script, "--", "--steps", "40", timeout=500)
    assert first.code == 0, first.err[-3000:]
    assert re.search(r"test loss [\d.]+ after 40 steps", first.out)
    listed = offline.runctl("checkpoint", "list", "latest", "--json").json()["checkpoints"]
    assert [each["step"] for each in listed] == [40, 20]
    assert offline.runctl("checkpoint", "verify", "latest").code == 0
    again = offline.runctl("train", script, "--resume", "latest", "--", "--steps", "60", timeout=300)
    assert again.code == 0, again.err[-3000:]
    assert re.search(r"continuing from .*checkpoint-40", again.out)
    assert re.search(r"test loss [\d.]+ after 60 steps", again.out)
