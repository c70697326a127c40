# ruff: noqa: T201  # a person's program: it prints
"""Align images and captions in one space by contrastive learning, and retrieve across both.

    python multimodality.py [--epochs 40] [--seeds 2]

Images are scikit-learn's digits; each has a caption of a few words ("a round zero, thin").
Two linear encoders are trained so that an image and its caption are close (the symmetric
loss of CLIP); one Ray task per seed. Measured is retrieval on images never seen.

Source: A. Radford et al., "Learning transferable visual models from natural language
supervision", 2021, section 2.3.
"""

import argparse

import numpy as np
import ray
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.model_selection import train_test_split

Matrix = NDArray[np.float64]
NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
WIDTH, BATCH, RATE, TEMPERATURE = 24, 128, 0.5, 0.1


def captions(images: Matrix, digits: NDArray[np.int64], seed: int) -> list[str]:
    """Return a caption for each image: its name, how much ink it has, and a filler word."""
    ink = images.mean(axis=1)
    low, high = np.quantile(ink, (0.33, 0.67))
    weight = np.where(ink < low, "thin", np.where(ink > high, "bold", "plain"))
    filler = np.random.default_rng(seed).choice(["a", "some", "one", "this"], len(digits))
    return [
        f"{word} {kind} {NAMES[digit]}"
        for word, kind, digit in zip(filler, weight, digits, strict=True)
    ]


def unit(rows: Matrix) -> Matrix:
    """Return rows of length one."""
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def softmax(scores: Matrix) -> Matrix:
    """Return the probabilities of each row."""
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))


def step(x: Matrix, t: Matrix, a: Matrix, b: Matrix) -> tuple[Matrix, Matrix, float]:
    """Return the gradients of both encoders on a batch of pairs, and the loss."""
    u, v = x @ a, t @ b
    nu, nv = (np.linalg.norm(rows, axis=1, keepdims=True) for rows in (u, v))
    scores = (u / nu) @ (v / nv).T / TEMPERATURE
    same = np.eye(len(x))
    rows, columns = softmax(scores), softmax(scores.T).T
    loss = -np.log((np.diag(rows) * np.diag(columns)).clip(1e-12)).mean() / 2
    back = ((rows - same) + (columns - same)) / (2 * len(x) * TEMPERATURE)
    gu, gv = back @ (v / nv), back.T @ (u / nu)
    gu = (gu - (gu * u / nu).sum(axis=1, keepdims=True) * u / nu) / nu
    gv = (gv - (gv * v / nv).sum(axis=1, keepdims=True) * v / nv) / nv
    return x.T @ gu, t.T @ gv, float(loss)


@ray.remote
def trained(seed: int, epochs: int) -> tuple[float, float, float]:
    """Return the last loss, and how often the right caption and a right image are found."""
    draw = np.random.default_rng(seed)
    x, y = load_digits(return_X_y=True)
    x = x / 16
    text = CountVectorizer().fit_transform(captions(x, y, seed)).toarray()
    x, x_test, t, t_test, _, y_test = train_test_split(
        x - x.mean(axis=0), text.astype(float), y, test_size=0.25, random_state=seed
    )
    a, b = draw.normal(0, 0.1, (x.shape[1], WIDTH)), draw.normal(0, 0.1, (t.shape[1], WIDTH))
    loss = 0.0
    for _ in range(epochs):
        order = draw.permutation(len(x))
        for start in range(0, len(x) - BATCH + 1, BATCH):
            rows = order[start : start + BATCH]
            ga, gb, loss = step(x[rows], t[rows], a, b)
            a, b = a - RATE * ga, b - RATE * gb
    near = unit(x_test @ a) @ unit(t_test @ b).T
    to_text = float((y_test[near.argmax(axis=1)] == y_test).mean())
    to_image = float((y_test[near.argmax(axis=0)] == y_test).mean())
    return loss, to_text, to_image


def main() -> None:
    """Train over a few seeds in parallel, and print what was retrieved."""
    parser = argparse.ArgumentParser(description="Contrastive image and text alignment.")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=2)
    asked = parser.parse_args()
    ray.init(log_to_driver=False)
    found = ray.get([trained.remote(seed, asked.epochs) for seed in range(asked.seeds)])
    for seed, (loss, to_text, to_image) in enumerate(found):
        print(f"seed {seed}: loss {loss:.3f}  image to caption {to_text:.3f}", end="")
        print(f"  caption to image {to_image:.3f}")
    print(f"right digit in the nearest caption: {np.mean([row[1] for row in found]):.3f}", end="")
    print(" (chance 0.100)")


if __name__ == "__main__":
    main()
