"""What runs leave, on a machine and in a store, is what the page on the architecture says: each file, each key."""

from __future__ import annotations

import json
import os
import re
import zlib
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tests.awsworld import SCRIPT, account
from tests.conftest import World
from tests.unit.sandbox.cloud_world import until

PAGE = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text()
# of one run: its id, digests, offsets, and what a script called its files
VARIES = re.compile(
    r"[0-9a-f]{32,64}(\.py|\.[0-9a-f]{8})?|[0-9a-f]{2}|\d+(\.json)?|01[0-9a-z]{24}|cpython-\d+|one|two"
)
THEIRS = ("code", "checkpoints", "outputs", "data", "envs", "tools")  # what is in there is not the agent's


def lacking(value: dict[str, Any], *, about: str) -> list[str]:
    """The keys that stand nowhere on the page as a key."""
    named = set(re.findall(r"`\"?(\w+)\"?`", PAGE)) | set(re.findall(r"\"(\w+)\"", PAGE))
    return [f"{about}: {key}" for key in value if key not in named]


def unnamed(paths: list[str]) -> list[str]:
    """The paths with a part that the page does not name."""
    words = set(re.findall(r"[\w.-]+", PAGE))
    return [p for p in paths if any(w not in words and not VARIES.fullmatch(w) for w in p.split("/"))]


def files(home: Path) -> list[str]:
    """What the agent keeps, as paths below its home; of what is somebody else's only where it lies."""
    found = []
    for path in sorted(home.rglob("*")):
        parts = path.relative_to(home).parts
        below = next((n for n, part in enumerate(parts) if part in THEIRS), len(parts))
        found.append("/".join(parts[: below + 1]))
    return list(dict.fromkeys(found))


def test_what_a_run_leaves_on_its_machine_is_described(world: World) -> None:
    project = world.project({"train.py": SCRIPT, "large.bin": "x" * (3 << 20), ".runctl.toml": ""})
    done = world.runctl("train", "train.py", "--", "6", "0.01", cwd=project)
    assert done.code == 0, done.err
    (run,) = (world.machine / "runs").iterdir()
    paths = files(world.machine)
    assert "runs/" + run.name + "/output.times" in paths
    assert unnamed([path.replace(run.name, "0") for path in paths]) == []
    wrong = []
    for name in ("spec.json", "status.json"):
        wrong += lacking(json.loads((run / name).read_text()), about=name)
    spec = json.loads((run / "spec.json").read_text())
    wrong += [each for entry in spec["tree"] for each in lacking(entry, about="Entry")]
    assert wrong == []
    pattern = re.compile(r"\d+ \d+\.\d{3}")
    assert all(pattern.fullmatch(line) for line in (run / "output.times").read_text().splitlines())


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """All that one run has left in a bucket."""
    base = tmp_path_factory.mktemp("account")
    leaves = 'open(os.path.join(os.environ["RUNCTL_OUTPUT_DIR"], "model.bin"), "w").write("x")\n'
    with account(base, *(() if os.geteuid() == 0 else ("--plain",))) as aws:
        user = aws.computer(base / "laptop")
        project = user.project({"train.py": SCRIPT + leaves, ".runctl.toml": ""})
        words = ("train", "train.py", "--on", "aws", "--yes", "--grace", "3", "--", "6", "0.01")
        done = user.runctl(*words, cwd=project, timeout=110)
        assert done.code == 0, done.err
        until(lambda: not aws.instances(), lambda: str(aws.instances()))
        return {key.removeprefix("runctl/"): data for key, data in aws.objects()}


def test_what_a_run_leaves_in_its_store_is_described(bucket: dict[str, bytes]) -> None:
    mine = {"outputs", "checkpoints"}  # below these the script chose the names
    paths = [re.sub(r"/(outputs|checkpoints)/.*", r"/\1", key).removesuffix("/") for key in bucket]
    paths = [re.sub(r"(runs|records)/[0-9a-z]{26}", r"\1/0", path) for path in paths]
    assert unnamed(paths) == []
    assert mine <= {path.rpartition("/")[2] for path in paths}
    wrong = []
    for key, data in bucket.items():
        name = key.rpartition("/")[2]
        if key.startswith("runs/") and name.endswith(".json") and name != "plan.json":
            value = json.loads(data)
            wrong += lacking(value, about=name)
            for each in (*value.get("checkpoints", ()), *value.get("files", ())):
                wrong += lacking(each, about=name)
    assert wrong == []


def test_a_tree_in_the_store_is_read_by_what_the_page_says(bucket: dict[str, bytes]) -> None:
    ((key, data),) = [each for each in bucket.items() if each[0].startswith("trees/")]
    line, _, rest = data.partition(b"\n")
    magic, version, length, count = line.split()
    assert (magic, version) == (b"runctl-tree", b"1")
    header = json.loads(zlib.decompress(rest[: int(length)]))
    digests = [rest[int(length) + 32 * n :][:32].hex() for n in range(int(count))]
    inline = rest[int(length) + 32 * int(count) :]
    assert header["tree"] == key.removeprefix("trees/")
    there: list[bytes] = []
    for pack, offset, size, pieces in header["blocks"]:
        name = header["packs"][pack]
        body = (bucket[f"packs/{name}"] if name else inline)[offset : offset + size]
        content = zlib.decompress(body[1:]) if body[:1] == b"Z" else body[1:]
        sizes, _, content = content.partition(b"\n")
        assert len(sizes.split()) == pieces
        for each in map(int, sizes.split()):
            there.append(content[:each])
            content = content[each:]
    assert [sha256(piece).hexdigest() for piece in there] == digests
    state = sha256()
    for path, kind, size, piece in sorted(header["entries"], key=lambda row: row[0].encode()):
        assert len(there[piece]) == size
        state.update(f"{kind}\0{path}\0{digests[piece]}\0".encode())
    assert state.hexdigest() == header["tree"]


def test_what_the_page_does_not_say_is_noticed() -> None:
    assert lacking({"run": "x", "never_heard_of": 1}, about="status.json") == ["status.json: never_heard_of"]
    assert unnamed(["runs/0/status.json", "runs/0/strange.bin"]) == ["runs/0/strange.bin"]
