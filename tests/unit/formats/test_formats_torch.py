"""What the installed PyTorch writes today is recognised, for every way of saving; skipped without PyTorch."""

from __future__ import annotations

import io

import pytest
from tests.unit.formats.checkpoint_files import complete, look

torch = pytest.importorskip("torch", reason="PyTorch is no part of the development environment")
pytestmark = pytest.mark.torch


def saved(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def test_what_torch_saves_is_complete_and_no_prefix_of_it_is() -> None:
    model = torch.nn.Linear(3, 2)
    data = saved({"step": 5, "model": model.state_dict(), "half": torch.zeros(3, dtype=torch.bfloat16)})
    (checkpoint,) = look({"m.pt": data}, verify=True).complete
    assert checkpoint.step == 5
    assert {(t.name, t.dtype, t.shape) for t in checkpoint.contents.tensors or []} == {
        ("model.weight", "float32", (2, 3)),
        ("model.bias", "float32", (2,)),
        ("half", "bfloat16", (3,)),
    }
    for length in range(0, len(data), 7):
        assert complete({"m.pt": data[:length]}) == []


@pytest.mark.parametrize(
    "dtype", ["float64", "float16", "int8", "uint8", "int16", "int32", "int64", "bool", "complex64"]
)
def test_every_type_has_its_name_and_size(dtype: str) -> None:
    (checkpoint,) = look({"m.pt": saved([torch.zeros(5, dtype=getattr(torch, dtype))])}, verify=True).complete
    assert [(t.name, t.dtype, t.shape) for t in checkpoint.contents.tensors or []] == [("0", dtype, (5,))]


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "uint16", "uint32"])
def test_types_without_a_storage_class_of_their_own(dtype: str) -> None:
    value = torch.zeros(4, dtype=torch.uint8).view(getattr(torch, dtype)) if "8" in dtype else None
    value = torch.zeros(4).to(getattr(torch, dtype)) if value is None else value
    (checkpoint,) = look({"m.pt": saved({"x": value})}, verify=True).complete
    assert [(t.name, t.dtype, t.shape) for t in checkpoint.contents.tensors or []] == [("x", dtype, (4,))]


def test_views_parameters_sparse_and_quantised_do_not_confuse_it() -> None:
    base = torch.arange(10.0)
    value = {"view": base[2:5], "parameter": torch.nn.Parameter(base), "sparse": torch.eye(3).to_sparse()}
    (checkpoint,) = look({"m.pt": saved(value)}, verify=True).complete
    assert {t.name for t in checkpoint.contents.tensors or []} >= {"view", "parameter"}
