"""Writes the files below ``tests/data/checkpoints`` with the real libraries. Run it only to add or renew a case.

    python3 -m venv /tmp/fixtures
    /tmp/fixtures/bin/pip install torch numpy safetensors scikit-learn joblib transformers accelerate
    /tmp/fixtures/bin/python tests/data/make_checkpoints.py

Every tensor is tiny, so that the tests can try each prefix of each file.
"""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path

import joblib
import numpy as np
import safetensors.torch
import torch
import torch.distributed.checkpoint as dcp
from sklearn.linear_model import SGDClassifier

HERE = Path(__file__).parent / "checkpoints"


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))


def trained() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    model(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    return model, optimizer


def torch_files() -> None:
    folder = HERE / "torch"
    folder.mkdir()
    model, optimizer = trained()
    torch.save(model.state_dict(), folder / "state_dict.pt")
    torch.save(
        {
            "epoch": 7,
            "global_step": 350,
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "rng": torch.get_rng_state()[:16],
            "best": 0.5,
            "config": {"lr": 0.01, "name": "digits"},
        },
        folder / "checkpoint_epoch_7.pt",
    )
    torch.save(model, folder / "whole_module.pth")
    half = {"w": torch.zeros(3, 2, dtype=torch.bfloat16), "n": torch.arange(5), "flag": torch.tensor([True])}
    torch.save({**half, "shared": half["n"][1:3], "step": 12}, folder / "dtypes.ckpt")
    torch.save(
        {"epoch": 1, "model": model.state_dict()}, folder / "legacy.pt", _use_new_zipfile_serialization=False
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(model, torch.ones(1, 4)), folder / "script.pt")


def safetensors_files() -> None:
    folder = HERE / "safetensors"
    folder.mkdir()
    state = network().state_dict()
    safetensors.torch.save_file(state, folder / "model.safetensors", metadata={"step": "40", "format": "pt"})
    safetensors.torch.save_file({"w": torch.zeros(2, 2)}, folder / "plain.safetensors")


def sharded_folders() -> None:
    from huggingface_hub import save_torch_state_dict

    state = {f"layer{i}.weight": torch.full((8, 8), float(i)) for i in range(4)}
    for folder in ("sharded", "sharded_bin"):
        (HERE / folder).mkdir()
    save_torch_state_dict(state, HERE / "sharded", max_shard_size=600)
    save_torch_state_dict(state, HERE / "sharded_bin", max_shard_size=600, safe_serialization=False)


def trainer_folder() -> None:
    from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

    size = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    model = BertForSequenceClassification(BertConfig(vocab_size=10, max_position_embeddings=8, **size))
    rows = [{"input_ids": [1, 2, 3], "attention_mask": [1, 1, 1], "labels": i % 2} for i in range(8)]
    os.chdir(HERE)  # the folder's name goes into training_args.bin
    options = TrainingArguments(
        "trainer", max_steps=4, save_steps=2, per_device_train_batch_size=2, report_to=[], use_cpu=True
    )
    Trainer(model, options, train_dataset=rows).train()


def distributed_folder() -> None:
    model, optimizer = trained()
    state = {"model": model.state_dict(), "step": 30, "rng": torch.get_rng_state()[:16]}
    dcp.save(
        {**state, "optimizer": optimizer.state_dict()}, checkpoint_id=HERE / "dcp" / "step-30", no_dist=True
    )


def numpy_files() -> None:
    folder = HERE / "numpy"
    folder.mkdir()
    arrays = {
        "w": np.arange(12.0).reshape(3, 4),
        "b": np.zeros(4, np.float32),
        "names": np.array(["a", "bc"]),
    }
    np.savez(folder / "ckpt-00010.npz", epoch=np.int64(10), step=500, **arrays)  # type: ignore[arg-type] # its stub reads every keyword as allow_pickle
    np.savez_compressed(folder / "packed.npz", epoch=3, **arrays)  # type: ignore[arg-type] # as above
    np.savez(folder / "objects.npz", w=np.zeros(2), extra=np.array([{"a": 1}, None], dtype=object))


def pickle_files() -> None:
    folder = HERE / "pickle"
    folder.mkdir()
    model = SGDClassifier().fit(np.eye(4), [0, 1, 0, 1])
    joblib.dump({"epoch": 4, "model": model}, folder / "model_epoch_4.joblib")
    joblib.dump({"epoch": 5, "model": model}, folder / "packed.joblib", compress=3)
    joblib.dump([np.arange(3.0), "plain", np.array([1, "x"], dtype=object)], folder / "list.pkl")
    import pickle

    for protocol in (0, 2, 5):
        data = {"step": 9, "weights": [0.5] * 4, "name": "x", "blob": b"\0" * 300}
        (folder / f"protocol{protocol}.pkl").write_bytes(pickle.dumps(data, protocol=protocol))


def main() -> None:
    shutil.rmtree(HERE, ignore_errors=True)
    HERE.mkdir()
    torch_files()
    safetensors_files()
    numpy_files()
    pickle_files()
    distributed_folder()
    sharded_folders()
    trainer_folder()


if __name__ == "__main__":
    main()
