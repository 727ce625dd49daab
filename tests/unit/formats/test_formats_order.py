"""What a name tells about the position of a training, and which checkpoint is newer."""

from __future__ import annotations

import itertools

import pytest

from runctl.formats.order import age, position_from_name, position_from_values


@pytest.mark.parametrize(
    ("path", "step", "epoch"),
    [
        ("checkpoint_epoch_10.pt", None, 10),
        ("checkpoint_epoch_9.pt", None, 9),
        ("step-1000", 1000, None),
        ("ckpt-00010", 10, None),
        ("ckpt-00010.npz", 10, None),
        ("checkpoint-500", 500, None),
        ("epoch=3-step=1200.ckpt", 1200, 3),
        ("model_iter_42.pth.tar", 42, None),
        ("global_step500/mp_rank_00_model_states.pt", 500, None),
        ("step-1000/model.safetensors", 1000, None),
        ("step_7/step_9.pt", 9, None),
        ("digits-0042.npz", 42, None),
        ("model-2.pt", 2, None),
        ("model.10.pt", 10, None),
        ("ep12.pkl", None, 12),
        ("EPOCH_4.PT", None, 4),
        ("model-00001-of-00002.safetensors", None, None),
        ("resnet50.pt", None, None),
        ("llama_model_7b.safetensors", None, None),
        ("model_v2.pt", None, None),
        ("best_loss-0.25.pt", None, None),
        ("model-2026-11-23.pt", None, None),
        ("model_20261123_181500.pt", None, None),
        ("lr1e-4.pt", 4, None),  # a last number after a dash is a step: there is no telling
        ("best.pt", None, None),
        ("2f9a7c.pt", None, None),
        (".", None, None),
        ("", None, None),
    ],
)
def test_position_from_name(path: str, step: int | None, epoch: int | None) -> None:
    assert position_from_name(path) == (step, epoch)


@pytest.mark.parametrize(
    ("values", "step", "epoch"),
    [
        ({"global_step": 5, "step": 4, "epoch": 1}, 5, 1),
        ({"iteration": "12"}, 12, None),
        ({"epoch": 2.0}, None, 2),
        ({"epoch": 2.5}, None, None),
        ({"step": -1, "epoch": True}, None, None),
        ({}, None, None),
    ],
)
def test_position_from_values(values: dict[str, object], step: int | None, epoch: int | None) -> None:
    assert position_from_values(values) == (step, epoch)


# oldest first: (step, epoch, time, path)
AGES = [
    (None, None, 5.0, "z.pt"),
    (None, None, 9.0, "a.pt"),
    (None, 9, 1.0, "epoch_9.pt"),
    (None, 10, 0.0, "epoch_10.pt"),
    (0, None, 1.0, "step-0.pt"),
    (9, 2, 99.0, "step-9.pt"),
    (10, None, 1.0, "step-10.pt"),
    (10, 1, 0.0, "early.pt"),
    (10, 2, 3.0, "a.pt"),
    (10, 2, 3.0, "b.pt"),
    (10, 2, 4.0, "a.pt"),
]


def test_age_is_step_then_epoch_then_time_then_path() -> None:
    for older, newer in itertools.combinations(AGES, 2):
        assert age(*older) < age(*newer), (older, newer)
