# /// script
# requires-python = ">=3.9"
# dependencies = ["numpy>=1.21"]
# ///
"""Logistic regression in one file that says itself what it needs (PEP 723): two moons, made here, no download.

runctl train train.py -- --rate 0.5
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np

FREQUENCIES = 40


def moons(count, rng):
    """Points of two half circles that reach into each other, and which half each is of."""
    angle = rng.uniform(0, np.pi, count)
    label = rng.integers(0, 2, count)
    x = np.where(label == 0, np.cos(angle), 1 - np.cos(angle))
    y = np.where(label == 0, np.sin(angle), 0.5 - np.sin(angle))
    return np.stack([x, y], axis=1) + rng.normal(0, 0.1, (count, 2)), label


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=float, default=0.5, help="learning rate (default 0.5)")
    parser.add_argument("--epochs", type=int, default=200)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    points, labels = moons(600, rng)
    waves, shifts = rng.normal(0, 1.5, (2, FREQUENCIES)), rng.uniform(0, 2 * np.pi, FREQUENCIES)
    features = np.cos(points @ waves + shifts)  # curved borders out of a straight one
    (train, test), (right, wanted) = np.split(features, [400]), np.split(labels, [400])
    weights = np.zeros(FREQUENCIES)
    for epoch in range(1, options.epochs + 1):
        guess = 1 / (1 + np.exp(-(train @ weights)))
        weights -= options.rate * train.T @ (guess - right) / len(train)
        if epoch % 50 == 0:
            loss = -np.mean(np.log(np.where(right == 1, guess, 1 - guess)))
            print(f"epoch {epoch}/{options.epochs}  loss {loss:.4f}", flush=True)
    accuracy = float(np.mean((test @ weights > 0) == wanted))
    folder = Path(os.environ.get("RUNCTL_OUTPUT_DIR", "."))
    (folder / "result.json").write_text(json.dumps({"rate": options.rate, "accuracy": accuracy}) + "\n")
    print(f"rate {options.rate}  test accuracy {accuracy:.2%}")


if __name__ == "__main__":
    main()
