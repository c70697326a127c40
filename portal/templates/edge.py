# ruff: noqa: T201, TID251  # a person's program: it prints and reads the clock
"""Make a network small enough for the edge: pruning and quantisation, measured together.

    python edge.py [--rounds 200]

A digits classifier is trained once; each Ray task prunes it to a part of its weights, rounds
the rest to so many bits, and measures accuracy, bytes, and time per image one at a time.

Source: S. Han, H. Mao, W. Dally, "Deep compression", 2016.
"""

import argparse
import time
from itertools import product

import numpy as np
import ray
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

Matrix = NDArray[np.float64]
Layers = list[tuple[Matrix, Matrix]]
BITS, KEPT = (32, 8, 4, 2), (1.0, 0.5, 0.2)


def pruned(weights: Matrix, kept: float) -> Matrix:
    """Return the weights with the smallest ones at zero."""
    least = np.quantile(np.abs(weights), 1 - kept) if kept < 1 else 0.0
    return np.asarray(np.where(np.abs(weights) >= least, weights, 0.0))


def rounded(weights: Matrix, bits: int) -> Matrix:
    """Return the weights as so many bits hold them, symmetric around zero."""
    if bits >= 32:  # noqa: PLR2004  # as they were
        return weights
    levels = 2 ** (bits - 1) - 1
    scale = np.abs(weights).max() / levels
    return np.asarray(np.round(weights / scale) * scale)


def answer(layers: Layers, x: Matrix) -> Matrix:
    """Return the scores of the ten digits."""
    for weights, bias in layers[:-1]:
        x = np.maximum(x @ weights + bias, 0)
    return np.asarray(x @ layers[-1][0] + layers[-1][1])


@ray.remote
def measured(
    layers: Layers, how: tuple[int, float], test: tuple[Matrix, Matrix], rounds: int
) -> tuple[float, float, float]:
    """Return accuracy, KiB of the weights that are left, and microseconds per image."""
    bits, kept = how
    thin = [(pruned(weights, kept), bias) for weights, bias in layers]
    small = [(rounded(weights, bits), bias) for weights, bias in thin]
    accuracy = float((answer(small, test[0]).argmax(axis=1) == test[1]).mean())
    left = sum(int(np.count_nonzero(weights)) for weights, _ in thin)
    # A pruned weight still needs a bit in a mask that says which are left.
    mask = sum(weights.size for weights, _ in thin) if kept < 1 else 0
    kib = (left * bits + mask) / 8 / 1024
    begun = time.perf_counter()
    for row in range(rounds):
        answer(small, test[0][row % len(test[0])][None])
    return accuracy, kib, (time.perf_counter() - begun) / rounds * 1e6


def main() -> None:
    """Train, then measure all settings in parallel; print the table and the smallest good one."""
    parser = argparse.ArgumentParser(description="Pruning and quantisation.")
    parser.add_argument("--rounds", type=int, default=200, help="images for the timing")
    asked = parser.parse_args()
    ray.init(log_to_driver=False)
    x, y = load_digits(return_X_y=True)
    x, x_test, y, y_test = train_test_split(x / 16, y, test_size=0.3, random_state=0)
    model = MLPClassifier((64, 32), max_iter=80, random_state=0, tol=3e-3, n_iter_no_change=4).fit(
        x, y
    )
    layers = ray.put(list(zip(model.coefs_, model.intercepts_, strict=True)))
    test = ray.put((x_test, y_test))
    ways = list(product(BITS, KEPT))
    found = ray.get([measured.remote(layers, how, test, asked.rounds) for how in ways])
    print("bits  kept  accuracy    KiB  us per image")
    for (bits, kept), (accuracy, kib, micros) in zip(ways, found, strict=True):
        print(f"{bits:4d}  {kept:4.0%}  {accuracy:8.3f}  {kib:5.1f}  {micros:8.1f}")
    full = found[0][0]
    good = [(row[1], how) for how, row in zip(ways, found, strict=True) if row[0] >= full - 0.02]
    kib, (bits, kept) = min(good)
    print(
        f"within 0.02 of the full accuracy: {bits} bits, {kept:.0%} of the weights, {kib:.1f} KiB"
    )


if __name__ == "__main__":
    main()
