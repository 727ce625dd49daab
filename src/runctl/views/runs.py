"""Runs as text: the listing, and one run's page. Pure; records are plain JSON values, so that a list stays cheap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runctl.views import text
from runctl.views.table import Column, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import tzinfo

    from runctl.engine.records import StepTime
    from runctl.views.style import Style

COLUMNS = (
    Column("NAME"),
    Column("STATE", state=True),
    Column("EXIT", right=True),
    Column("STARTED"),
    Column("TIME", right=True),
    Column("SCRIPT", flexible=True),
    Column("MACHINE", flexible=True),
)
LABEL = 13  # columns of the labels on a run's page


def listing(
    records: Sequence[Mapping[str, Any]],
    *,
    now: float,
    zone: tzinfo | None = None,
    width: int | None = None,
    style: Style | None = None,
) -> str:
    """The table of ``runctl runs``. ``now`` in seconds since the epoch; ``zone`` None is this machine's own."""
    rows = [
        (
            record["name"],
            state(record),
            ending(record),
            local_time(record["started_at"] or record["created_at"], zone, short=True),
            _lasted(record, now),
            record["script"],
            record["machine"],
        )
        for record in records
    ]
    return table(COLUMNS, rows, width=width, style=style)


def state(record: Mapping[str, Any]) -> str:
    """The one word for where a run stands: its outcome once it has ended."""
    return str(record["outcome"] or record["state"])


def ending(record: Mapping[str, Any]) -> str:
    """The exit status, or the signal that ended the script; ``-`` while there is neither."""
    if record["signal"]:
        return str(record["signal"])
    return "-" if record["exit_code"] is None else str(record["exit_code"])


def seconds(timestamp: str) -> float:
    """Seconds since the epoch of a record's time; raises ``ValueError`` for anything else."""
    from datetime import datetime  # noqa: PLC0415 - 3 ms, not for an empty list

    return datetime.fromisoformat(timestamp).timestamp()


def local_time(timestamp: str | None, zone: tzinfo | None = None, *, short: bool = False) -> str:
    """``2026-11-23 18:04:09`` of a record's time, ``11-23 18:04`` where a table has to be narrow; ``-`` for none."""
    from datetime import datetime  # noqa: PLC0415 - as above

    if not timestamp:
        return "-"
    return (
        datetime.fromisoformat(timestamp)
        .astimezone(zone)
        .strftime("%m-%d %H:%M" if short else "%Y-%m-%d %H:%M:%S")
    )


def _lasted(record: Mapping[str, Any], now: float) -> str:
    """How long the script ran, or has been running."""
    if not record["started_at"]:
        return "-"
    if not record["ended_at"] and record["state"] != "running":
        return "-"
    end = seconds(record["ended_at"]) if record["ended_at"] else now
    return text.brief(end - seconds(record["started_at"]))


def page(
    record: Mapping[str, Any],
    *,
    steps: Sequence[StepTime],
    plan: Mapping[str, Any] | None,
    paths: Mapping[str, str],
    now: float,
    zone: tzinfo | None = None,
    style: Style,
) -> str:
    """The page of ``runctl show``: what is known of a run, its steps, where its files are, what to type next."""
    word = state(record)
    exit_text = ending(record)
    head = style.state(word) + ("" if exit_text == "-" else f", exit {exit_text}")
    rows = [
        ("run", record["name"]),
        ("id", record["id"]),
        ("state", head + (f" ({text.safe(record['reason'])})" if record["reason"] else "")),
        ("created", local_time(record["created_at"], zone)),
        ("started", local_time(record["started_at"], zone)),
        ("ended", local_time(record["ended_at"], zone)),
        ("duration", _lasted(record, now)),
        ("attempt", str(record["attempt"])),
        ("script", text.command([record["script"], *record["args"]])),
        ("project", text.safe(record["project"])),
        ("machine", f"{text.safe(record['machine'])}, {_price(record)}"),
        ("environment", record["env_key"] or "none: the machine's own Python"),
        ("code", record["code"]),
    ]
    if plan is not None:
        rows.append(("command", text.command(plan["command"])))
        if plan.get("resume_from"):
            rows.append(("resumed from", text.safe(plan["resume_from"])))
    rows += [(label, text.safe(path)) for label, path in paths.items()]
    lines = [f"{style.paint(f'{label:{LABEL}}', 'dim')}{value}" for label, value in rows]
    if steps:
        lines += ["", table(STEP_COLUMNS, [_step(step) for step in steps], style=style)]
    return "\n".join([*lines, "", *(f"  {command}" for command in next_commands(record))])


STEP_COLUMNS = (
    Column("STEP"),
    Column("WHERE"),
    Column("TIME", right=True),
    Column("RESULT", state=True),
)


def _step(step: StepTime) -> tuple[str, str, str, str]:
    result = "skipped" if step.skipped else "ok" if step.ok else "failed"
    return step.step, step.where, text.brief(step.seconds), result


def _price(record: Mapping[str, Any]) -> str:
    if record.get("machines"):
        from datetime import UTC, datetime  # noqa: PLC0415 - only for a run that costs

        from runctl.engine.cost import cost  # noqa: PLC0415 - as above

        spent = cost(record["machines"], now=datetime.now(UTC))
        return f"{record['price_per_hour']} an hour, {spent} in all"
    return "free" if float(record["price_per_hour"] or 0) == 0 else f"{record['price_per_hour']} an hour"


def next_commands(record: Mapping[str, Any]) -> list[str]:
    """What one would type next about a run, by its state."""
    name = record["name"]
    if record["state"] == "lost":
        return [f"runctl rm {name}"]
    if record["state"] != "ended":
        return [f"runctl attach {name}", f"runctl logs {name} --tail 50", f"runctl cancel {name}"]
    again = [f"runctl train {text.command([record['script']])} --resume {name}"]
    own = [f"runctl logs {name}", f"runctl checkpoint list {name}"]
    return [*own, *([] if record["outcome"] == "succeeded" else again), f"runctl rm {name}"]
