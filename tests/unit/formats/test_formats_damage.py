"""No part of a checkpoint passes for a whole one: every prefix, zero-filled tails, changed bytes, garbage."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.formats.checkpoint_files import complete, look, real, why

SINGLE = [
    path
    for path in sorted(real())
    if path.partition("/")[0] in ("torch", "safetensors", "numpy", "pickle")
    and not path.endswith(("legacy.pt", "packed.joblib"))
]
FOLDERS = ["sharded", "sharded_bin", "dcp/step-30", "trainer/checkpoint-4"]


def lengths(size: int) -> list[int]:
    """Every length below ``size`` for small files; for larger ones every 29th, and all near both ends."""
    if size <= 2500:
        return list(range(size))
    return sorted({*range(0, size, 29), *range(64), *range(size - 256, size)})


@pytest.mark.parametrize("path", SINGLE)
def test_no_prefix_of_a_real_file_is_complete(path: str) -> None:
    name, data = path.rpartition("/")[2], real()[path]
    assert complete({name: data}) == [name]
    for length in lengths(len(data)):
        assert complete({name: data[:length]}) == [], length


@pytest.mark.parametrize("path", SINGLE)
def test_a_file_longer_than_it_says_is_not_complete(path: str) -> None:
    name, data = path.rpartition("/")[2], real()[path]
    for tail in (b"\0", b"\0" * 4096, b"PK\x05\x06"):
        assert complete({name: data + tail}) == []


@pytest.mark.parametrize("path", [path for path in SINGLE if path.endswith((".pt", ".pth", ".ckpt", ".npz"))])
def test_a_zero_filled_tail_is_not_complete(path: str) -> None:
    name, data = path.rpartition("/")[2], real()[path]
    for kept in range(0, len(data), 97):
        assert complete({name: data[:kept] + bytes(len(data) - kept)}) == [], kept


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_folder_with_a_cut_part_is_complete(folder: str) -> None:
    files = real(folder)
    for path, data in files.items():
        if path.endswith(("config.json", ".distcp")):
            continue  # config.json is no part of the state; .distcp has its own test
        size = len(data.rstrip())  # a JSON file without its last newline lacks nothing
        for length in (0, 1, size // 2, size - 1):
            assert complete({**files, path: data[:length]}) == [], (path, length)


def test_a_cut_distcp_is_not_complete() -> None:
    files = real("dcp/step-30")
    data = files["__0_0.distcp"]
    for length in range(0, len(data), 1009):
        assert complete({**files, "__0_0.distcp": data[:length]}) == []


@pytest.mark.parametrize("name", ["numpy/ckpt-00010.npz", "numpy/packed.npz", "torch/state_dict.pt"])
def test_verify_sees_a_changed_byte_in_the_numbers(name: str) -> None:
    data = real()[name]
    changed = bytearray(data)
    at = len(data) // 3
    changed[at] ^= 0x40
    files = {name: bytes(changed)}
    assert complete(files, verify=True) == []


def test_verify_sees_zeros_where_a_distributed_checkpoint_puts_data() -> None:
    files = real("dcp/step-30")
    files["__0_0.distcp"] = bytes(len(files["__0_0.distcp"]))
    assert complete(files) == ["."]  # the quick look reads sizes only
    assert "zeros" in why(files, verify=True)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(SINGLE), st.data())
def test_any_edit_of_a_real_file_is_answered_and_never_raised(path: str, data: st.DataObject) -> None:
    original = real()[path]
    at = data.draw(st.integers(0, len(original)))
    cut = data.draw(st.integers(0, 40))
    edited = original[:at] + data.draw(st.binary(max_size=40)) + original[at + cut :]
    name = path.rpartition("/")[2]
    found = look({name: edited}, verify=True)
    assert [c.path for c in found.complete] + [i.path for i in found.incomplete] == [name]


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(
        [
            "a.pt",
            "a.safetensors",
            "a.npz",
            "a.pkl",
            ".metadata",
            "m.safetensors.index.json",
            "trainer_state.json",
        ]
    ),
    st.binary(max_size=300),
)
def test_garbage_is_answered_and_never_raised(name: str, data: bytes) -> None:
    found = look({name: data})
    assert len(found.complete) + len(found.incomplete) == 1
