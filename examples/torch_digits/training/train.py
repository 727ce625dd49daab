"""Train a classifier of handwritten digits with PyTorch on the CPU: real scans, no download, some seconds.

    runctl train training/train.py -- --epochs 20

It saves a checkpoint after each epoch and when it is asked to end (SIGTERM), and continues exactly from one:
RUNCTL_CHECKPOINT_DIR says where to save, RUNCTL_RESUME_PATH what to start from.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path

import torch
from model import accuracy, build
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

BATCH = 32
STOPPED = 128 + signal.SIGTERM  # the exit status of a training that was ended, and not finished


def main() -> int:
    options = arguments()
    stopping: list[int] = []
    signal.signal(
        signal.SIGTERM, lambda number, _frame: stopping.append(number)
    )  # noted, and looked at below
    torch.set_num_threads(1)  # the network is small: more threads only wait for each other
    train_x, test_x, train_y, test_y = data()
    model, optimizer = build(seed=options.seed)
    steps = -(-len(train_x) // BATCH)  # in an epoch, the last one with a smaller batch
    step = 0
    options.checkpoints.mkdir(parents=True, exist_ok=True)
    if options.fresh:
        for old in saved(options.checkpoints):
            old.unlink()
        (options.checkpoints / "metrics.jsonl").unlink(missing_ok=True)
    start = options.resume or newest(options.checkpoints)
    if start:
        state = torch.load(start, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step = state["step"]
        print(f"continuing from {start}: step {step}, epoch {step // steps}")
    while step < options.epochs * steps:
        epoch = step // steps + 1
        # the order follows from seed and epoch alone, so a continued epoch sees what it would have seen
        order = torch.randperm(
            len(train_x), generator=torch.Generator().manual_seed(options.seed * 100_003 + epoch)
        )
        losses = []
        for batch in order.split(BATCH)[step % steps :]:
            if stopping:
                path = save(model, optimizer, options, step=step, epoch=step // steps)
                print(f"\nasked to end: saved {path.name} at step {step}; run again to continue")
                return STOPPED
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(train_x[batch]), train_y[batch])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            step += 1
        save(model, optimizer, options, step=step, epoch=epoch)
        report(
            options,
            epoch=epoch,
            step=step,
            loss=sum(losses) / len(losses),
            right=accuracy(model, test_x, test_y),
        )
        wait(options.pause, stopping)
    print(
        f"test accuracy {accuracy(model, test_x, test_y):.2%} after {step} steps; see {options.checkpoints}"
    )
    return 0


def arguments() -> argparse.Namespace:
    folder = os.environ.get("RUNCTL_CHECKPOINT_DIR", "checkpoints")
    resume = os.environ.get("RUNCTL_RESUME_PATH")
    parser = argparse.ArgumentParser(description="Train a classifier of handwritten digits with PyTorch.")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=int, default=3, help="checkpoints to keep (default 3)")
    parser.add_argument(
        "--pause", type=float, default=0, help="seconds to wait after each epoch, to look around"
    )
    parser.add_argument("--checkpoints", type=Path, default=Path(folder), metavar="DIR")
    parser.add_argument("--resume", type=Path, default=Path(resume) if resume else None, metavar="FILE")
    parser.add_argument("--fresh", action="store_true", help="delete the checkpoints in DIR and start anew")
    return parser.parse_args()


def data() -> list[torch.Tensor]:
    """Training images, test images, training labels, test labels."""
    images, labels = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(
        torch.tensor(images / 16, dtype=torch.float32),
        torch.tensor(labels),
        test_size=0.25,
        random_state=0,
        stratify=labels,
    )
    return [train_x, test_x, train_y, test_y]


def save(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    options: argparse.Namespace,
    *,
    step: int,
    epoch: int,
) -> Path:
    """Write a checkpoint whole or not at all: under a temporary name first, then renamed. Older ones are deleted."""
    path = options.checkpoints / f"step-{step:05d}.pt"
    temporary = path.with_suffix(".pt.tmp")
    state = {"step": step, "epoch": epoch, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
    with temporary.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    past = [old for old in saved(options.checkpoints) if step_of(old) <= step]  # never one from further on
    for old in past[: -options.keep] if options.keep else []:
        old.unlink()
    return path


def saved(folder: Path) -> list[Path]:
    """The checkpoints in ``folder``, oldest first."""
    return sorted((path for path in folder.glob("step-*.pt") if path.stem[5:].isdigit()), key=step_of)


def step_of(path: Path) -> int:
    return int(path.stem.partition("-")[2])


def newest(folder: Path) -> Path | None:
    return saved(folder)[-1] if saved(folder) else None


def report(options: argparse.Namespace, *, epoch: int, step: int, loss: float, right: float) -> None:
    record = {"epoch": epoch, "step": step, "loss": round(loss, 6), "accuracy": round(right, 6)}
    with (options.checkpoints / "metrics.jsonl").open("a") as metrics:
        metrics.write(json.dumps(record) + "\n")
    bar = f"[{'#' * (30 * epoch // options.epochs):30}]"
    text = f"epoch {epoch:>3}/{options.epochs}  loss {loss:.4f}  accuracy {right:.2%}"
    if sys.stdout.isatty():
        print(f"\r{bar} {text}", end="\n" if epoch == options.epochs else "", flush=True)
    else:
        print(text, flush=True)


def wait(seconds: float, stopping: list[int]) -> None:
    """Sleep for so long, or until asked to end."""
    deadline = time.monotonic() + seconds
    while not stopping and time.monotonic() < deadline:
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
