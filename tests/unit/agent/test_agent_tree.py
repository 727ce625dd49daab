"""The tree on the machine is the snapshot, byte for byte, or there is none."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.agentbox import AgentBox, entry, packed, tree_digest

from runctl.agent import tree
from runctl.agent.failure import AgentFailure
from runctl.agent.home import Home, remove_tree

WEIRD = "name-\udcff\udcfe \n'\"$(x)é"


def build(box: AgentBox, entries: list[dict[str, Any]], target: Path, **more: Any) -> bool:
    return tree.assemble(
        entries,
        **{
            "digest": tree_digest(entries),
            "target": str(target),
            "home": Home(str(box.home)),
            "progress": lambda _done, _total, _item: None,
            "cancelled": lambda: False,
            **more,
        },
    )


def test_files_modes_links_empty_folders_and_names_that_are_no_utf8(box: AgentBox, tmp_path: Path) -> None:
    box.call("receive", {}, packed(b"one", b"#!/bin/sh\n", b""))
    entries = [
        entry("a/b/one.txt", b"one"),
        entry("run.sh", b"#!/bin/sh\n", executable=True),
        entry(f"a/{WEIRD}", b""),
        {"path": "link", "type": "link", "target": "a/b/one.txt"},
        {"path": "a/up", "type": "link", "target": "../../outside/\udcff"},
        {"path": "empty/deep", "type": "dir"},
    ]
    target = tmp_path / "code"
    assert build(box, entries, target)
    assert (target / "a/b/one.txt").read_bytes() == (target / "link").read_bytes() == b"one"
    assert stat.S_IMODE((target / "run.sh").stat().st_mode) == 0o755
    assert stat.S_IMODE((target / "a/b/one.txt").stat().st_mode) == 0o644
    assert os.path.lexists(os.fsencode(target) + b"/a/name-\xff\xfe \n'\"$(x)\xc3\xa9")
    assert os.readlink(os.fsencode(target / "a/up")) == b"../../outside/\xff"
    assert os.listdir(target / "empty/deep") == []
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("code")] == ["code"]


def test_writing_into_the_code_does_not_reach_the_store(box: AgentBox, tmp_path: Path) -> None:
    box.call("receive", {}, packed(b"one"))
    assert build(box, [entry("one", b"one")], tmp_path / "code")
    (tmp_path / "code/one").write_bytes(b"changed")
    assert build(box, [entry("one", b"one")], tmp_path / "again")
    assert (tmp_path / "again/one").read_bytes() == b"one"


@pytest.mark.parametrize(
    "entries",
    [
        [{"path": "../out", "type": "file", "digest": "0" * 64}],
        [{"path": "/etc/out", "type": "file", "digest": "0" * 64}],
        [{"path": "a//b", "type": "file", "digest": "0" * 64}],
        [{"path": "a/./b", "type": "dir"}],
        [{"path": "", "type": "dir"}],
        [{"path": "a\0b", "type": "dir"}],
        [{"path": 1, "type": "dir"}],
        [{"path": "a", "type": "socket"}],
        [{"path": "a", "type": "link"}],
        [{"path": "a", "type": "dir"}, {"path": "a", "type": "dir"}],
        [{"path": "a", "type": "link", "target": "/tmp"}, {"path": "a/b/c", "type": "dir"}],
        [{"path": "a/b", "type": "dir"}, {"path": "a", "type": "file", "digest": "0" * 64}],
    ],
)
def test_an_unsafe_tree_is_refused(entries: list[dict[str, Any]]) -> None:
    with pytest.raises(AgentFailure) as caught:
        tree.check(entries)
    assert caught.value.code == "tree-unsafe"


def test_a_corrupt_blob_is_noticed_and_dropped(box: AgentBox, tmp_path: Path) -> None:
    box.call("receive", {}, packed(b"one"))
    one = entry("one", b"one")
    kept = Path(Home(str(box.home)).blob(one["digest"]))
    kept.chmod(0o600)
    kept.write_bytes(b"two")
    with pytest.raises(AgentFailure) as caught:
        build(box, [one], tmp_path / "code")
    assert caught.value.code == "blob-corrupt"
    assert not kept.exists()
    with pytest.raises(AgentFailure) as missing:
        build(box, [one], tmp_path / "code")
    assert (missing.value.code, missing.value.facts["path"]) == ("blob-missing", "one")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("code")]


def test_another_digest_and_a_cancel_leave_nothing(box: AgentBox, tmp_path: Path) -> None:
    box.call("receive", {}, packed(b"one"))
    entries = [entry("one", b"one"), {"path": "two", "type": "dir"}]
    with pytest.raises(AgentFailure) as caught:
        build(box, entries, tmp_path / "code", digest="0" * 64)
    assert caught.value.code == "tree-digest"
    asked = iter([False, True])
    assert not build(box, entries, tmp_path / "code", cancelled=lambda: next(asked))
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("code")]


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=6).filter(
    lambda name: name not in (".", "..")
)


@given(st.dictionaries(NAMES, st.binary(max_size=8), max_size=6), st.booleans())
def test_the_digest_is_the_documented_one_whatever_the_order(
    files: dict[str, bytes], executable: bool
) -> None:
    entries = [entry(path, data, executable=executable) for path, data in files.items()]
    assert tree.digest_of(entries) == tree.digest_of(entries[::-1]) == tree_digest(entries)


def test_the_digest_tells_kinds_apart() -> None:
    kinds = [
        [entry("a", b"")],
        [entry("a", b"", executable=True)],
        [{"path": "a", "type": "dir"}],
        [{"path": "a", "type": "link", "target": "b"}],
        [{"path": "a", "type": "link", "target": entry("a", b"")["digest"]}],
    ]
    assert len({tree.digest_of(entries) for entries in kinds}) == len(kinds)


def test_removing_a_folder_follows_no_link_and_minds_no_mode(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    doomed = tmp_path / "doomed"
    (doomed / "locked").mkdir(parents=True)
    (doomed / "locked" / "file").write_text("x")
    (doomed / "link").symlink_to(outside)
    (doomed / "locked").chmod(0o500)
    remove_tree(str(doomed))
    remove_tree(str(doomed))
    assert not doomed.exists()
    assert (outside / "kept").exists()


def test_a_blob_that_lacks_at_launch_ends_the_run_with_its_reason(box: AgentBox) -> None:
    request = box.request("r1", "print(1)")
    request["tree"].append(entry("lacking.py", b"never sent"))
    request["tree_digest"] = tree_digest(request["tree"])
    box.call("launch", request)
    followed = box.follow("r1")
    assert followed.last["outcome"] == "failed"
    assert followed.last["error"]["code"] == "blob-missing"
    assert followed.of("step.failed")[0]["code"] == "blob-missing"
    assert not (box.folder("r1") / "code").exists()


def test_a_launch_with_an_unsafe_path_writes_nothing_outside(box: AgentBox) -> None:
    request = box.request("r1", "print(1)")
    request["tree"].append(entry("../../../escaped", b"print(1)"))
    request["tree_digest"] = tree_digest(request["tree"])
    box.call("launch", request)
    assert box.follow("r1").last["error"]["code"] == "tree-unsafe"
    assert not list(box.home.parent.rglob("escaped"))
