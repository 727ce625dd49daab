"""``runctl verify``: what ran is what was recorded, or it is said what is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import World


@pytest.fixture
def ran(world: World) -> Path:
    """The code folder of a run that has ended."""
    files = {"train.py": "print('ran')\n", "pkg/a.py": "a = 1\n", "run.sh": "#!/bin/sh\n"}
    project = world.project(files)
    (project / "run.sh").chmod(0o755)
    (project / "link").symlink_to("run.sh")
    got = world.runctl("train", "train.py", "--", "--lr", "1", cwd=project)
    assert got.out == "ran\n", got.err
    run = world.runctl("runs", "--json").json()[0]["id"]
    code: Path = world.machine / "runs" / run / "code"
    return code


def kept_in(world: World) -> Path:
    return Path(world.runctl("show", "latest", "--json").json()["paths"]["record"])


def test_what_ran_is_what_was_recorded(world: World, ran: Path) -> None:
    got = world.runctl("verify", "latest")
    assert got.code == 0, got.err
    assert "by its machine" in got.out
    assert "= code" in got.out
    assert "4 entries hashed on the machine now" in got.out
    assert "= command      train.py --lr 1" in got.out
    told = world.runctl("verify", "latest", "--json").json()
    assert told["holds"] is True
    assert {proof["what"]: proof["holds"] for proof in told["proofs"]} == {
        "code": True,
        "command": True,
        "environment": None,
    }
    (ran / "new.txt").write_text("what the script wrote is no contradiction")
    assert world.runctl("verify", "latest", "--quiet").code == 0


@pytest.mark.parametrize("how", ["content", "gone", "mode", "link"])
def test_what_was_changed_since_is_said(world: World, ran: Path, how: str) -> None:
    changed = {"content": "pkg/a.py", "gone": "pkg/a.py", "mode": "run.sh", "link": "link"}[how]
    if how == "content":
        (ran / changed).write_text("a = 2\n")
    elif how == "mode":
        (ran / changed).chmod(0o644)
    else:
        (ran / changed).unlink()
    got = world.runctl("verify", "latest")
    assert got.code == 1
    assert f"! code         changed on the machine since it was assembled: {changed}" in got.out


def test_a_machine_that_knows_nothing_of_it_any_more_gave_a_receipt(world: World, ran: Path) -> None:
    ran.parent.rename(ran.parent.with_name("elsewhere"))
    shown = world.runctl("show", "latest", "--json").json()
    receipt = shown["receipt"]
    assert (receipt["code"], receipt["files"]) == (shown["code"], 4)
    assert receipt["command"][1:] == ["train.py", "--lr", "1"]
    assert receipt["machine"]["hostname"] in world.runctl("show", "latest").out
    got = world.runctl("verify", "latest")
    assert got.code == 0, got.err
    assert "by its receipt" in got.out
    assert "= code" in got.out
    assert "4 entries compared by the machine before it began" in got.out
    assert "= command      train.py --lr 1" in got.out


def test_a_record_that_was_changed_contradicts_the_receipt(world: World, ran: Path) -> None:
    ran.parent.rename(ran.parent.with_name("elsewhere"))
    record = kept_in(world) / "run.json"
    kept = json.loads(record.read_text())
    record.write_text(json.dumps(kept | {"code": "0" * 64, "args": ["--lr", "2"]}))
    for index in record.parent.parent.parent.glob("index*"):  # it is made again out of the records
        index.unlink()
    got = world.runctl("verify", "latest")
    assert got.code == 1
    assert "! code" in got.out
    assert "! command" in got.out


def test_without_a_receipt_nothing_is_proved(world: World, ran: Path) -> None:
    ran.parent.rename(ran.parent.with_name("elsewhere"))
    (kept_in(world) / "machine-events-1.jsonl").unlink()
    got = world.runctl("verify", "latest")
    assert got.code == 0, got.err
    assert "by its record" in got.out
    assert "? code" in got.out


def test_no_such_run(world: World) -> None:
    assert world.runctl("verify", "nobody").code == 2
