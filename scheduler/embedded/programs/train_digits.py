# ruff: noqa: T201, TID251, S301  # a person's program: prints, reads the clock and its own file
"""Train a digits classifier, data-parallel over the leased nodes, and survive a recall.

    python train_digits.py [--epochs 30] [--hidden 64] [--seconds-per-epoch 0]

Each leased node holds a shard of scikit-learn's digits (1,797 images of 8 x 8) in an
actor. For each batch every actor returns its gradient; their mean moves the weights. The
state is saved after each epoch, and a later attempt goes on from there. Outside of
Commonpool it trains on two shards of the local machine.
"""

import argparse
import pathlib
import pickle
import sys
import tempfile
import time
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

try:
    import commonpool  # type: ignore[import-not-found]  # on the path of a run only
except ModuleNotFoundError:  # run by hand, not by Commonpool
    commonpool = None

Weights = list[NDArray[np.float64]]
RATE, BATCH, MOMENTUM = 0.2, 64, 0.9


def forward(w: Weights, x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the hidden layer and the probabilities of the ten digits, (rows, 10)."""
    hidden = np.maximum(x @ w[0] + w[1], 0)
    scores = hidden @ w[2] + w[3]
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    return hidden, odds / odds.sum(axis=1, keepdims=True)


def gradient(w: Weights, x: NDArray[np.float64], y: NDArray[np.int64]) -> Weights:
    """Return the gradient of the mean cross-entropy, in the order of the weights."""
    hidden, odds = forward(w, x)
    odds[np.arange(len(y)), y] -= 1
    odds /= len(y)
    back = (odds @ w[2].T) * (hidden > 0)
    return [x.T @ back, back.sum(axis=0), hidden.T @ odds, odds.sum(axis=0)]


class Shard:
    """A part of the training data, on the node that keeps it."""

    def __init__(self, x: NDArray[np.float64], y: NDArray[np.int64], seed: int) -> None:
        self._x, self._y = x, y
        self._random = np.random.default_rng(seed)

    def gradient(self, w: Weights) -> Weights:
        """Return the gradient on a random batch of this shard."""
        rows = self._random.integers(0, len(self._y), BATCH)
        return gradient(w, self._x[rows], self._y[rows])

    def place(self) -> str:
        """Return the Ray node that this shard really is on."""
        return str(ray.get_runtime_context().get_node_id())[:8]


RemoteShard: Any = ray.remote(num_cpus=1)(Shard)


def shards(x: NDArray[np.float64], y: NDArray[np.int64]) -> list[Any]:
    """Return one actor per leased node, each with its part of the data."""
    leased = commonpool.nodes() if commonpool else []
    if not leased:
        parts = zip(np.array_split(x, 2), np.array_split(y, 2), strict=True)
        return [RemoteShard.remote(*part, seed) for seed, part in enumerate(parts)]
    group = commonpool.placement_group()
    parts = zip(np.array_split(x, len(leased)), np.array_split(y, len(leased)), strict=True)
    return [
        RemoteShard.options(
            num_gpus=len(leased[i]["gpus"]),
            scheduling_strategy=PlacementGroupSchedulingStrategy(group, i),
        ).remote(*part, i)
        for i, part in enumerate(parts)
    ]


def fresh(hidden: int) -> dict[str, Any]:
    """Return the state of a training that has not begun."""
    random = np.random.default_rng(0)
    sizes = [(64, hidden), (hidden,), (hidden, 10), (10,)]
    weights = [random.normal(0, 0.1, size) if len(size) > 1 else np.zeros(size) for size in sizes]
    return {"epoch": 0, "weights": weights, "speed": [np.zeros_like(w) for w in weights]}


def one_epoch(state: dict[str, Any], workers: list[Any], batches: int) -> None:
    """Move the weights by the mean of the workers' gradients, `batches` times."""
    for _ in range(batches):
        shared = ray.put(state["weights"])
        gradients = ray.get([worker.gradient.remote(shared) for worker in workers])
        for i, parts in enumerate(zip(*gradients, strict=True)):
            state["speed"][i] = MOMENTUM * state["speed"][i] - RATE * np.mean(parts, axis=0)
            state["weights"][i] = state["weights"][i] + state["speed"][i]
    state["epoch"] += 1


def place_names(workers: list[Any]) -> str:
    """Return where the shards really are: the leased nodes' names with Ray's own ids."""
    ids = ray.get([worker.place.remote() for worker in workers])
    leased = commonpool.nodes() if commonpool else []
    names = [node["node"] for node in leased] or ["this machine"] * len(ids)
    return ", ".join(f"{name} (Ray node {own})" for name, own in zip(names, ids, strict=True))


def save(state: dict[str, Any], file: pathlib.Path) -> None:
    """Write the state so that a crash leaves the old one or the new one."""
    spare = file.with_suffix(".new")
    spare.write_bytes(pickle.dumps(state))
    spare.replace(file)


def leave_if_asked(epoch: int) -> None:
    """End the program where the GPUs are wanted back; the state is saved already."""
    if commonpool and commonpool.should_checkpoint():
        commonpool.checkpointed()
        print(f"asked to leave: saved after epoch {epoch}", flush=True)
        sys.exit(commonpool.EXIT_CODE)


def arguments() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description="Train a digits classifier on leased nodes.")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--batches", type=int, default=8, help="per epoch")
    parser.add_argument("--seconds-per-epoch", type=float, default=0, help="at least")
    return parser.parse_args()


def main() -> None:
    """Train until the last epoch, or until the GPUs are wanted back."""
    asked = arguments()
    ray.init(log_to_driver=False)
    x, y = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(x / 16, y, test_size=0.2, random_state=0)
    folder = commonpool.checkpoint_dir() if commonpool else pathlib.Path(tempfile.mkdtemp())
    saved = folder / "digits.pickle"
    state = pickle.loads(saved.read_bytes()) if saved.exists() else fresh(asked.hidden)
    if state["epoch"]:
        print(f"resumed from the checkpoint after epoch {state['epoch']}", flush=True)
    workers = shards(x_train, y_train)
    parts = "1 shard" if len(workers) == 1 else f"{len(workers)} shards"
    print(f"{len(x_train)} images in {parts} on {place_names(workers)}", flush=True)
    while state["epoch"] < asked.epochs:
        begun = time.monotonic()
        one_epoch(state, workers, asked.batches)
        right = float((forward(state["weights"], x_test)[1].argmax(axis=1) == y_test).mean())
        print(f"epoch {state['epoch']:3d}  accuracy {right:.3f}", flush=True)
        save(state, saved)
        leave_if_asked(state["epoch"])
        time.sleep(max(0.0, asked.seconds_per_epoch - (time.monotonic() - begun)))
    print("done", flush=True)


if __name__ == "__main__":
    main()
