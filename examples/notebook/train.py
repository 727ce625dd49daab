"""Fits a line by gradient descent: real enough to have a loss and checkpoints, and needs nothing installed."""

import argparse
import os
import pickle
import random
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--epochs", type=int, default=5)
    options = parser.parse_args()
    points = [(x, 3 * x + 1 + random.Random(x).gauss(0, 0.1)) for x in [n / 50 for n in range(50)]]
    folder = Path(os.environ.get("RUNCTL_CHECKPOINT_DIR", "checkpoints"))
    folder.mkdir(exist_ok=True)
    slope = shift = 0.0
    for epoch in range(1, options.epochs + 1):
        errors = [(x, slope * x + shift - y) for x, y in points]
        slope -= options.lr * sum(2 * x * error for x, error in errors) / len(points)
        shift -= options.lr * sum(2 * error for _, error in errors) / len(points)
        (folder / f"epoch_{epoch}.pkl").write_bytes(
            pickle.dumps({"epoch": epoch, "slope": slope, "shift": shift})
        )
        print(f"epoch {epoch} loss {sum(error * error for _, error in errors) / len(points):.4f}")
        time.sleep(0.1)


if __name__ == "__main__":
    main()
