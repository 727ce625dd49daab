"""Files made to hurt whoever reads them: nothing runs, nothing is believed, nothing takes long or much memory."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import time
import tracemalloc
import zipfile

import pytest
from tests.unit.formats.checkpoint_files import complete, look, real, why


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("true",)


def torch_like(pickled: bytes, **entries: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/data.pkl", pickled)
        archive.writestr("a/version", "3\n")
        for name, data in entries.items():
            archive.writestr(f"a/data/{name}", data)
    return buffer.getvalue()


def safetensors(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def test_nothing_is_ever_unpickled(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[object] = []
    monkeypatch.setattr(os, "system", called.append)
    evil = pickle.dumps({"step": 3, "x": Evil()})
    found = look({"a.pkl": evil, "b.pt": torch_like(evil), ".metadata": evil}, verify=True)
    assert {checkpoint.path: checkpoint.step for checkpoint in found.complete} == {"a.pkl": 3, "b.pt": 3}
    assert called == []


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (struct.pack("<Q", 1 << 60) + b"{}", "states a header of"),
        (struct.pack("<Q", (1 << 64) - 1) + b"{}", "states a header of"),
        (safetensors(b"[" * 100_000), "not readable JSON"),
        (safetensors(b"\xff\xfe"), "not readable JSON"),
        (safetensors([]), "not a JSON object"),
        (
            safetensors({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, b"1234"),
            "not what its shape needs",
        ),
        (
            safetensors({"w": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, b"12345678"),
            "does not follow",
        ),
        (
            safetensors({"w": {"dtype": "F32", "shape": [-1, -1], "data_offsets": [0, 4]}}, b"1234"),
            "no number",
        ),
        (safetensors({"w": {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]}}, b"1234"), "no number"),
        (safetensors({"w": {"dtype": "X9", "shape": [1], "data_offsets": [0, 4]}}, b"1234"), "unknown way"),
        (safetensors({"w": 3}), "unknown way"),
        (safetensors({"__metadata__": 3}), "metadata"),
        (safetensors(b'{"w": {}, "w": {}}'), "twice"),
        (
            safetensors(
                {"w": {"dtype": "F32", "shape": [1 << 62, 1 << 62], "data_offsets": [0, 4]}}, b"1234"
            ),
            "shape",
        ),
    ],
)
def test_a_safetensors_header_is_not_believed(data: bytes, reason: str) -> None:
    assert reason in why({"m.safetensors": data})


def test_overlapping_entries_of_a_zip_bomb_are_refused() -> None:
    good = torch_like(pickle.dumps({}), **{"0": b"x" * 100})
    directory = good.rindex(b"PK\x01\x02")
    entry = good[directory : good.rindex(b"PK\x05\x06")].replace(b"a/data/0", b"a/data/1")
    end = bytearray(good[good.rindex(b"PK\x05\x06") :])
    count, size = struct.unpack_from("<H", end, 8)[0], struct.unpack_from("<I", end, 12)[0]
    struct.pack_into("<HHI", end, 8, count + 1, count + 1, size + len(entry))
    bomb = good[: good.rindex(b"PK\x05\x06")] + entry + bytes(end)
    assert "reaches into what follows it" in why({"m.pt": bomb})


def test_an_entry_that_holds_more_than_it_states_is_cut_off() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w.npy", bytes(50_000_000))
    data = bytearray(buffer.getvalue())
    at = data.rindex(b"PK\x01\x02")
    struct.pack_into("<I", data, at + 24, 1000)
    tracemalloc.start()
    begun = time.process_time()
    assert "more than the 1000 bytes" in why({"w.npz": bytes(data)}, verify=True)
    assert time.process_time() - begun < 5
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


def test_an_archive_inside_an_archive_does_not_end_the_outer_one() -> None:
    inner = torch_like(pickle.dumps({"step": 1}))
    outer = torch_like(pickle.dumps({}), **{"0": inner})
    assert complete({"m.pt": outer}) == ["m.pt"]
    assert complete({"m.pt": outer[: outer.index(inner) + len(inner)]}) == []


@pytest.mark.parametrize("kept", ["a/data.pkl", "a/version"])
def test_a_zip_that_torch_did_not_write_is_none(kept: str) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(kept, pickle.dumps({}))
    assert "not one of torch.save" in why({"m.pt": buffer.getvalue()})


def test_a_storage_that_is_missing_or_short_is_named() -> None:
    data = real("torch")["state_dict.pt"]
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    pickled = entries.pop("data.pkl")
    storages = {name[5:]: data for name, data in entries.items() if name.startswith("data/")}
    assert complete({"m.pt": torch_like(pickled, **storages)}) == ["m.pt"]
    assert "a/data/2 is missing" in why(
        {"m.pt": torch_like(pickled, **{key: value for key, value in storages.items() if key != "2"})}
    )
    assert "a/data/1 has 4 bytes" in why({"m.pt": torch_like(pickled, **{**storages, "1": b"abcd"})})


def test_a_pickle_of_shared_lists_is_walked_once() -> None:
    nested: list[object] = []
    for _ in range(60):  # 2^60 leaves, if every reference were followed
        nested = [nested, nested]
    begun = time.process_time()
    assert complete({"m.pt": torch_like(pickle.dumps({"x": nested}))}) == ["m.pt"]
    assert time.process_time() - begun < 2


def test_a_pickle_that_contains_itself_ends() -> None:
    loop: dict[str, object] = {"step": 4}
    loop["self"] = loop
    (checkpoint,) = look({"m.pt": torch_like(pickle.dumps(loop))}).complete
    assert checkpoint.step == 4


def test_a_pickle_with_an_absurd_length_is_not_allocated() -> None:
    data = b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60) + b"x."
    assert "ends in the middle" in why({"m.pkl": data})


@pytest.mark.parametrize("length", [b"\xff\xff\xff\xff", b"\x00\x00\x00\x80"])
def test_a_negative_length_in_a_pickle_is_refused(length: bytes) -> None:
    assert "negative" in why({"m.pkl": b"\x80\x02T" + length + b"."})


@pytest.mark.parametrize("value", [-1, 10**16, float("nan"), float("inf"), 1.5, True, "12x", None, [3]])
def test_a_step_that_is_none_is_not_taken(value: object) -> None:
    (checkpoint,) = look({"m.pkl": pickle.dumps({"step": value})}).complete
    assert checkpoint.step is None


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("step-100.pt.tmp", "temporary"),
        ("step-100.npz.part", "temporary"),
        (".step-100.pt.aB3xY9", "temporary"),
        ("tmp-step-100.safetensors", "temporary"),
        ("step-100.pt.tmp.4711", "temporary"),
    ],
)
def test_a_temporary_name_is_being_written_whatever_it_holds(name: str, reason: str) -> None:
    found = look({name: real("torch")["state_dict.pt"]})
    assert found.complete == []
    assert [(item.path, item.kind) for item in found.incomplete] == [(name, "writing")]
    assert reason in found.incomplete[0].why


def test_files_of_other_kinds_are_not_mentioned() -> None:
    found = look(
        {"log.txt": b"x", "vocab.bin": b"words", "config.json": b"{}", "notes.md.tmp": b"", "model": b"PK"}
    )
    assert (found.complete, found.incomplete) == ([], [])
