# ruff: noqa: T201, TID251  # a person's program: it prints and reads the clock
"""Measure what a lease gives: matrix products, the object store, and an all-reduce.

    python benchmarking.py [--size 512] [--workers 2] [--megabytes 16]

One Ray actor per worker. Each figure is the median of several rounds with its spread, since
a shared machine is never quiet. On simulated GPUs these are the figures of the processor.

Source: the ring all-reduce of A. Patarasuk, X. Yuan, "Bandwidth optimal all-reduce", 2009,
whose 2 (n - 1) / n of the bytes go over each link; here over Ray's object store.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

ROUNDS = 7
Matrix = NDArray[np.float32]


class Worker:
    """One member of the gang, with its part of a vector."""

    def __init__(self, number: int, megabytes: int) -> None:
        draw = np.random.default_rng(number)
        self._vector = draw.random(megabytes * 262_144, dtype=np.float32)

    def gflops(self, size: int) -> float:
        """Return the rate of one product of two square matrices, in GFLOP/s."""
        a, b = np.random.default_rng(0).random((2, size, size), dtype=np.float32)
        begun = time.perf_counter()
        a @ b
        return 2 * size**3 / (time.perf_counter() - begun) / 1e9

    def part(self, number: int, parts: int) -> Matrix:
        """Return a piece of the vector."""
        return np.asarray(np.array_split(self._vector, parts)[number])

    def reduced(self, *pieces: Matrix) -> Matrix:
        """Return the mean of everybody's piece."""
        return np.asarray(np.mean(pieces, axis=0, dtype=np.float32))

    def take(self, *pieces: Matrix) -> float:
        """Put the pieces together; return their sum, to check."""
        self._vector = np.concatenate(pieces)
        return float(self._vector.sum())


RemoteWorker: Any = ray.remote(num_cpus=1)(Worker)


def rounds(measure: Callable[[], float]) -> tuple[float, float, float]:
    """Return the median, the least and the most of several rounds, the first left out."""
    measure()
    found = sorted(measure() for _ in range(ROUNDS))
    return found[len(found) // 2], found[0], found[-1]


def multiplied(worker: Any, size: int) -> float:  # noqa: ANN401  # Ray's own handle
    """Return a worker's rate, in GFLOP/s."""
    return float(ray.get(worker.gflops.remote(size)))


def all_reduced(workers: list[Any]) -> float:
    """Average everybody's vector over all; return the seconds that it took."""
    begun = time.perf_counter()
    n = len(workers)
    parts = [[each.part.remote(i, n) for each in workers] for i in range(n)]
    means = [workers[i].reduced.remote(*parts[i]) for i in range(n)]
    sums = ray.get([each.take.remote(*means) for each in workers])
    if max(sums) - min(sums) > 1e-3 * abs(sums[0]):
        raise SystemExit(f"the workers disagree: {sums}")
    return time.perf_counter() - begun


def stored(megabytes: int) -> float:
    """Return the rate at which the object store takes and gives an array, in MB/s."""
    data = np.random.default_rng(0).random(megabytes * 131_072)
    begun = time.perf_counter()
    ray.get(ray.put(data))
    return megabytes / (time.perf_counter() - begun)


def main() -> None:
    """Measure all three, and print each with its spread."""
    parser = argparse.ArgumentParser(description="Throughput of a lease.")
    parser.add_argument("--size", type=int, default=512, help="of the matrices")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--megabytes", type=int, default=16, help="of each vector")
    asked = parser.parse_args()
    ray.init(log_to_driver=False)
    workers = [RemoteWorker.remote(number, asked.megabytes) for number in range(asked.workers)]
    for number, worker in enumerate(workers):
        rate = rounds(partial(multiplied, worker, asked.size))
        print("worker {}: {:.1f} GFLOP/s ({:.1f} to {:.1f})".format(number, *rate), flush=True)
    rate = rounds(lambda: stored(asked.megabytes))
    print("object store: {:.0f} MB/s ({:.0f} to {:.0f})".format(*rate), flush=True)
    took = rounds(lambda: all_reduced(workers))
    print(f"all-reduce of {asked.megabytes} MB over {asked.workers}: ", end="")
    print("{:.3f} s ({:.3f} to {:.3f})".format(*took))
    moved = 2 * (asked.workers - 1) / asked.workers * asked.megabytes
    print(f"bus bandwidth: {moved / took[0]:.0f} MB/s on each link")


if __name__ == "__main__":
    main()
