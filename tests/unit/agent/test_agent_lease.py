"""The machine's own deadline: moved while there is something to keep, left alone or called in at the end."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from tests.agentbox import AgentBox, AgentError, until

from runctl.agent import boot as agent_boot
from runctl.agent.boot import Boot
from runctl.agent.home import Home
from runctl.agent.journal import Journal
from runctl.s3.patience import Stopped

WAITS = "import os, time\nwhile not os.path.exists('go'): time.sleep(0.02)\n"


class Shutdown:
    """A ``shutdown`` of the machine that writes down what it was told."""

    def __init__(self, box: AgentBox, folder: Path) -> None:
        folder.mkdir()
        self.told = folder / "told"
        self.program = folder / "shutdown"
        self.says("exit 0")
        box.env["PATH"] = f"{folder}:{box.env['PATH']}"

    def says(self, last: str) -> None:
        self.program.write_text(f'#!/bin/sh\necho "$@" >> {self.told}\n{last}\n')
        self.program.chmod(0o755)

    def lines(self) -> list[str]:
        return self.told.read_text().splitlines() if self.told.exists() else []


@pytest.fixture
def shutdown(box: AgentBox, tmp_path: Path) -> Shutdown:
    return Shutdown(box, tmp_path / "bin")


def request(tmp_path: Path, run: str, **more: Any) -> dict[str, Any]:
    store = {"kind": "directory", "path": str(tmp_path / "store")}
    return {
        "v": 1,
        "run": run,
        "attempt": 1,
        "store": store,
        "lease_seconds": 3,
        "release": "terminate",
        **more,
    }


def go(box: AgentBox, run: str) -> None:
    (box.folder(run) / "code" / "go").touch()


@pytest.mark.parametrize(("seconds", "word"), [(1, "+1"), (60, "+1"), (61, "+2"), (1800.5, "+31")])
def test_renewing_moves_the_deadline(seconds: float, word: str, box: AgentBox, shutdown: Shutdown) -> None:
    answer = box.call("renew", {"seconds": seconds})
    assert shutdown.lines() == [f"-h {word}"]
    left = datetime.fromisoformat(answer["expires_at"]).timestamp() - time.time()
    assert abs(left - 60 * int(word)) < 10


def test_a_machine_that_cannot_shut_down_says_so(box: AgentBox, shutdown: Shutdown) -> None:
    shutdown.says("echo 'must be root' >&2; exit 1")
    with pytest.raises(AgentError) as refused:
        box.call("renew", {"seconds": 60})
    assert (refused.value.code, refused.value.facts) == ("lease-not-armed", {"detail": "must be root"})
    with pytest.raises(AgentError) as never:
        box.call("renew", {"seconds": 0})
    assert never.value.code == "agent-request"


def test_the_deadline_moves_while_the_run_lives_and_is_called_in_at_its_end(
    box: AgentBox, shutdown: Shutdown, tmp_path: Path
) -> None:
    box.launch("r1", WAITS)
    box.call("keep", request(tmp_path, "r1"))
    until(lambda: len(shutdown.lines()) >= 4, "it was moved again and again")
    assert set(shutdown.lines()) == {"-h +1"}
    go(box, "r1")
    until(lambda: "-h now" in shutdown.lines(), "the machine goes down")
    assert (tmp_path / "store/runs/r1/1/output").exists() is False  # it printed nothing
    assert '"phase":"done"' in (tmp_path / "store/runs/r1/1/heartbeat.json").read_text()
    end(box, "r1")


def end(box: AgentBox, run: str) -> None:
    """What the machine's going down does to a keeper that asked for it."""
    os.kill(json.loads((box.folder(run) / "keeper.json").read_text())["pid"], signal.SIGTERM)


def test_a_machine_with_another_run_on_it_does_not_go_down_under_it(
    box: AgentBox, shutdown: Shutdown, tmp_path: Path
) -> None:
    box.launch("r1", "print(1)")
    box.launch("r2", WAITS)
    box.call("keep", request(tmp_path, "r1"))
    done = tmp_path / "store/runs/r1/1/heartbeat.json"
    until(lambda: done.exists() and '"done"' in done.read_text(), "the first is stored")
    count = len(shutdown.lines())
    until(lambda: len(shutdown.lines()) >= count + 2, "the deadline goes on moving")
    assert "-h now" not in shutdown.lines()
    go(box, "r2")
    until(lambda: "-h now" in shutdown.lines(), "the machine goes down")
    end(box, "r1")


