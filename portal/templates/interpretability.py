# ruff: noqa: T201  # a person's program: it prints
"""Look into a network: linear probes of each layer, and ablation of each hidden unit.

    python interpretability.py [--hidden 24]

A digits classifier is trained. Probes tell how well each layer shows properties that it was
never trained on; ablation sets one unit to its mean and counts which digit suffers. One Ray
task per probe and per part of the units. A probe of labels by the toss of a coin
is the control.

Source: G. Alain, Y. Bengio, "Understanding intermediate layers using linear classifier
probes", 2016; J. Hewitt, P. Liang, "Designing and interpreting probes with control tasks", 2019.
"""

import argparse

import numpy as np
import ray
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

Matrix = NDArray[np.float64]
Layers = list[tuple[Matrix, Matrix]]
LOOPS = np.isin(np.arange(10), (0, 6, 8, 9))  # digits that enclose something


def activations(layers: Layers, x: Matrix) -> list[Matrix]:
    """Return what each layer puts out, the images themselves first, the scores last."""
    found = [x]
    for weights, bias in layers[:-1]:
        found.append(np.maximum(found[-1] @ weights + bias, 0))
    return [*found, found[-1] @ layers[-1][0] + layers[-1][1]]


@ray.remote
def probe(train: Matrix, wanted: Matrix, test: Matrix, truth: Matrix) -> float:
    """Return the balanced accuracy with which a linear model reads a property."""
    told = RidgeClassifier(class_weight="balanced").fit(train, wanted).predict(test)
    return float(np.mean([(told[truth == value] == value).mean() for value in np.unique(truth)]))


@ray.remote
def ablated(layers: Layers, units: list[int], x: Matrix, y: Matrix) -> list[list[float]]:
    """Return for each unit of the first hidden layer how much accuracy each digit loses."""
    acts = activations(layers, x)
    before = acts[-1].argmax(axis=1) == y
    rows = []
    for unit in units:
        hidden = acts[1].copy()
        hidden[:, unit] = hidden[:, unit].mean()
        for weights, bias in layers[1:-1]:
            hidden = np.maximum(hidden @ weights + bias, 0)
        after = (hidden @ layers[-1][0] + layers[-1][1]).argmax(axis=1) == y
        rows.append([float((before & ~after)[y == digit].mean()) for digit in range(10)])
    return rows


def main() -> None:
    """Train, probe and ablate in parallel, and print both tables."""
    parser = argparse.ArgumentParser(description="Probing and ablation.")
    parser.add_argument("--hidden", type=int, default=24)
    asked = parser.parse_args()
    ray.init(log_to_driver=False)
    x, y = load_digits(return_X_y=True)
    x, x_test, y, y_test = train_test_split(x / 16, y, test_size=0.4, random_state=0)
    model = MLPClassifier(
        (asked.hidden, 16), max_iter=160, random_state=0, tol=3e-3, n_iter_no_change=4
    ).fit(x, y)
    print(f"accuracy {model.score(x_test, y_test):.3f}", flush=True)
    layers = list(zip(model.coefs_, model.intercepts_, strict=True))
    coin = np.random.default_rng(0).integers(0, 2, len(y) + len(y_test))
    properties = {
        "is even": (y % 2, y_test % 2),
        "has a loop": (LOOPS[y], LOOPS[y_test]),
        "control": (coin[: len(y)], coin[len(y) :]),
    }
    names = ("image", "layer 1", "layer 2", "scores")
    train, test = activations(layers, x), activations(layers, x_test)
    jobs = {
        (name, layer): probe.remote(train[at], held, test[at], held_test)
        for name, (held, held_test) in properties.items()
        for at, layer in enumerate(names)
    }
    told = dict(zip(jobs, ray.get(list(jobs.values())), strict=True))
    print("probe       " + "".join(f"{layer:>9s}" for layer in names))
    for name in properties:
        print(f"{name:12s}" + "".join(f"{told[name, layer]:9.3f}" for layer in names))
    parts = np.array_split(np.arange(asked.hidden), 4)
    lost = ray.get([ablated.remote(layers, part.tolist(), x_test, y_test) for part in parts])
    rows = np.array([row for part in lost for row in part])
    for unit in rows.mean(axis=1).argsort()[::-1][:5]:
        digit = int(rows[unit].argmax())
        print(f"without unit {unit:2d}: {rows[unit].mean():.3f} of all", end="")
        print(f", {rows[unit][digit]:.3f} of the {digit}s are lost")


if __name__ == "__main__":
    main()
