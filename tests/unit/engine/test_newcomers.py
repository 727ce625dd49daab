"""What is said of a tree before it travels."""

from __future__ import annotations

from typing import Any

from runctl.engine.newcomers import collisions, newcomers


def entry(path: str, size: int = 1, kind: str = "file") -> dict[str, Any]:
    return {"path": path, "type": kind, "size": size, "digest": path}


def test_the_largest_that_are_missing_are_named_largest_first() -> None:
    entries = [entry(f"m{n}", n * 10_000_000) for n in range(1, 20)] + [entry("link", 10**9, "link")]
    said = newcomers(entries, {f"m{n}" for n in range(1, 19)})
    assert said[0] == "m18, 180 MB, is new and not ignored"
    assert len(said) == 5
    assert newcomers(entries, {"m1"}) == ()


def test_names_that_are_one_where_case_is_ignored_are_named() -> None:
    entries = [entry(path) for path in ("A/x.py", "Read.me", "a/x.py", "b", "read.ME", "straße", "STRASSE")]
    said = collisions(entries)
    assert said[0] == "A/x.py and a/x.py are one file where the disk ignores case; here they are two"
    assert [line.split(" are one")[0] for line in said] == [
        "A/x.py and a/x.py", "Read.me and read.ME", "straße and STRASSE",
    ]  # fmt: skip
    assert collisions([entry("a"), entry("b"), entry("ab")]) == ()