def test_a_machine_that_is_kept_has_a_whole_lease_left(
    box: AgentBox, shutdown: Shutdown, tmp_path: Path
) -> None:
    box.launch("r1", "print(1)")
    box.call("keep", request(tmp_path, "r1", release="keep", lease_seconds=120))
    until(lambda: box.call("keep", request(tmp_path, "r1", release="keep"))["keeping"] is False, "it is done")
    assert set(shutdown.lines()) <= {"-h +2", "-h +1"}


def test_a_machine_without_a_lease_is_left_alone(box: AgentBox, shutdown: Shutdown, tmp_path: Path) -> None:
    box.launch("r1", "print(1)")
    asked = request(tmp_path, "r1", lease_seconds=None, release="keep")
    box.call("keep", asked)
    until(lambda: box.call("keep", asked)["keeping"] is False, "it is done")
    assert shutdown.lines() == []


def test_a_store_that_takes_nothing_for_a_whole_lease_lets_the_machine_go(
    box: AgentBox, shutdown: Shutdown, tmp_path: Path
) -> None:
    (tmp_path / "store").write_text("not a folder")
    box.launch("r1", WAITS)
    box.call("keep", request(tmp_path, "r1", lease_seconds=2))
    until(lambda: len(shutdown.lines()) >= 5, "while the run lives the deadline moves")
    go(box, "r1")
    box.ended("r1")

    def quiet() -> bool:
        count = len(shutdown.lines())
        time.sleep(2.5)  # nearly four times as long as between two moves
        return len(shutdown.lines()) == count

    until(quiet, "the deadline is not moved any more")
    assert "-h now" not in shutdown.lines()  # the deadline itself ends the machine
    for name in ("guardian", "pid"):
        os.kill(json.loads((box.folder("r1") / "keeper.json").read_text())[name], signal.SIGKILL)


class Launched:
    """Stands where the launcher stands: takes the request."""

    def __init__(self) -> None:
        self.request: dict[str, Any] = {}

    def launch(self, request: dict[str, Any]) -> None:
        self.request = request


@pytest.fixture
def boot(tmp_path: Path) -> Iterator[Callable[..., Boot]]:
    journals = []

    def make(stopped: Callable[[], bool] = lambda: False) -> Boot:
        journals.append(Journal(str(tmp_path / "events"), "r1"))
        return Boot(
            request(tmp_path, "r1"),
            home=Home(str(tmp_path / "home")),
            journal=journals[-1],
            launcher=Launched(),  # type: ignore[arg-type]
            stopped=stopped,
        )

    yield make
    for journal in journals:
        journal.close()


def put(tmp_path: Path, key: str, text: str) -> None:
    path = tmp_path / "store" / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_code_that_nobody_speaks_of_is_given_up(
    boot: Callable[..., Boot], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_boot, "CODE_SECONDS", 0.5)
    put(tmp_path, "runs/r1/1/request.json", '{"run": "r1", "env": {}, "tree_digest": "%s"}' % ("0" * 64))
    one = boot()
    assert one.work() == -1
    assert (one.failure.code, one.failure.facts["key"]) == ("store-missing", "trees/" + "0" * 64)


def test_code_that_is_said_to_come_is_waited_for(
    boot: Callable[..., Boot], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_boot, "CODE_SECONDS", 0.5)
    monkeypatch.setattr(agent_boot, "SLOWEST_LOOK", 0.1)
    put(tmp_path, "runs/r1/1/request.json", '{"run": "r1", "env": {}, "tree_digest": "%s"}' % ("0" * 64))
    begun = time.monotonic()
    calls = []

    def stopped() -> bool:
        waited = time.monotonic() - begun
        if waited < 2:
            put(tmp_path, "runs/r1/lease.json", f"{waited:.1f}")
        calls.append(one.called())
        return False

    one = boot(stopped)
    one.work()
    assert time.monotonic() - begun > 2
    assert sum(calls) > 3  # each word moves the machine's deadline


def test_a_request_of_another_run_is_refused(boot: Callable[..., Boot], tmp_path: Path) -> None:
    put(tmp_path, "runs/r1/1/request.json", '{"run": "r2", "env": {}, "tree_digest": "0"}')
    one = boot()
    one.work()
    assert one.failure.code == "agent-request"


def test_whoever_waits_can_be_stopped(boot: Callable[..., Boot]) -> None:
    begun = time.monotonic()
    with pytest.raises(Stopped):
        boot(lambda: time.monotonic() - begun > 0.5).work()
    assert time.monotonic() - begun < 3
