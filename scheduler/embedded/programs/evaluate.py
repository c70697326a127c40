# ruff: noqa: T201, TID251  # a person's program: it prints and reads the clock
"""Evaluate classifiers on scikit-learn's breast cancer data, with bootstrap intervals.

    python evaluate.py [--seconds 0] [--rest 0]

One Ray task per classifier and round; each round fits on a resampled training set. With
`--seconds` it goes on for that long: more rounds, narrower intervals.
"""

import argparse
import time

import numpy as np
import ray
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

MODELS = ("logistic regression", "random forest")


@ray.remote
def accuracies(model: str, seed: int, rounds: int) -> list[float]:
    """Return the accuracy on the same held-out part, for `rounds` resampled trainings."""
    x, y = load_breast_cancer(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.3, random_state=0)
    draw = np.random.default_rng(seed)
    found = []
    for _ in range(rounds):
        rows = draw.integers(0, len(y_train), len(y_train))
        chosen = (
            make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
            if model == MODELS[0]
            else RandomForestClassifier(30, random_state=seed)
        )
        found.append(float(chosen.fit(x_train[rows], y_train[rows]).score(x_test, y_test)))
    return found


def main() -> None:
    """Evaluate both classifiers, and print mean and 90 % interval of each."""
    parser = argparse.ArgumentParser(description="Bootstrap evaluation.")
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--rest", type=float, default=0, help="seconds of rest after each round")
    asked = parser.parse_args()
    ray.init(log_to_driver=False)
    end = time.monotonic() + asked.seconds
    results: dict[str, list[float]] = {model: [] for model in MODELS}
    seed = 0
    while seed == 0 or time.monotonic() < end:
        answers = ray.get([accuracies.remote(model, seed, 5) for model in MODELS])
        for model, found in zip(MODELS, answers, strict=True):
            results[model] += found
        seed += 1
        time.sleep(asked.rest)
    for model, found in results.items():
        low, high = np.quantile(found, (0.05, 0.95))
        print(f"{model:20s} {np.mean(found):.3f}  ({low:.3f} to {high:.3f}, {len(found)} rounds)")


if __name__ == "__main__":
    main()
