# ruff: noqa: T201  # a person's program: it prints
"""Reason by search: sample many solutions of a sum, then vote, or let a verifier choose.

    python reasoning.py [--problems 120] [--digits 6]

A small network learns to add two digits and a carry, imperfectly and on purpose. It solves
long sums step by step, sampling each step; single answers are often wrong. Compared are the
first sample, the majority, and the samples that pass a check by remainders (casting out nines
and elevens) before they vote. One Ray task per part of the problems.

Source: X. Wang et al., "Self-consistency improves chain of thought reasoning", 2022; K. Cobbe
et al., "Training verifiers to solve math word problems", 2021.
"""

import argparse
import warnings
from collections import Counter

import numpy as np
import ray
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

SAMPLES = (1, 5, 15, 45)
TAUGHT = 40  # iterations
Problem = tuple[tuple[int, ...], tuple[int, ...]]


def one_hot(a: int, b: int, carry: int) -> NDArray[np.float64]:
    """Return a step of the sum as the network sees it."""
    row = np.zeros(22)
    row[[a, 10 + b, 20 + carry]] = 1
    return row


def step_model() -> MLPClassifier:
    """Return a network that was taught too briefly to be sure of every step."""
    asked = [(a, b, c) for a in range(10) for b in range(10) for c in (0, 1)]
    x = np.array([one_hot(*step) for step in asked])
    model = MLPClassifier((24,), solver="lbfgs", max_iter=TAUGHT, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # that is what is meant
        return model.fit(x, [sum(step) for step in asked])


def solved(
    odds: NDArray[np.float64], problem: Problem, samples: int, draw: np.random.Generator
) -> list[int]:
    """Return so many sampled answers; `odds` are the network's for each step, (10, 10, 2, 20)."""
    answers = []
    for _ in range(samples):
        carry, total = 0, 0
        for place, (a, b) in enumerate(zip(*problem, strict=True)):
            value = int(draw.choice(20, p=odds[a, b, carry]))
            total += value % 10 * 10**place
            carry = value // 10
        answers.append(total + carry * 10 ** len(problem[0]))
    return answers


def number(digits: tuple[int, ...]) -> int:
    """Return the number whose digits these are, the last one first."""
    return sum(digit * 10**place for place, digit in enumerate(digits))


def checks(problem: Problem, answer: int) -> bool:
    """Return whether the remainders by 9 and 11 agree: cheap, and no proof."""
    total = number(problem[0]) + number(problem[1])
    return all((total % m - answer % m) % m == 0 for m in (9, 11))


@ray.remote
def scored(odds: NDArray[np.float64], problems: list[Problem], seed: int) -> list[list[int]]:
    """Return for each number of samples how many of three ways' answers are right."""
    draw = np.random.default_rng(seed)
    right = [[0, 0, 0] for _ in SAMPLES]
    for problem in problems:
        truth = number(problem[0]) + number(problem[1])
        answers = solved(odds, problem, SAMPLES[-1], draw)
        for row, count in zip(right, SAMPLES, strict=True):
            some = answers[:count]
            passing = [one for one in some if checks(problem, one)] or some
            row[0] += some[0] == truth
            row[1] += Counter(some).most_common(1)[0][0] == truth
            row[2] += Counter(passing).most_common(1)[0][0] == truth
    return right


def main() -> None:
    """Solve all problems in parallel, and print the accuracy of each way."""
    parser = argparse.ArgumentParser(description="Self-consistency and verifiers.")
    parser.add_argument("--problems", type=int, default=120)
    parser.add_argument("--digits", type=int, default=6)
    asked = parser.parse_args()
    ray.init(log_to_driver=False)
    model = step_model()
    odds = np.zeros((10, 10, 2, 20))
    for a, b, c in np.ndindex(10, 10, 2):
        odds[a, b, c, model.classes_] = model.predict_proba(one_hot(a, b, c)[None])[0]
    odds /= odds.sum(axis=3, keepdims=True)
    right = [odds[a, b, c, a + b + c] for a, b, c in np.ndindex(10, 10, 2)]
    print(f"one step is right with probability {np.mean(right):.3f}", flush=True)
    draw = np.random.default_rng(4)
    drawn = draw.integers(0, 10, (asked.problems, 2, asked.digits))
    problems = [(tuple(map(int, pair[0])), tuple(map(int, pair[1]))) for pair in drawn]
    parts = [problems[start::4] for start in range(4)]
    found = ray.get([scored.remote(odds, part, seed) for seed, part in enumerate(parts)])
    print("samples  first  majority  verified majority")
    for count, row in zip(SAMPLES, np.sum(found, axis=0) / asked.problems, strict=True):
        print(f"{count:7d}  {row[0]:.3f}  {row[1]:8.3f}  {row[2]:.3f}")


if __name__ == "__main__":
    main()
