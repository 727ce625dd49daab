"""The examples as plain scripts: they learn, continue exactly, end when asked. Skipped where their packages are absent.

python -m pip install scikit-learn 'torch<2.14'
python -m pytest tests/flow/test_examples_directly.py
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from runctl.formats.folder import find

EXAMPLES = Path(__file__).parents[2] / "examples"


def needs(example: str) -> pytest.MarkDecorator:
    wanted = {"digits": ("numpy", "sklearn"), "torch_digits": ("torch", "sklearn")}[example]
    absent = [name for name in wanted if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(absent), reason=f"not installed: {absent}")


EACH = pytest.mark.parametrize(
    "example",
    [
        pytest.param("digits", marks=needs("digits")),
        pytest.param("torch_digits", marks=[needs("torch_digits"), pytest.mark.torch]),
    ],
)


def script(example: str) -> list[str]:
    return [sys.executable, str(EXAMPLES / example / "training" / "train.py")]


def train(example: str, cwd: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*script(example), *args],
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )


def numbers(checkpoint: Path) -> dict[str, bytes]:
    """The bytes of every array or tensor, by entry; not the archive's own, which may hold a time or a random id."""
    with zipfile.ZipFile(checkpoint) as archive:
        names = [name.partition("/")[2] or name for name in archive.namelist()]
        data = {name: archive.read(full) for name, full in zip(names, archive.namelist(), strict=True)}
    return {
        name: content for name, content in data.items() if name.startswith("data/") or name.endswith(".npy")
    }


@EACH
def test_twenty_epochs_reach_97_percent_and_keep_the_last_three(example: str, tmp_path: Path) -> None:
    done = train(example, tmp_path, "--epochs", "20", RUNCTL_CHECKPOINT_DIR=str(tmp_path / "kept"))
    lines = [json.loads(line) for line in (tmp_path / "kept" / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, 21))
    assert lines[-1]["accuracy"] >= 0.97
    assert "\r" not in done.stdout  # not a terminal
    answer = find(str(tmp_path / "kept"), verify=True)
    assert [each["epoch"] for each in answer["checkpoints"]] == [20, 19, 18]
    assert answer["incomplete"] == []


@EACH
def test_interrupted_and_resumed_is_the_same_as_uninterrupted(example: str, tmp_path: Path) -> None:
    train(example, tmp_path, "--epochs", "4", "--checkpoints", "whole")
    process = subprocess.Popen(
        [*script(example), "--epochs", "4", "--checkpoints", "parts", "--pause", "0.2"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert "epoch   1/4" in process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 128 + signal.SIGTERM
    assert "asked to end: saved step-" in said
    (newest, *_) = find(str(tmp_path / "parts"))["checkpoints"]
    resume = str(tmp_path / "parts" / newest["path"])
    again = train(example, tmp_path, "--epochs", "4", "--checkpoints", "rest", RUNCTL_RESUME_PATH=resume)
    assert f"continuing from {resume}" in again.stdout
    (one, *_), (other, *_) = (find(str(tmp_path / name))["checkpoints"] for name in ("whole", "rest"))
    assert one["path"] == other["path"]
    assert numbers(tmp_path / "whole" / one["path"]) == numbers(tmp_path / "rest" / other["path"])


@EACH
def test_a_second_call_continues_and_a_fresh_one_does_not(example: str, tmp_path: Path) -> None:
    train(example, tmp_path, "--epochs", "2")
    assert "continuing from checkpoints/step-" in train(example, tmp_path, "--epochs", "3").stdout
    assert "continuing" not in train(example, tmp_path, "--epochs", "1", "--fresh").stdout
    assert [each["epoch"] for each in find(str(tmp_path / "checkpoints"))["checkpoints"]] == [1]


@EACH
def test_going_back_deletes_nothing_from_further_on(example: str, tmp_path: Path) -> None:
    train(example, tmp_path, "--epochs", "4", "--keep", "9")
    first = find(str(tmp_path / "checkpoints"))["checkpoints"][-1]
    train(example, tmp_path, "--epochs", "2", "--keep", "1", "--resume", f"checkpoints/{first['path']}")
    assert [each["epoch"] for each in find(str(tmp_path / "checkpoints"))["checkpoints"]] == [4, 3, 2]
