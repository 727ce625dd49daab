"""What the records say together: how often runs succeed, and how long steps take. Pure: rows in, figures out."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from runctl.engine.records import StepTime

SCHEMA = 1
OUTCOMES = ("succeeded", "failed", "preempted", "cancelled")


def summary(runs: Iterable[Mapping[str, Any]], steps: Iterable[StepTime]) -> dict[str, Any]:
    """Figures over ``runs`` (records as ``Run.to_json`` gives them) and their ``steps``, as plain JSON values.

    ``success_rate`` is succeeded / (succeeded + failed + preempted): a run its owner cancelled says nothing about
    success. It is None when there is none to count. ``p50`` and ``p95`` are seconds, None of nothing. Steps that
    failed are in the percentiles, steps that were skipped are not: they took no time because nothing was done.
    """
    records = list(runs)
    projects: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for record in records:
        projects[record["project"]].append(record)
    groups: dict[tuple[str, str], list[StepTime]] = defaultdict(list)
    for step in steps:
        groups[step.where, step.step].append(step)
    return {
        "v": SCHEMA,
        **_of_runs(records),
        "steps": [_of_step(*key, groups[key]) for key in sorted(groups)],
        "projects": [{"project": project, **_of_runs(projects[project])} for project in sorted(projects)],
    }


def _of_runs(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    outcomes = dict.fromkeys(OUTCOMES, 0)
    for record in records:
        if record["outcome"] in outcomes:
            outcomes[record["outcome"]] += 1
    counted = sum(outcomes.values()) - outcomes["cancelled"]
    return {
        "runs": len(records),
        "active": sum(record["state"] != "ended" for record in records),
        "outcomes": outcomes,
        "success_rate": outcomes["succeeded"] / counted if counted else None,
        "duration": spread([seconds for seconds in map(duration, records) if seconds is not None]),
    }


def _of_step(where: str, name: str, steps: Sequence[StepTime]) -> dict[str, Any]:
    done = [step.seconds for step in steps if not step.skipped]
    return {
        "step": name,
        "where": where,
        "count": len(done),
        "failed": sum(not step.ok for step in steps),
        "skipped": len(steps) - len(done),
        **spread(done),
    }


def spread(seconds: Sequence[float]) -> dict[str, float | None]:
    """The median, the 95th percentile and the total of some durations; None where there are none."""
    return {"p50": percentile(seconds, 0.5), "p95": percentile(seconds, 0.95), "total": sum(seconds)}


def percentile(values: Sequence[float], share: float) -> float | None:
    """The value below which ``share`` of ``values`` lie, linear between neighbours (as numpy's default does)."""
    if not values:
        return None
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def duration(record: Mapping[str, Any]) -> float | None:
    """How many seconds the script of a record ran; None when it never started or has not ended."""
    from datetime import datetime  # noqa: PLC0415 - a list of runs needs it only for rows with both times

    started, ended = record["started_at"], record["ended_at"]
    if not started or not ended:
        return None
    try:
        return max(0.0, (datetime.fromisoformat(ended) - datetime.fromisoformat(started)).total_seconds())
    except (ValueError, TypeError):
        return None


def openmetrics(figures: Mapping[str, Any]) -> str:
    """The same figures in the OpenMetrics 1.0 text format, for a textfile collector.

    Gauges and summaries, not counters: deleting a run, or asking for a shorter time, takes from the numbers.
    """
    lines = _head("runctl_runs", "gauge", "Recorded runs by project and state.")
    for each in figures["projects"]:
        states = {"active": each["active"], **each["outcomes"]}
        lines += [
            _sample("runctl_runs", {"project": each["project"], "state": state}, number)
            for state, number in states.items()
        ]
    lines += _head(
        "runctl_success_ratio", "gauge", "Succeeded among the runs that were not cancelled.", unit="ratio"
    )
    lines += [
        _sample("runctl_success_ratio", {"project": each["project"]}, each["success_rate"])
        for each in figures["projects"]
        if each["success_rate"] is not None
    ]
    lines += _head("runctl_step_seconds", "summary", "Seconds a step of a run took.", unit="seconds")
    for each in figures["steps"]:
        labels = {"step": each["step"], "where": each["where"]}
        lines += [
            _sample("runctl_step_seconds", {**labels, "quantile": quantile}, each[key])
            for quantile, key in (("0.5", "p50"), ("0.95", "p95"))
            if each[key] is not None
        ]
        lines.append(_sample("runctl_step_seconds_count", labels, each["count"]))
        lines.append(_sample("runctl_step_seconds_sum", labels, each["total"]))
    lines += _head("runctl_step_failures", "gauge", "Times a step failed.")
    lines += [
        _sample("runctl_step_failures", {"step": each["step"], "where": each["where"]}, each["failed"])
        for each in figures["steps"]
    ]
    return "\n".join([*lines, "# EOF"]) + "\n"


def _head(name: str, kind: str, text: str, *, unit: str = "") -> list[str]:
    return [f"# TYPE {name} {kind}", *([f"# UNIT {name} {unit}"] if unit else []), f"# HELP {name} {text}"]


def _sample(name: str, labels: Mapping[str, str], value: float) -> str:
    words = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    return f"{name}{{{words}}} {value!r}"


def _escaped(text: str) -> str:
    """A label's value: UTF-8 without what the format reads as its own; bytes that are no text are replaced."""
    plain = text.encode(errors="replace").decode()
    return plain.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
