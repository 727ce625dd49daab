"""Train a classifier of handwritten digits: real scans, no download, some seconds.

    python training/train.py --epochs 20
    runctl train training/train.py -- --epochs 20

It saves a checkpoint after each epoch and when it is asked to end (SIGTERM), and continues exactly from one. Under
runctl it needs to know nothing but two variables: RUNCTL_CHECKPOINT_DIR says where to save, RUNCTL_RESUME_PATH what
to start from.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
from network import Network
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

BATCH = 32
STOPPED = 128 + signal.SIGTERM  # the exit status of a training that was ended, and not finished


def main() -> int:
    options = arguments()
    stop = StopRequest()
    images, labels = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(
        images / 16, labels, test_size=0.25, random_state=0, stratify=labels
    )
    options.checkpoints.mkdir(parents=True, exist_ok=True)
    if options.fresh:
        for old in saved(options.checkpoints):
            old.unlink()
        (options.checkpoints / "metrics.jsonl").unlink(missing_ok=True)
    start = options.resume or newest(options.checkpoints)
    network = load(start) if start else Network(seed=options.seed)
    steps = -(-len(train_x) // BATCH)  # in an epoch, the last one with a smaller batch
    if network.step:
        print(f"continuing from {start}: step {network.step}, epoch {network.step // steps}")
    while network.step < options.epochs * steps:
        epoch = network.step // steps + 1
        begun = time.monotonic()
        loss = train_epoch(network, train_x, train_y, epoch=epoch, options=options, stop=stop)
        if stop.requested:
            path = save(network, options, epoch=network.step // steps)
            print(f"\nasked to end: saved {path.name} at step {network.step}; run again to continue")
            return STOPPED
        accuracy = float((network.predict(test_x) == test_y).mean())
        save(network, options, epoch=epoch)
        record = {
            "epoch": epoch,
            "step": network.step,
            "loss": round(loss, 6),
            "accuracy": round(accuracy, 6),
        }
        with (options.checkpoints / "metrics.jsonl").open("a") as metrics:
            metrics.write(json.dumps(record) + "\n")
        seconds = time.monotonic() - begun
        tell(
            f"epoch {epoch:>3}/{options.epochs}  loss {loss:.4f}  accuracy {accuracy:.2%}  {seconds:.2f}s",
            end=True,
        )
        stop.wait(options.pause)
    accuracy = float((network.predict(test_x) == test_y).mean())
    print(f"test accuracy {accuracy:.2%} after {network.step} steps; checkpoints in {options.checkpoints}")
    return 0


def arguments() -> argparse.Namespace:
    folder = os.environ.get("RUNCTL_CHECKPOINT_DIR", "checkpoints")
    resume = os.environ.get("RUNCTL_RESUME_PATH")
    parser = argparse.ArgumentParser(description="Train a classifier of handwritten digits.")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--rate", type=float, default=0.003, help="learning rate (default 0.003)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=int, default=3, help="checkpoints to keep (default 3)")
    parser.add_argument(
        "--pause", type=float, default=0, help="seconds to wait after each epoch, to look around"
    )
    parser.add_argument("--checkpoints", type=Path, default=Path(folder), metavar="DIR")
    parser.add_argument("--resume", type=Path, default=Path(resume) if resume else None, metavar="FILE")
    parser.add_argument("--fresh", action="store_true", help="delete the checkpoints in DIR and start anew")
    return parser.parse_args()


class StopRequest:
    """Whether SIGTERM has arrived. The handler only notes it: saving happens between two steps, in the main loop."""

    def __init__(self) -> None:
        self.requested = False
        signal.signal(signal.SIGTERM, self._note)

    def _note(self, _signal: int, _frame: object) -> None:
        self.requested = True

    def wait(self, seconds: float) -> None:
        """Sleep for so long, or until the request."""
        deadline = time.monotonic() + seconds
        while not self.requested and time.monotonic() < deadline:
            time.sleep(0.05)


def train_epoch(
    network: Network,
    x: np.ndarray,
    y: np.ndarray,
    *,
    epoch: int,
    options: argparse.Namespace,
    stop: StopRequest,
) -> float:
    """The rest of an epoch, from the step the network stands at; ends early when asked to. Gives the mean loss.

    The order of the images follows from seed and epoch alone, so a continued epoch sees what it would have seen.
    """
    order = np.random.default_rng([options.seed, epoch]).permutation(len(x))
    batches = [order[at : at + BATCH] for at in range(0, len(x), BATCH)]
    losses = []
    for batch in batches[network.step % len(batches) :]:
        if stop.requested:
            break
        losses.append(network.learn(x[batch], y[batch], rate=options.rate))
        tell(f"epoch {epoch:>3}/{options.epochs}  {bar((network.step - 1) % len(batches) + 1, len(batches))}")
    return float(np.mean(losses)) if losses else 0.0


def save(network: Network, options: argparse.Namespace, *, epoch: int) -> Path:
    """Write a checkpoint whole or not at all: under a temporary name first, then renamed. Older ones are deleted."""
    path = options.checkpoints / f"step-{network.step:05d}.npz"
    temporary = path.with_suffix(".npz.tmp")
    with temporary.open("wb") as file:
        np.savez(file, epoch=epoch, **network.state())
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    past = [
        old for old in saved(options.checkpoints) if step_of(old) <= network.step
    ]  # never one from further on
    for old in past[: -options.keep] if options.keep else []:
        old.unlink()
    return path


def saved(folder: Path) -> list[Path]:
    """The checkpoints in ``folder``, oldest first."""
    return sorted((path for path in folder.glob("step-*.npz") if path.stem[5:].isdigit()), key=step_of)


def step_of(path: Path) -> int:
    return int(path.stem.partition("-")[2])


def newest(folder: Path) -> Path | None:
    return saved(folder)[-1] if saved(folder) else None


def load(path: Path) -> Network:
    with np.load(path, allow_pickle=False) as state:
        return Network.from_state(dict(state))


def bar(done: int, total: int) -> str:
    return f"[{'#' * (30 * done // total):30}] {done:>3}/{total}"


def tell(text: str, *, end: bool = False) -> None:
    """One line that is drawn over on a terminal; in a file only the lines that stay."""
    if sys.stdout.isatty():
        print(f"\r{text:<78}", end="\n" if end else "", flush=True)
    elif end:
        print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
