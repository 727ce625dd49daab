"""What one run's keeper stores, the next machine's run starts from: real supervisors, real keepers, a store in a folder."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.agentbox import AgentBox, until
from tests.storebox import PYTHONS
from tests.unit.agent.test_agent_keeper import Kept
from tests.unit.environment.wheel_index import Index, wheel

LINES = b"alpha\ntool\n"
SOURCE = "import alpha, sys\nprint(alpha.__file__, flush=True)\n"
LONGER = (
    SOURCE + "import time\nwhile not __import__('os').path.exists('go'): time.sleep(0.02)\nprint('end')\n"
)


@pytest.fixture(params=PYTHONS, ids=lambda path: path.split("/")[-3])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Makes machines of one Python, each with an index of its own wish."""

    def make(name: str, index: Index) -> AgentBox:
        box = AgentBox(tmp_path / name, request.param)
        box.env |= {
            "HOME": str(tmp_path),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_CACHE_DIR": "1",
            "PIP_INDEX_URL": index.url,
            "UV_DEFAULT_INDEX": index.url,
            "UV_NO_CACHE": "1",
            "PATH": os.pathsep.join([os.path.dirname(request.param), "/usr/bin:/bin"]),
        }
        return box

    return make


def begin(box: AgentBox, run: str, source: str, store: Path) -> Kept:
    digest = hashlib.sha256(LINES).hexdigest()
    environment = {
        "kind": "requirements",
        "files": ["requirements.txt"],
        "blobs": {"requirements.txt": digest},
        "python": None,
        "digest": digest,
        "installer": "pip",
    }
    kept = Kept(box, store, run)
    more = {"environment": environment, "store": kept.request["store"]}
    return kept.start(source, files={"requirements.txt": LINES}, **more)


def summaries(box: AgentBox, run: str) -> list[str]:
    return [
        event["summary"] for event in box.follow(run).of("step.finished") if event["step"] == "environment"
    ]


def told(box: AgentBox, run: str) -> str:
    return "\n".join(event["text"] for event in box.follow(run).of("notice"))


def test_the_second_machine_starts_from_what_the_first_one_stored(machine: Any, tmp_path: Path) -> None:
    store = tmp_path / "store"
    with Index().add(wheel("alpha")).add(wheel("tool")) as index:
        first = machine("first", index)
        run = begin(first, "r1", LONGER, store)
        first.says("r1", b"alpha")
        (manifest,) = until(
            lambda: list(store.glob("envs/*/manifest.json")), "it is stored while the script runs"
        )
        assert first.status("r1")["state"] == "running"
        (first.folder("r1") / "code" / "go").touch()
        assert run.done()["outcome"] == "succeeded"
        assert "environment stored for the next machine" in told(first, "r1")
        assert summaries(first, "r1")[0].startswith("2 packages")

        asked = index.requests.total()
        second = machine("second", index)
        assert begin(second, "r2", SOURCE, store).done()["outcome"] == "succeeded"
        assert index.requests.total() == asked
        assert str(tmp_path / "second").encode() in second.output("r2")
        assert summaries(second, "r2")[0].startswith("restored from the store: 2 packages")
        times = json.loads((manifest.parent / "times.json").read_text())
        assert [len(times["build"]), len(times["restore"])] == [1, 1]
        assert begin(second, "r3", SOURCE, store).done()["outcome"] == "succeeded"
        assert summaries(second, "r3")[0].startswith("cached")
        assert len(json.loads((manifest.parent / "times.json").read_text())["restore"]) == 1


def test_a_short_run_is_over_before_its_environment_is_stored_and_it_is_stored_all_the_same(
    machine: Any, tmp_path: Path
) -> None:
    with Index().add(wheel("alpha")).add(wheel("tool")) as index:
        box = machine("first", index)
        assert begin(box, "r1", SOURCE, tmp_path / "store").done()["outcome"] == "succeeded"
        assert list(tmp_path.glob("store/envs/*/manifest.json"))
