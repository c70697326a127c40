# ruff: noqa: T201  # a person's program: it prints
"""Let systems that know little track together: sensors, a fuser and a tasker as Ray actors.

    python system_of_systems.py [--steps 60] [--targets 3]

Each sensor sees targets in its own reach, with its own noise, and keeps a Kalman filter for
each. The fuser combines their estimates by covariance intersection, which is safe though the
sensors share hidden errors; the tasker gives each sensor one target to look at closely, by
auction. Half-way one sensor fails. Measured is the error of one sensor, and of all together.

Source: S. Julier, J. Uhlmann, "A non-divergent estimation algorithm in the presence of unknown
correlations", 1997; D. Bertsekas, "The auction algorithm", 1988.
"""

import argparse
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Estimate = tuple[Matrix, Matrix]
DRIFT, REACH, CLOSE = 0.02, 9.0, 0.3
PLACES = ((-6.0, 0.0), (6.0, 0.0), (0.0, 6.0), (0.0, -6.0))
MOVE = np.array([[1, 0, 1, 0], [0, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=float)
LOOK = MOVE[:2, :] * np.array([1, 1, 0, 0])


class Sensor:
    """One system: a place, a noise, and what it believes of each target."""

    def __init__(self, place: tuple[float, float], noise: float, targets: int, seed: int) -> None:
        self._place, self._noise = np.array(place), noise
        self._draw = np.random.default_rng(seed)
        self._mean = np.zeros((targets, 4))
        self._cover = np.stack([np.diag([50.0, 50, 1, 1])] * targets)

    def bids(self) -> list[float]:
        """Return what a close look at each target would tell this sensor."""
        far = np.linalg.norm(self._mean[:, :2] - self._place, axis=1)
        spread = np.trace(self._cover[:, :2, :2], axis1=1, axis2=2)
        return [float(worth) for worth in np.where(far < REACH, spread, 0.0)]

    def look(self, truth: Matrix, close: int | None) -> list[Estimate]:
        """Move the beliefs on, look at what is in reach, and return the estimates."""
        for target, state in enumerate(truth):
            mean = MOVE @ self._mean[target]
            cover = MOVE @ self._cover[target] @ MOVE.T + DRIFT * np.eye(4)
            if np.linalg.norm(state[:2] - self._place) < REACH:
                noise = self._noise * (CLOSE if target == close else 1.0)
                seen = state[:2] + self._draw.normal(0, noise, 2)
                gain = cover @ LOOK.T @ np.linalg.inv(LOOK @ cover @ LOOK.T + noise**2 * np.eye(2))
                mean = mean + gain @ (seen - LOOK @ mean)
                cover = (np.eye(4) - gain @ LOOK) @ cover
            self._mean[target], self._cover[target] = mean, cover
        return [(self._mean[t].copy(), self._cover[t].copy()) for t in range(len(truth))]


class Fuser:
    """Combines estimates whose errors may be related."""

    def fused(self, estimates: list[list[Estimate]]) -> Matrix:
        """Return the mean of each target over all sensors."""
        found = []
        for of_target in zip(*estimates, strict=True):
            weights = np.array([1 / np.trace(cover) for _, cover in of_target])
            weights /= weights.sum()
            parts = [(np.linalg.inv(cover), mean) for mean, cover in of_target]
            whole = np.sum([w * p for w, (p, _) in zip(weights, parts, strict=True)], axis=0)
            pull = [w * p @ mean for w, (p, mean) in zip(weights, parts, strict=True)]
            found.append(np.linalg.solve(whole, np.sum(pull, axis=0)))
        return np.array(found)


class Tasker:
    """Gives each sensor one target, by auction: the highest bids first."""

    def tasks(self, bids: list[list[float]]) -> list[int | None]:
        """Return the target of each sensor; one nobody looks at yet goes first."""
        taken: dict[int, int] = {}
        given: list[int | None] = [None] * len(bids)
        offers = [(bid, s, t) for s, row in enumerate(bids) for t, bid in enumerate(row) if bid]
        for _, sensor, target in sorted(offers, key=lambda o: (-o[0], o[1], o[2])):
            if given[sensor] is None and taken.get(target, 0) < 2:  # noqa: PLR2004
                given[sensor] = target
                taken[target] = taken.get(target, 0) + 1
        return given


def actor(kind: type, *arguments: object) -> Any:  # noqa: ANN401  # Ray's own handle
    """Return a system of its own, light enough that a few share a processor."""
    return ray.remote(num_cpus=0.25)(kind).remote(*arguments)


def error(found: Matrix, truth: Matrix) -> float:
    """Return the root mean square distance of the positions."""
    return float(np.sqrt(((found[:, :2] - truth[:, :2]) ** 2).sum(axis=1).mean()))


def main() -> None:
    """Track for some steps, fail a sensor half-way, and compare."""
    parser = argparse.ArgumentParser(description="Cooperating systems.")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--targets", type=int, default=3)
    asked = parser.parse_args()
    ray.init(log_to_driver=False)
    draw = np.random.default_rng(1)
    truth = np.hstack(
        [draw.normal(0, 3, (asked.targets, 2)), draw.normal(0, 0.1, (asked.targets, 2))]
    )
    sensors = [
        actor(Sensor, place, 0.8 + 0.3 * number, asked.targets, number)
        for number, place in enumerate(PLACES)
    ]
    fuser, tasker = actor(Fuser), actor(Tasker)
    errors: dict[str, list[tuple[float, float]]] = {"all four": [], "one has failed": []}
    for step in range(asked.steps):
        if step == asked.steps // 2:
            ray.kill(sensors.pop(0))
        truth = truth @ MOVE.T + draw.normal(0, 0.02, truth.shape)
        truth[:, 2:] -= 0.02 * np.sign(truth[:, :2])  # they turn back before they leave
        tasks = ray.get(tasker.tasks.remote(ray.get([each.bids.remote() for each in sensors])))
        seen = ray.get([s.look.remote(truth, t) for s, t in zip(sensors, tasks, strict=True)])
        fused = ray.get(fuser.fused.remote(seen))
        alone = np.mean([error(np.array([m for m, _ in own]), truth) for own in seen])
        when = "all four" if step < asked.steps // 2 else "one has failed"
        errors[when].append((float(alone), error(fused, truth)))
    for when, rows in errors.items():
        alone, together = np.mean(rows[5:], axis=0)
        print(f"{when}: error of a single system {alone:.3f}, of all together {together:.3f}")


if __name__ == "__main__":
    main()
