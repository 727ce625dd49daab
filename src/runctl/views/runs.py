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
    Column("EXIT", right=True, spare=True),
    Column("STARTED"),
    Column("TIME", right=True),
    Column("COST", right=True),
    Column("SCRIPT", flexible=True),
    Column("MACHINE", flexible=True),
)
COST = COLUMNS.index(Column("COST", right=True))
LABEL = 13  # columns of the labels on a run's page


def listing(
    records: Sequence[Mapping[str, Any]],
    *,
    now: float,
    zone: tzinfo | None = None,
    width: int | None = None,
    style: Style | None = None,
) -> str:
    """The table of ``runctl runs``. ``now`` in seconds since the epoch; ``zone`` None is this machine's own.

    A machine that was bought is told by its type, and what the run cost is told where any run cost something.
    """
    rows: list[tuple[str, ...]] = [
        (
            record["name"],
            state(record),
            ending(record),
            local_time(record["started_at"] or record["created_at"], zone, short=True),
            _lasted(record, now),
            _spent(record, now),
            record["script"],
            _machine(record),
        )
        for record in records
    ]
    columns: Sequence[Column] = COLUMNS
    if not any(row[COST] for row in rows):
        columns = [*COLUMNS[:COST], *COLUMNS[COST + 1 :]]
        rows = [(*row[:COST], *row[COST + 1 :]) for row in rows]
    return table(columns, rows, width=width, style=style)


def _spent(record: Mapping[str, Any], now: float) -> str:
    """What its machines cost, in their currency where that is not the dollar; empty for none."""
    leased = record.get("machines") or ()
    if not leased:
        return ""
    from datetime import UTC, datetime  # noqa: PLC0415 - only for a run that costs

    from runctl.engine.cost import cost  # noqa: PLC0415 - as above

    currency = leased[-1]["currency"]
    spent = cost(leased, now=datetime.fromtimestamp(now, UTC))
    return f"${spent}" if currency == "USD" else f"{spent} {currency}"


def _machine(record: Mapping[str, Any]) -> str:
    leased = record.get("machines") or ()
    return str(leased[-1]["type"] if leased else record["machine"])


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
    receipt: Mapping[str, Any] | None,
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
        *_machines(record, now),
        ("environment", record["env_key"] or "none: the machine's own Python"),
        ("code", record["code"]),
    ]
    if plan is not None:
        rows.append(("command", text.command(plan["command"])))
        if plan.get("resume_from"):
            rows.append(("resumed from", text.safe(plan["resume_from"])))
    if receipt is not None:
        rows.append(("receipt", text.safe(_receipt(receipt))))
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


def _receipt(receipt: Mapping[str, Any]) -> str:
    """What the machine said of itself and of what it started."""
    machine, environment = receipt["machine"], receipt["environment"]
    said = [
        machine["hostname"],
        machine["platform"],
        text.count(machine["cpus"], "cores"),
        text.size(machine["memory_bytes"]),
        text.count(receipt["files"], "files") + " compared",
    ]
    if environment is not None:
        said.append(f"{text.count(environment['packages'], 'packages')} on Python {environment['python']}")
    return ", ".join(said)


def _step(step: StepTime) -> tuple[str, str, str, str]:
    result = "skipped" if step.skipped else "ok" if step.ok else "failed"
    return step.step, step.where, text.brief(step.seconds), result


def _machines(record: Mapping[str, Any], now: float) -> list[tuple[str, str]]:
    """The machine it runs on; every one that was bought for it, with what all of them cost."""
    leased = record.get("machines") or ()
    if not leased:
        price = float(record["price_per_hour"] or 0)
        return [("machine", f"{text.safe(record['machine'])}, {f'{price} an hour' if price else 'free'}")]
    rows = [
        (
            "machine" if len(leased) == 1 else f"machine {index}",
            text.safe(
                f"{each['machine']}, {each['type']} {'spot' if each['spot'] else 'on demand'} in {each['place']}"
            ),
        )
        for index, each in enumerate(leased, 1)
    ]
    prices = dict.fromkeys(f"{each['price_per_hour']} {each['currency']} an hour" for each in leased)
    return [*rows, ("cost", ", ".join([_spent(record, now), *map(text.safe, prices)]))]


def next_commands(record: Mapping[str, Any]) -> list[str]:
    """What one would type next about a run, by its state."""
    name = record["name"]
    if record["state"] == "lost":
        return [f"runctl rm {name}"]
    if record["state"] != "ended":
        return [f"runctl attach {name}", f"runctl logs {name} --tail 50", f"runctl cancel {name}"]
    kept = bool(record.get("store"))
    again = [
        f"runctl resume {name}"
        if kept
        else f"runctl train {text.command([record['script']])} --resume {name}"
    ]
    own = [f"runctl logs {name}", f"runctl checkpoint {'pull' if kept else 'list'} {name}"]
    return [*own, *([] if record["outcome"] == "succeeded" else again), f"runctl rm {name}"]
