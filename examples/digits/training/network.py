"""A small network in numpy: one hidden layer, trained with Adam. All of its state is a few arrays and a step count."""

from __future__ import annotations

import numpy as np

Arrays = dict[str, np.ndarray]


class Network:
    """64 inputs, ``hidden`` units, 10 outputs.

    ``state()`` is everything: a network made ``from_state`` continues exactly where the other one stood.
    """

    def __init__(self, *, hidden: int = 128, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        self.step = 0
        self.weights: Arrays = {
            "w1": random.normal(0, (2 / 64) ** 0.5, (64, hidden)),
            "b1": np.zeros(hidden),
            "w2": random.normal(0, (2 / hidden) ** 0.5, (hidden, 10)),
            "b2": np.zeros(10),
        }
        self.mean: Arrays = {name: np.zeros_like(array) for name, array in self.weights.items()}
        self.square: Arrays = {name: np.zeros_like(array) for name, array in self.weights.items()}

    def predict(self, images: np.ndarray) -> np.ndarray:
        """The digit each image most looks like."""
        hidden = np.maximum(images @ self.weights["w1"] + self.weights["b1"], 0)
        return np.argmax(hidden @ self.weights["w2"] + self.weights["b2"], axis=1)

    def learn(self, images: np.ndarray, labels: np.ndarray, *, rate: float) -> float:
        """One step of Adam on one batch; gives the mean cross-entropy before the step."""
        w = self.weights
        hidden = np.maximum(images @ w["w1"] + w["b1"], 0)
        scores = hidden @ w["w2"] + w["b2"]
        scores -= scores.max(axis=1, keepdims=True)
        chances = np.exp(scores)
        chances /= chances.sum(axis=1, keepdims=True)
        loss = -np.log(chances[np.arange(len(labels)), labels] + 1e-12).mean()
        chances[np.arange(len(labels)), labels] -= 1
        slope = chances / len(labels)
        below = (slope @ w["w2"].T) * (hidden > 0)
        self._descend(
            {"w1": images.T @ below, "b1": below.sum(0), "w2": hidden.T @ slope, "b2": slope.sum(0)}, rate
        )
        return float(loss)

    def _descend(self, slopes: Arrays, rate: float) -> None:
        self.step += 1
        for name, slope in slopes.items():
            self.mean[name] = 0.9 * self.mean[name] + 0.1 * slope
            self.square[name] = 0.999 * self.square[name] + 0.001 * slope**2
            mean = self.mean[name] / (1 - 0.9**self.step)
            square = self.square[name] / (1 - 0.999**self.step)
            self.weights[name] = self.weights[name] - rate * mean / (np.sqrt(square) + 1e-8)

    def state(self) -> Arrays:
        """Weights, both moments of Adam and the step count, as arrays by name."""
        parts = {"weights": self.weights, "mean": self.mean, "square": self.square}
        arrays = {f"{part}.{name}": array for part, held in parts.items() for name, array in held.items()}
        return {**arrays, "step": np.array(self.step)}

    @classmethod
    def from_state(cls, state: Arrays) -> Network:
        """The network that ``state`` was taken from."""
        network = cls()
        network.step = int(state["step"])
        for part in ("weights", "mean", "square"):
            setattr(network, part, {name: state[f"{part}.{name}"] for name in network.weights})
        return network
