from __future__ import annotations

import re
import statistics
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.records.record_samples import a_run, ended, iso

from runctl.core.model import Outcome, RunState
from runctl.engine import stats
from runctl.engine.records import StepTime

SAMPLE = re.compile(
    r'(?P<name>[a-z_]+)\{(?P<labels>(?:[a-z]+="(?:[^"\\\n]|\\[\\n"])*",?)*)\} (?P<value>[0-9.e+-]+)'
)
LABEL = re.compile(r'([a-z]+)="((?:[^"\\\n]|\\[\\n"])*)"')


def parse(text: str) -> dict[str, Any]:
    """A strict reader of what the OpenMetrics text format allows of gauges and summaries."""
    assert text.endswith("# EOF\n")
    kinds: dict[str, str] = {}
    samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    family = ""
    for line in text.split("\n")[:-2]:
        if line.startswith("# "):
            _, word, name, rest = line.split(" ", 3)
            if word == "TYPE":
                assert name not in kinds, "a family is not interleaved with others"
                assert rest in ("gauge", "summary")
                family, kinds[name] = name, rest
            else:
                assert name == family
                assert word in ("UNIT", "HELP")
                assert word != "UNIT" or name.endswith("_" + rest)
            continue
        found = SAMPLE.fullmatch(line)
        assert found, line
        suffix = found["name"].removeprefix(family)
        labels = LABEL.findall(found["labels"])
        assert suffix in ({"gauge": [""], "summary": ["", "_count", "_sum"]}[kinds[family]])
        assert ("quantile" in dict(labels)) == (kinds[family] == "summary" and not suffix)
        unescaped = frozenset(
            (key, re.sub(r'\\([\\n"])', lambda m: {"n": "\n"}.get(m[1], m[1]), value))
            for key, value in labels
        )
        assert (found["name"], unescaped) not in samples, "no sample twice"
        samples[found["name"], unescaped] = float(found["value"])
    return {"kinds": kinds, "samples": samples}


def step(
    name: str, seconds: float, *, ok: bool = True, skipped: bool = False, where: str = "here"
) -> StepTime:
    return StepTime("r", name, where, seconds, ok, skipped, iso(seconds))


RUNS = [
    ended(1, seconds=10),
    ended(2, seconds=30),
    ended(3, Outcome.FAILED, seconds=20),
    ended(4, Outcome.CANCELLED, seconds=5, started_at=None),
    ended(5, Outcome.PREEMPTED, seconds=40, project="/other"),
    a_run(6, state=RunState.RUNNING, project="/other"),
]
STEPS = [
    *(step("install", n, where="machine") for n in range(1, 11)),
    step("install", 0.0, skipped=True, where="machine"),
    step("launch", 0.5, ok=False),
]


def test_rates_percentiles_and_totals() -> None:
    figures = stats.summary([run.to_json() for run in RUNS], STEPS)
    assert figures["runs"] == 6
    assert figures["active"] == 1
    assert figures["outcomes"] == {"succeeded": 2, "failed": 1, "preempted": 1, "cancelled": 1}
    assert figures["success_rate"] == 0.5
    assert figures["duration"] == {"p50": 25.0, "p95": pytest.approx(38.5), "total": 100.0}
    assert figures["steps"] == [
        {
            "step": "launch",
            "where": "here",
            "count": 1,
            "failed": 1,
            "skipped": 0,
            "p50": 0.5,
            "p95": 0.5,
            "total": 0.5,
        },
        {
            "step": "install",
            "where": "machine",
            "count": 10,
            "failed": 0,
            "skipped": 1,
            "p50": 5.5,
            "p95": pytest.approx(9.55),
            "total": 55,
        },
    ]
    assert [(each["project"], each["runs"], each["success_rate"]) for each in figures["projects"]] == [
        ("/home/ann/digits", 4, 2 / 3),
        ("/other", 2, 0.0),
    ]


def test_of_nothing_there_is_no_rate() -> None:
    figures = stats.summary([], [])
    assert figures["success_rate"] is None
    assert figures["duration"] == {"p50": None, "p95": None, "total": 0}
    assert parse(stats.openmetrics(figures))["samples"] == {}


@given(st.lists(st.floats(0, 1e6), min_size=2), st.integers(1, 99))
def test_percentiles_agree_with_the_standard_library(values: list[float], hundredth: int) -> None:
    expected = statistics.quantiles(values, n=100, method="inclusive")[hundredth - 1]
    assert stats.percentile(values, hundredth / 100) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("started", "ended_at", "seconds"),
    [
        (None, iso(5), None),
        (iso(5), None, None),
        ("not a time", iso(5), None),
        (iso(5), iso(2), 0.0),
        (iso(1.5), iso(3.25), 1.75),
    ],
)
def test_durations(started: str | None, ended_at: str | None, seconds: float | None) -> None:
    assert stats.duration({"started_at": started, "ended_at": ended_at}) == seconds


def test_the_export_says_the_same_figures() -> None:
    found = parse(stats.openmetrics(stats.summary([run.to_json() for run in RUNS], STEPS)))
    samples = found["samples"]
    assert found["kinds"]["runctl_step_seconds"] == "summary"
    install = {("step", "install"), ("where", "machine")}
    assert samples["runctl_step_seconds", frozenset(install | {("quantile", "0.5")})] == 5.5
    assert samples["runctl_step_seconds_count", frozenset(install)] == 10
    assert samples["runctl_step_seconds_sum", frozenset(install)] == 55
    assert samples["runctl_runs", frozenset({("project", "/other"), ("state", "active")})] == 1
    assert samples["runctl_success_ratio", frozenset({("project", "/other")})] == 0


@given(st.text(st.characters(codec=None)))
def test_any_project_path_survives_the_export(project: str) -> None:
    text = stats.openmetrics(stats.summary([ended(1, project=project).to_json()], []))
    readable = project.encode(errors="replace").decode()
    names = {dict(labels).get("project") for _, labels in parse(text)["samples"]}
    assert names == {readable}
