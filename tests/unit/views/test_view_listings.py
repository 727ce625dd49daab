from __future__ import annotations

from datetime import UTC
from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from runctl.views import plan, text
from runctl.views.runs import listing, next_commands, page
from runctl.views.style import Style
from runctl.views.table import Column, table

COLUMNS = (
    Column("NAME"),
    Column("STATE", state=True),
    Column("SCRIPT", flexible=True),
    Column("SECONDS", right=True),
)
ROWS = [
    ("brave-otter-7k2m", "succeeded", "training/very/deep/folder/train.py", "12.5"),
    ("calm-fox-1a2b", "failed", "t.py", "1234.0"),
]


def test_a_piped_table_is_whole_and_aligned():
    assert table(COLUMNS, ROWS) == (
        "NAME              STATE      SCRIPT                              SECONDS\n"
        "brave-otter-7k2m  succeeded  training/very/deep/folder/train.py     12.5\n"
        "calm-fox-1a2b     failed     t.py                                 1234.0"
    )


def test_a_narrow_table_cuts_the_flexible_column_alone():
    assert table(COLUMNS, ROWS, width=60) == (
        "NAME              STATE      SCRIPT                  SECONDS\n"
        "brave-otter-7k2m  succeeded  training/ve…r/train.py     12.5\n"
        "calm-fox-1a2b     failed     t.py                     1234.0"
    )


def test_colour_is_on_states_and_the_header_only():
    lines = table(COLUMNS, ROWS, style=Style(color=True)).splitlines()
    assert lines[0].startswith("\x1b[1mNAME")
    assert lines[1].count("\x1b[") == 2
    assert "\x1b[32msucceeded\x1b[0m" in lines[1]
    assert "\x1b[31mfailed\x1b[0m     t.py" in lines[2]


def test_no_rows_is_a_header():
    assert table(COLUMNS, []) == "NAME  STATE  SCRIPT  SECONDS"


@given(st.lists(st.tuples(st.text(), st.text()), max_size=5), st.integers(30, 80))
def test_cells_cannot_break_the_lines(rows, width):
    lines = table((Column("A", flexible=True), Column("B", flexible=True)), rows, width=width).split("\n")
    assert len(lines) == len(rows) + 1
    assert all(text.cells(line) <= width for line in lines)


class Line(NamedTuple):
    symbol: str
    what: str
    detail: str = ""


class Planned(NamedTuple):
    name: str
    content: tuple[Line, ...]

    def lines(self) -> tuple[Line, ...]:
        return self.content


PLAN = Planned(
    "brave-otter-7k2m",
    (
        Line("=", "machine this", "2 cores, 8.0 GB memory, 100.0 GB disk free, no GPU"),
        Line("$", "0 USD an hour", "nothing is bought"),
        Line("=", "project /home/u/digits", "nearest pyproject.toml"),
        Line(">", "send 10 files, 1.5 MB", "of 42 files, 3.0 MB; tree 0123456789ab"),
        *(Line(">", f"  src/part_{index}.py", f"{index}.0 kB") for index in range(10)),
        Line("-", "checkpoints/", "built in"),
        Line(
            "!",
            "left out: .env",
            "looks like a secret; name it under `secrets` in .runctl.toml if it has to travel",
        ),
        Line("+", "environment /home/u/.runctl/envs/0123456789abcdef0123456789abcdef", "uv.lock; uv"),
        Line("%", "uv sync --frozen --no-install-project --python 3.11 --project /home/u/.runctl/envs/0123"),
        Line("+", "run folder", "code, output, events, checkpoints"),
        Line("%", "python3 training/train.py --epochs 20", "in /home/u/.runctl/runs/1/code"),
    ),
)


def test_the_plan_in_sections():
    assert plan.render(PLAN.name, PLAN.lines(), width=80) == "\n".join(
        [
            "Plan for brave-otter-7k2m",
            "",
            "Uses what is there",
            "  = machine this            2 cores, 8.0 GB memory, 100.0 GB disk free, no GPU",
            "  = project /home/u/digits  nearest pyproject.toml",
            "",
            "Leaves out",
            "  - checkpoints/  built in",
            "",
            "Sends",
            "  > send 10 files, 1.5 MB  of 42 files, 3.0 MB; tree 0123456789ab",
            *(f"  >   src/part_{index}.py        {index}.0 kB" for index in range(8)),
            "      and 2 more; --verbose lists all",
            "",
            "Creates",
            "  + environment /home/u/.runctl/envs/0123456789abcdef0123456789abcdef",
            "      uv.lock; uv",
            "  + run folder  code, output, events, checkpoints",
            "",
            "Runs",
            "  % uv sync --frozen --no-install-project --python 3.11 --project /home/u/.runctl/envs/0123",
            "  % python3 training/train.py --epochs 20",
            "      in /home/u/.runctl/runs/1/code",
            "",
            "Costs",
            "  $ 0 USD an hour  nothing is bought",
            "",
            "Mind",
            "  ! left out: .env  looks like a secret; name it under `secrets` in .runctl.toml",
            "                    if it has to travel",
        ]
    )


