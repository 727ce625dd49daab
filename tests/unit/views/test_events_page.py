"""docs/reference/events.md says exactly what the code does."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from runctl.core.catalogue import known
from runctl.core.events import KINDS, SCHEMA, Output, from_json, to_json

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "events.md").read_text()
SECTIONS = dict(re.findall(r"^### `([\w.]+)`\n(.*?)(?=^##|\Z)", PAGE, re.DOTALL | re.MULTILINE))
STAMP = ["v", "kind", "ts", "run"]


def named(section: str, heading: str = "field") -> list[str]:
    """The first column of the table with that heading."""
    table = re.search(rf"^\| {re.escape(heading)} \|.*\n\|[-|]+\n((?:\|.*\n?)+)", section, re.MULTILINE)
    assert table, heading
    return re.findall(r"^\| `(\w+)`", table.group(1), re.MULTILINE)


def examples(section: str) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for block in re.findall(r"```json\n(.*?)```", section, re.DOTALL)
        for line in block.splitlines()
    ]


def test_every_kind_has_a_section_and_no_other():
    assert sorted(SECTIONS) == sorted(KINDS)
    assert named(PAGE) == STAMP


@pytest.mark.parametrize("kind", KINDS)
def test_a_section_names_exactly_the_fields(kind):
    own = [field.name for field in fields(KINDS[kind]) if field.name not in ("ts", "end")]
    assert named(SECTIONS[kind]) == (["offset", "text", "base64"] if KINDS[kind] is Output else own)


@pytest.mark.parametrize("kind", KINDS)
def test_every_example_is_what_the_code_writes(kind):
    shown = examples(SECTIONS[kind])
    assert shown
    for example in shown:
        assert (example["kind"], example["v"]) == (kind, SCHEMA)
        event = from_json(example)
        assert type(event) is KINDS[kind]
        again = to_json(event, ts="", run=example["run"])
        assert json.loads(json.dumps(again)) == example


def test_the_fields_of_an_error_are_those_of_every_error():
    assert named(SECTIONS["error"], "field of `error`") == [*known("script-not-found").to_json(), "traceback"]
    assert set(examples(SECTIONS["error"])[0]["error"]) == set(known("script-not-found").to_json())
