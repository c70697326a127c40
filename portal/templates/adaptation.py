# ruff: noqa: T201, S301  # a person's program: it prints, and reads its own file
"""Fine-tune a network to a new domain by low-rank updates, against tuning all of it.

    python adaptation.py [--epochs 40]

A network learns scikit-learn's digits; then the images are turned and inverted, and it is
adapted with few examples: all weights, or frozen weights plus a product of two thin matrices
(LoRA) of several ranks. One Ray task per way. The pre-trained weights are kept in the run's
checkpoint folder, so an attempt after a recall does not train them again.

Source: E. Hu et al., "LoRA: low-rank adaptation of large language models", 2021.
"""

import argparse
import pathlib
import pickle
import tempfile

import numpy as np
import ray
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

try:
    import commonpool  # type: ignore[import-not-found]  # on the path of a run only
except ModuleNotFoundError:  # run by hand, not by Commonpool
    commonpool = None

Matrix = NDArray[np.float64]
HIDDEN, BATCH, RATE, EXAMPLES = 48, 32, 0.2, 400
RANKS = (1, 2, 4, 8)


def forward(w: list[Matrix], x: Matrix) -> tuple[Matrix, Matrix]:
    """Return the hidden layer and the probabilities."""
    hidden = np.tanh(x @ w[0])
    scores = hidden @ w[1]
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    return hidden, odds / odds.sum(axis=1, keepdims=True)


def gradients(w: list[Matrix], x: Matrix, y: NDArray[np.int64]) -> list[Matrix]:
    """Return the gradient of the cross-entropy for both weights."""
    hidden, odds = forward(w, x)
    back = (odds - np.eye(10)[y]) / len(y)
    return [x.T @ ((back @ w[1].T) * (1 - hidden**2)), hidden.T @ back]


def accuracy(w: list[Matrix], x: Matrix, y: NDArray[np.int64]) -> float:
    """Return the part of the digits that are told right."""
    return float((forward(w, x)[1].argmax(axis=1) == y).mean())


def trained(x: Matrix, y: NDArray[np.int64], w: list[Matrix], epochs: int) -> list[Matrix]:
    """Return all weights, trained."""
    draw = np.random.default_rng(1)
    for _ in range(epochs):
        for rows in np.array_split(draw.permutation(len(x)), max(1, len(x) // BATCH)):
            steps = gradients(w, x[rows], y[rows])
            w = [weight - RATE * step for weight, step in zip(w, steps, strict=True)]
    return w


def low_rank(
    x: Matrix, y: NDArray[np.int64], w: list[Matrix], rank: int, epochs: int
) -> tuple[list[Matrix], int]:
    """Return the frozen weights with their trained low-rank updates, and how many were trained."""
    draw = np.random.default_rng(1)
    down = [draw.normal(0, part.shape[0] ** -0.5, (part.shape[0], rank)) for part in w]
    up = [np.zeros((rank, part.shape[1])) for part in w]
    for _ in range(epochs):
        for rows in np.array_split(draw.permutation(len(x)), max(1, len(x) // BATCH)):
            now = [part + a @ b for part, a, b in zip(w, down, up, strict=True)]
            for i, step in enumerate(gradients(now, x[rows], y[rows])):
                to_down, to_up = step @ up[i].T, down[i].T @ step
                down[i], up[i] = down[i] - RATE * to_down, up[i] - RATE * to_up
    now = [part + a @ b for part, a, b in zip(w, down, up, strict=True)]
    return now, sum(part.size for part in (*down, *up))


@ray.remote
def adapted(data: tuple[Matrix, ...], w: list[Matrix], rank: int, epochs: int) -> tuple[float, int]:
    """Return the accuracy after adapting (rank 0: all weights), and how many were trained."""
    x, x_test, y, y_test = data
    few = slice(0, EXAMPLES)
    labels = y[few].astype(np.int64)
    if rank:
        new, count = low_rank(x[few], labels, w, rank, epochs)
    else:
        new, count = trained(x[few], labels, w, epochs), sum(part.size for part in w)
    return accuracy(new, x_test, y_test.astype(np.int64)), count


def pretrained(x: Matrix, y: NDArray[np.int64], epochs: int) -> list[Matrix]:
    """Return the network as trained on the first domain, from the checkpoint where there is one."""
    folder = commonpool.checkpoint_dir() if commonpool else pathlib.Path(tempfile.mkdtemp())
    saved = folder / "pretrained.pickle"
    if saved.exists():
        print("resumed from the checkpoint after pre-training", flush=True)
        kept: list[Matrix] = pickle.loads(saved.read_bytes())
        return kept
    draw = np.random.default_rng(0)
    fresh = [draw.normal(0, 0.15, (64, HIDDEN)), draw.normal(0, 0.15, (HIDDEN, 10))]
    w = trained(x, y, fresh, epochs)
    spare = saved.with_suffix(".new")
    spare.write_bytes(pickle.dumps(w))
    spare.replace(saved)
    if commonpool and commonpool.should_checkpoint():
        commonpool.checkpointed()
    return w


def main() -> None:
    """Pre-train, adapt in every way in parallel, and compare."""
    parser = argparse.ArgumentParser(description="Low-rank adaptation.")
    parser.add_argument("--epochs", type=int, default=40)
    asked = parser.parse_args()
    ray.init(log_to_driver=False)
    x, y = load_digits(return_X_y=True)
    parts = train_test_split(x / 16 - 0.3, y, test_size=0.3, random_state=0)
    w = pretrained(parts[0], parts[2], asked.epochs)
    turned = [np.rot90(part.reshape(-1, 8, 8), axes=(1, 2)).reshape(-1, 64) for part in parts[:2]]
    new: tuple[Matrix, ...] = (
        0.4 - turned[0],
        0.4 - turned[1],
        parts[2],
        parts[3],
    )
    data = ray.put(new)
    print(f"first domain: accuracy {accuracy(w, parts[1], parts[3]):.3f}")
    print(f"new domain before adapting: {accuracy(w, 0.4 - turned[1], parts[3]):.3f}", flush=True)
    found = ray.get([adapted.remote(data, w, rank, asked.epochs) for rank in (0, *RANKS)])
    for rank, (right, count) in zip((0, *RANKS), found, strict=True):
        name = f"rank {rank}" if rank else "all weights"
        print(f"{name:12s} {count:5d} weights trained, accuracy {right:.3f}")


if __name__ == "__main__":
    main()