def test_verbose_lists_every_file():
    shown = plan.render(PLAN.name, PLAN.lines(), verbose=True)
    assert "src/part_9.py" in shown
    assert "more" not in shown
    assert "src/part_9.py" not in plan.render(PLAN.name, PLAN.lines())


def test_a_plan_at_forty_columns_cuts_nothing_and_wraps_details():
    shown = plan.render(PLAN.name, PLAN.lines(), width=40)
    for line in PLAN.content[:6]:
        assert line.what in shown
    details = [line for line in shown.splitlines() if line.startswith("      ") and "0123456789" not in line]
    assert all(len(line) <= 40 for line in details)


def test_a_spare_column_goes_before_a_line_breaks():
    columns = (Column("ID"), Column("PLACE", spare=True), Column("NAME", flexible=True))
    rows = [("i-0123456789abcdef0", "us-east-1a", "quiet-robin-at1b")]
    assert table(columns, rows, width=60).startswith("ID                   PLACE       NAME")
    assert table(columns, rows, width=38) == (
        "ID                   NAME\ni-0123456789abcdef0  quiet-robin-at1b"
    )
    assert "us-east-1a" in table(columns, rows)


def bought(name: str, **more: object) -> dict[str, Any]:
    """A record of a run whose machine cost 0.36 an hour, for an hour."""
    machine = {
        "attempt": 1, "machine": "i-0123456789abcdef0", "type": "g5.xlarge", "place": "us-east-1a", "spot": True,
        "price_per_hour": "0.36", "currency": "USD", "least_seconds": 60,
        "from": "2026-11-26T10:00:00.000Z", "to": "2026-11-26T11:00:00.000Z",
    }  # fmt: skip
    record = {
        "name": name, "id": "01m8", "state": "ended", "outcome": "succeeded", "exit_code": 0, "signal": None,
        "reason": "", "created_at": "2026-11-26T10:00:00.000Z", "started_at": "2026-11-26T10:00:10.000Z",
        "ended_at": "2026-11-26T11:00:00.000Z", "attempt": 1, "project": "/p", "script": "train.py", "args": [],
        "machine": "i-0123456789abcdef0", "price_per_hour": "0.36", "code": "c0de", "env_key": "",
        "store": "s3://b/runctl", "machines": [machine],
    }  # fmt: skip
    return {**record, **more}


def test_runs_on_bought_machines_are_listed_with_their_type_and_cost():
    own = bought("calm-fox-1a2b", machines=[], machine="local", store="")
    shown = listing([bought("daring-alpaca-p2n1"), own], now=2e9, zone=UTC, width=80)
    assert shown == (
        "NAME                STATE      STARTED         TIME     COST  SCRIPT    MACHINE\n"
        "daring-alpaca-p2n1  succeeded  11-26 10:00  59m 50s  $0.3600  train.py  g5.x…rge\n"
        "calm-fox-1a2b       succeeded  11-26 10:00  59m 50s           train.py  local"
    )
    assert "COST" not in listing([own], now=2e9, width=80)
    assert all(text.cells(line) <= 80 for line in shown.split("\n"))


def test_the_page_of_a_run_names_every_machine_and_what_they_cost():
    first = bought("brave-otter-7k2m")["machines"][0]
    record = bought(
        "brave-otter-7k2m", attempt=2, machines=[first, {**first, "machine": "i-2", "attempt": 2}]
    )
    paths = {"output": "s3://b/runctl/runs/01m8/2/output"}
    shown = page(
        record, steps=[], plan=None, receipt=None, paths=paths, now=2e9, zone=UTC, style=Style(color=False)
    )
    assert "machine 1    i-0123456789abcdef0, g5.xlarge spot in us-east-1a\n" in shown
    assert "machine 2    i-2, g5.xlarge spot in us-east-1a\ncost         $0.7200, 0.36 USD an hour\n" in shown
    assert "runctl checkpoint pull brave-otter-7k2m" in shown


def test_a_failed_run_of_a_store_is_resumed_by_its_name():
    assert "runctl resume brave-otter-7k2m" in next_commands(bought("brave-otter-7k2m", outcome="failed"))
