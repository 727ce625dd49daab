"""Files that the real libraries wrote are recognised, described and, when anything is missing, refused."""

from __future__ import annotations

import pytest
from tests.unit.formats.checkpoint_files import complete, look, real, why

# path, format, step, epoch, number of tensors
REAL = [
    ("dcp/step-30", "torch-distributed", 30, None, 17),
    ("numpy/ckpt-00010.npz", "npz", 500, 10, 5),
    ("numpy/objects.npz", "npz", None, None, 2),
    ("numpy/packed.npz", "npz", None, 3, 4),
    ("pickle/list.pkl", "pickle", None, None, 2),
    ("pickle/model_epoch_4.joblib", "pickle", None, 4, 4),
    ("pickle/protocol0.pkl", "pickle", 9, None, None),
    ("pickle/protocol2.pkl", "pickle", 9, None, None),
    ("pickle/protocol5.pkl", "pickle", 9, None, None),
    ("safetensors/model.safetensors", "safetensors", 40, None, 4),
    ("safetensors/plain.safetensors", "safetensors", None, None, 1),
    ("sharded", "sharded", None, None, 4),
    ("sharded_bin", "sharded", None, None, 4),
    ("torch/checkpoint_epoch_7.pt", "torch", 350, 7, 17),
    ("torch/dtypes.ckpt", "torch", 12, None, 4),
    ("torch/script.pt", "torch", None, None, 4),
    ("torch/state_dict.pt", "torch", None, None, 4),
    ("torch/whole_module.pth", "torch", None, None, 4),
    ("trainer/checkpoint-2", "transformers", 2, None, 25),
    ("trainer/checkpoint-4", "transformers", 4, 1, 25),
]


@pytest.mark.parametrize("verify", [False, True])
def test_every_real_checkpoint_is_found_with_its_position(verify: bool) -> None:
    found = look(real(), verify=verify)
    seen = sorted(
        (c.path, c.format, c.step, c.epoch, None if c.contents.tensors is None else len(c.contents.tensors))
        for c in found.complete
    )
    assert seen == REAL
    assert [(item.path, item.kind) for item in found.incomplete] == [
        ("pickle/packed.joblib", "unverifiable"),
        ("torch/legacy.pt", "unverifiable"),
    ]


def test_the_newest_is_the_one_furthest_in_training() -> None:
    paths = [checkpoint.path for checkpoint in look(real()).complete]
    assert paths[:3] == [
        "numpy/ckpt-00010.npz",
        "torch/checkpoint_epoch_7.pt",
        "safetensors/model.safetensors",
    ]


def test_tensors_have_names_types_and_shapes() -> None:
    (checkpoint,) = look({"a.ckpt": real("torch")["dtypes.ckpt"]}).complete
    assert checkpoint.contents.tensors is not None
    assert {(t.name, t.dtype, t.shape) for t in checkpoint.contents.tensors} == {
        ("w", "bfloat16", (3, 2)),
        ("n", "int64", (5,)),
        ("flag", "bool", (1,)),
        ("shared", "int64", (2,)),
    }


def test_a_folder_is_one_checkpoint_and_its_parts_are_none() -> None:
    found = look(real("trainer"))
    assert [checkpoint.path for checkpoint in found.complete] == ["checkpoint-4", "checkpoint-2"]
    assert len(found.complete[0].files) == 7
    assert found.complete[0].size == sum(len(data) for path, data in real("trainer").items() if "-4/" in path)


def test_a_folder_that_is_itself_the_checkpoint_is_named_by_a_dot() -> None:
    assert complete(real("trainer/checkpoint-4")) == ["."]
    assert complete(real("dcp/step-30")) == ["."]


def test_the_legacy_torch_format_says_what_to_do() -> None:
    assert "save it again" in why({"old.pt": real("torch")["legacy.pt"]})


@pytest.mark.parametrize("folder", ["sharded", "sharded_bin", "dcp/step-30"])
def test_a_folder_without_one_of_its_files_is_incomplete(folder: str) -> None:
    files = real(folder)
    for missing in files:
        left = {path: data for path, data in files.items() if path != missing}
        assert complete(left) == []
        assert look(left).incomplete


@pytest.mark.parametrize("missing", ["trainer_state.json", "model.safetensors"])
def test_a_trainer_folder_needs_its_state_and_its_weights(missing: str) -> None:
    files = {f"checkpoint-4/{path}": data for path, data in real("trainer/checkpoint-4").items()}
    del files[f"checkpoint-4/{missing}"]
    assert ("trainer_state.json" if "state" in missing else "weights") in why(files)


def test_a_trainer_folder_with_a_damaged_part_names_it() -> None:
    files = real("trainer/checkpoint-4")
    files["optimizer.pt"] = files["optimizer.pt"][:-1]
    assert "optimizer.pt" in why(files)


def test_an_index_that_puts_a_tensor_elsewhere_is_wrong() -> None:
    files = real("sharded")
    index = files["model.safetensors.index.json"]
    files["model.safetensors.index.json"] = index.replace(b"layer1.weight", b"layer9.weight")
    assert "layer9.weight" in why(files)


@pytest.mark.parametrize("name", ["../other.safetensors", "/etc/passwd", "..", ""])
def test_an_index_may_not_leave_its_folder(name: str) -> None:
    index = b'{"weight_map": {"w": "%s"}}' % name.encode()
    assert "outside" in why({"model.safetensors.index.json": index})


def test_a_shard_of_an_incomplete_checkpoint_is_never_complete_by_itself() -> None:
    whole = real("safetensors")["plain.safetensors"]
    index = b'{"weight_map": {"w": "one.safetensors", "v": "two.safetensors"}}'
    assert complete({"model.safetensors.index.json": index, "one.safetensors": whole}) == []
