# ruff: noqa: T201  # a person's program: it prints
"""Distil a wide network into a narrow one: soft targets against hard labels.

    python distillation.py [--labels 150]

The teacher sees all of scikit-learn's digits; students of eight hidden units see few labels,
alone or with the teacher's probabilities for the unlabelled images, at several temperatures.
One Ray task per student.

Source: G. Hinton, O. Vinyals, J. Dean, "Distilling the knowledge in a neural network", 2015.
"""

import argparse

import numpy as np
import ray
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

Matrix = NDArray[np.float64]
HIDDEN, EPOCHS, BATCH, RATE = 8, 120, 64, 0.3
TEMPERATURES = (1.0, 2.0, 4.0)


def softened(odds: Matrix, temperature: float) -> Matrix:
    """Return probabilities as they are at a higher temperature."""
    logits = np.log(odds.clip(1e-9)) / temperature
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def forward(w: list[Matrix], x: Matrix, temperature: float = 1.0) -> tuple[Matrix, Matrix]:
    """Return the hidden layer and the probabilities."""
    hidden = np.tanh(x @ w[0] + w[1])
    scores = (hidden @ w[2] + w[3]) / temperature
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    return hidden, odds / odds.sum(axis=1, keepdims=True)


@ray.remote
def student(x: Matrix, targets: Matrix, temperature: float, test: tuple[Matrix, Matrix]) -> float:
    """Return the accuracy of a narrow network that was trained on these targets."""
    draw = np.random.default_rng(0)
    w = [draw.normal(0, 0.2, (64, HIDDEN)), np.zeros(HIDDEN)]
    w += [draw.normal(0, 0.2, (HIDDEN, 10)), np.zeros(10)]
    for _ in range(EPOCHS):
        order = draw.permutation(len(x))
        for start in range(0, len(x), BATCH):
            rows = order[start : start + BATCH]
            hidden, odds = forward(w, x[rows], temperature)
            # The gradient shrinks with the temperature squared; this makes up for it.
            back = (odds - targets[rows]) * temperature / len(rows)
            below = (back @ w[2].T) * (1 - hidden**2)
            steps = (x[rows].T @ below, below.sum(axis=0), hidden.T @ back, back.sum(axis=0))
            w = [weight - RATE * step for weight, step in zip(w, steps, strict=True)]
    return float((forward(w, test[0])[1].argmax(axis=1) == test[1]).mean())


def main() -> None:
    """Train the teacher, then all students in parallel, and compare them."""
    parser = argparse.ArgumentParser(description="Knowledge distillation.")
    parser.add_argument("--labels", type=int, default=150, help="that students may see")
    asked = parser.parse_args()
    ray.init(log_to_driver=False)
    x, y = load_digits(return_X_y=True)
    x, x_test, y, y_test = train_test_split(x / 16, y, test_size=0.3, random_state=0)
    teacher = MLPClassifier((128,), max_iter=80, random_state=0, tol=3e-3, n_iter_no_change=4).fit(
        x, y
    )
    weights = sum(part.size for part in (*teacher.coefs_, *teacher.intercepts_))
    print(f"teacher: {weights} weights, accuracy {teacher.score(x_test, y_test):.3f}", flush=True)
    few = slice(0, asked.labels)
    hard, odds = np.eye(10)[y], teacher.predict_proba(x)
    test = (x_test, y_test)
    jobs = {"alone, on hard labels": student.remote(x[few], hard[few], 1.0, test)}
    for temperature in TEMPERATURES:
        name = f"distilled at temperature {temperature:g}"
        jobs[name] = student.remote(x, softened(odds, temperature), temperature, test)
    size = 64 * HIDDEN + HIDDEN + HIDDEN * 10 + 10
    for name, accuracy in zip(jobs, ray.get(list(jobs.values())), strict=True):
        print(f"student of {size} weights {name}: accuracy {accuracy:.3f}")
    print(f"compression: {weights / size:.1f} x")


if __name__ == "__main__":
    main()
