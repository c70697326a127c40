# ruff: noqa: T201, TID251  # a person's program: it prints and reads the clock
"""Search for good hyper-parameters of a digits classifier, within a budget of seconds.

    python sweep.py [--seconds 15] [--together 2] [--rest 0]

Each Ray task fits scikit-learn's support vector machine with one setting and returns its
accuracy in cross-validation. Settings are drawn at random (the same ones each time).
"""

import argparse
import time

import numpy as np
import ray
from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_score
from sklearn.svm import SVC


@ray.remote
def tried(c: float, gamma: float) -> tuple[float, float, float]:
    """Return the mean accuracy over three folds, with the setting it was had with."""
    x, y = load_digits(return_X_y=True)
    scores = cross_val_score(SVC(C=c, gamma=gamma), x / 16, y, cv=3)
    return float(scores.mean()), c, gamma


def main() -> None:
    """Try settings until the budget is spent, and print the best."""
    parser = argparse.ArgumentParser(description="Random search within a time budget.")
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--together", type=int, default=2, help="tasks at a time")
    parser.add_argument("--rest", type=float, default=0, help="seconds of rest after each round")
    asked = parser.parse_args()
    ray.init(log_to_driver=False)
    draw = np.random.default_rng(7)
    end = time.monotonic() + asked.seconds
    results: list[tuple[float, float, float]] = []
    while time.monotonic() < end:
        settings = 10 ** draw.uniform((-1, -3), (2, 0), (asked.together, 2))
        before = max(results, default=(0.0,))[0]
        results += ray.get([tried.remote(float(c), float(gamma)) for c, gamma in settings])
        if max(results)[0] > before:
            print(f"{len(results)} settings tried, best {max(results)[0]:.3f}", flush=True)
        time.sleep(asked.rest)
    for accuracy, c, gamma in sorted(results, reverse=True)[:3]:
        print(f"  accuracy {accuracy:.3f} with C={c:.2f} gamma={gamma:.4f}")
    print(f"found the best of {len(results)} settings: accuracy {max(results)[0]:.3f}")


if __name__ == "__main__":
    main()
