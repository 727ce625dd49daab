from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runctl.core.catalogue import known
from runctl.core.errors import UsageError
from runctl.core.events import (
    CommandRun,
    InstallerOutput,
    Notice,
    Output,
    RunPlanned,
    StepFailed,
    StepFinished,
    StepProgress,
    StepStarted,
)
from runctl.views.logfile import LogFile, Tee

EVENTS = (
    RunPlanned({"name": "brave-otter-7k2m"}),
    StepStarted("env", "install"),
    StepProgress("env", 1, 2, "packages"),
    InstallerOutput("env", "Resolved"),
    CommandRun(("uv", "sync"), "machine", 1.2345, 0),
    StepFinished("env", 2.5, "2 packages"),
    StepFailed("x", 0.1, "code", "what"),
    Notice("warning", "careful", ts="2026-11-23T18:00:00.000Z"),
    Output(7, b"secret data"),
)


def logged(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def fed(path: Path, level: str) -> list[dict[str, Any]]:
    log = LogFile(path, level=level, now=lambda: 0.0)
    for event in EVENTS:
        log.emit(event)
    log.error(known("script-not-found", script="x"), traceback="Traceback: y")
    log.close()
    log.close()
    return logged(path)


def test_everything_is_logged_at_debug_with_level_run_and_milliseconds(tmp_path):
    path = tmp_path / "deep" / "run.log"
    records = fed(path, "debug")
    assert path.stat().st_mode & 0o777 == 0o600
    assert [(record["level"], record["event"]) for record in records] == [
        ("info", "run.planned"),
        ("info", "step.started"),
        ("debug", "step.progress"),
        ("debug", "installer.output"),
        ("info", "command"),
        ("info", "step.finished"),
        ("error", "step.failed"),
        ("warning", "notice"),
        ("debug", "output"),
        ("error", "error"),
        ("debug", "traceback"),
    ]
    assert {record["run"] for record in records} == {"brave-otter-7k2m"}
    command, notice, output, error, trace = (records[index] for index in (4, 7, 8, 9, 10))
    assert (command["dur_ms"], command["argv"], command["ts"]) == (
        1234,
        ["uv", "sync"],
        "1970-01-01T00:00:00.000Z",
    )
    assert notice["ts"] == "2026-11-23T18:00:00.000Z"
    assert {"offset": 7, "bytes": 11}.items() <= output.items()
    assert "secret" not in json.dumps(output)
    assert error["error"]["code"] == "script-not-found"
    assert trace["text"] == "Traceback: y"


@pytest.mark.parametrize(("level", "lines"), [("info", 7), ("warning", 3), ("error", 2)])
def test_a_level_keeps_itself_and_what_is_worse(tmp_path, level, lines):
    assert len(fed(tmp_path / "log", level)) == lines


def test_a_log_is_appended_to(tmp_path):
    path = tmp_path / "log"
    fed(path, "error")
    assert len(fed(path, "error")) == 4


def test_a_log_that_cannot_be_opened_is_a_known_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError) as caught:
        LogFile(tmp_path / "file" / "log")
    assert caught.value.code == "log-unwritable"
    assert str(tmp_path / "file" / "log") in caught.value.what


class Broken:
    run = ""

    def emit(self, event):
        raise BrokenPipeError

    def error(self, error, *, traceback):
        raise BrokenPipeError

    def settle(self):
        pass

    def close(self):
        pass


def test_a_broken_view_does_not_keep_events_from_the_log(tmp_path):
    log = LogFile(tmp_path / "log")
    tee = Tee(Broken(), log)
    tee.run = "brave-otter-7k2m"
    with pytest.raises(BrokenPipeError):
        tee.emit(Notice("info", "kept"))
    tee.settle()
    tee.close()
    (record,) = logged(tmp_path / "log")
    assert (record["text"], record["run"]) == ("kept", "brave-otter-7k2m")
