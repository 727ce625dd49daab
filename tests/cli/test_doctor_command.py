"""``runctl doctor`` on this computer: a line each, what mends it, and a status that scripts can use."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import World
from tests.terminal import COLOURS, on_terminal, plain
from tests.unit.sandbox.cloud_world import sandbox


def test_everything_is_fine_on_a_new_computer(world: World) -> None:
    done = world.runctl("doctor")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert [line.split("  ")[1] if line.startswith("  ") else line for line in lines] == [
        "here",
        "✓ Python",
        "✓ state folder",
        "✓ disk",
        "✓ ledger",
        "machine",
        "✓ machine",
        "",
        "all 5 checks are fine",
    ]
    assert not (world.home / ".local").exists()
    assert not world.machine.exists()


def test_json_has_every_check_with_its_facts(world: World) -> None:
    told = world.runctl("doctor", "--json").json()
    assert (told["target"], told["ok"]) == ("local", True)
    assert {check["name"]: check["state"] for check in told["checks"]} == dict.fromkeys(
        ("python", "state", "disk", "ledger", "machine"), "ok"
    )
    (machine,) = [check for check in told["checks"] if check["name"] == "machine"]
    assert machine["facts"]["cpus"] == len(os.sched_getaffinity(0))
    assert machine["where"] == "machine"


def test_what_stands_badly_is_told_with_what_mends_it(world: World) -> None:
    state = world.root / "state"
    state.mkdir(mode=0o755)
    state.chmod(0o755)
    debt = {
        "entry": "owed", "run": "r-1", "provider": "fake", "machine_type": "m", "region": "", "price_per_hour": "1",
        "ts": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    (state / "ledger.jsonl").write_text(json.dumps(debt) + "\n")
    done = world.runctl("doctor", RUNCTL_STATE_DIR=str(state))
    assert done.code == 0
    assert f"  ! state folder  {state} can be read by others\n      fix:    chmod 700 {state}\n" in done.out
    assert "  ! ledger        1 machine may still be billed: r-1\n      fix:    runctl clean\n" in done.out
    assert done.out.endswith("\n2 to look at, 3 fine\n")


def test_a_failure_gives_its_status(world: World) -> None:
    blocked = world.root / "file"
    blocked.write_text("")
    done = world.runctl("doctor", "--json", RUNCTL_STATE_DIR=str(blocked))
    told = done.json()
    (state,) = [check for check in told["checks"] if check["name"] == "state"]
    assert (done.code, told["ok"], state["state"], state["code"]) == (3, False, "fail", "state-unwritable")


@pytest.fixture
def account(world: World, tmp_path: Path) -> Iterator[World]:
    """A world whose AWS is a sandbox that nobody has prepared."""
    with sandbox(tmp_path / "cloud", "--plain") as box:
        world.env |= box.values
        yield world


def test_an_account_is_looked_at_before_and_after_it_is_prepared(account: World) -> None:
    bare = account.runctl("doctor", "--on", "aws")
    assert bare.code == 2
    assert "  ✗ bucket              the bucket does not exist: there is no bucket runctl-" in bare.out
    assert "      fix:  make it, or name another:\n              runctl aws setup\n" in bare.out
    assert "  ○ bucket settings     not looked at: bucket first\n" in bare.out
    assert account.runctl("aws", "setup", "--yes").code == 0
    told = account.runctl("doctor", "--on", "aws", "--json", RUNCTL_GPU="A10G", RUNCTL_SPOT="true")
    assert told.code == 0, told.out
    checks = {check["name"]: check for check in told.json()["checks"]}
    assert not [check for check in checks.values() if check["state"] == "fail"]
    assert checks["machine"]["what"].startswith("g5.xlarge in us-east-1")
    assert checks["quota"]["facts"]["quota"] == "L-3819A6DF"
    assert {check["where"] for check in checks.values()} == {"here", "aws"}


def test_an_unknown_target_is_an_error(world: World) -> None:
    done = world.runctl("doctor", "--on", "moon")
    assert done.code == 2
    assert "error[unknown-target]" in done.err


def test_a_terminal_watches_and_then_reads_only_what_stands_badly(world: World) -> None:
    state = world.root / "state"
    state.mkdir(mode=0o755)
    state.chmod(0o755)
    sent, _ = on_terminal(world, "doctor", RUNCTL_STATE_DIR=str(state))
    assert "\x1b[32m✓\x1b[0m" in sent
    above, _, below = plain(sent).rpartition("machine\n")
    assert "✓ Python" in above
    assert all(len(line) <= 80 for line in above.splitlines())
    rows = below.splitlines()
    assert rows[1] == ""
    assert "can be read by others" in " ".join(rows[2:4])
    assert not [row for row in rows[2:] if "Python" in row]
    assert rows[-1] == "1 to look at, 4 fine"


def test_no_color_is_honoured(world: World) -> None:
    sent, _ = on_terminal(world, "doctor", NO_COLOR="1")
    assert not COLOURS.search(sent)
    assert "all 5 checks are fine" in sent
