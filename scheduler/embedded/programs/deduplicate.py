# ruff: noqa: T201  # a person's program: it prints
"""Make a corpus with near-duplicates, then find them: MinHash signatures in Ray tasks.

    python deduplicate.py [--documents 600]

The corpus is made of words from scikit-learn's data set descriptions; every fifth document
is a copy of another with three words changed. What is found is held against that truth.
"""

import argparse
import itertools
import pathlib
import re
import zlib
from collections import defaultdict

import numpy as np
import ray
import sklearn.datasets
from numpy.typing import NDArray

HASHES, BANDS, SHINGLE, COPY_EVERY = 64, 16, 3, 5
PRIME = (1 << 31) - 1


def corpus(documents: int) -> tuple[list[str], set[tuple[int, int]]]:
    """Return documents and the pairs (original, changed copy) among them."""
    draw = np.random.default_rng(11)
    folder = pathlib.Path(sklearn.datasets.__file__).parent / "descr"
    text = " ".join(file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.rst")))
    words = re.findall(r"[a-z]+", text.lower())
    made: list[list[str]] = []
    copies = set()
    for number in range(documents):
        if number % COPY_EVERY == COPY_EVERY - 1:
            source = int(draw.integers(0, number))
            copies.add((source, number))
            document = list(made[source])
            for place in draw.integers(0, len(document), 3):
                document[place] = "changed"
        else:
            document = [words[place] for place in draw.integers(0, len(words), 120)]
        made.append(document)
    return [" ".join(document) for document in made], copies


@ray.remote
def signatures(texts: list[str]) -> NDArray[np.int64]:
    """Return the MinHash signatures of texts, (texts, hashes)."""
    draw = np.random.default_rng(3)
    a, b = draw.integers(1, PRIME, (2, HASHES))
    rows = []
    for text in texts:
        words = text.split()
        grams = {" ".join(words[i : i + SHINGLE]) for i in range(len(words) - SHINGLE + 1)}
        codes = np.array([zlib.crc32(gram.encode()) % PRIME for gram in grams], dtype=np.int64)
        rows.append(((codes[:, None] * a + b) % PRIME).min(axis=0))
    return np.array(rows)


def alike(signed: NDArray[np.int64]) -> set[tuple[int, int]]:
    """Return the pairs that share a whole band of their signatures."""
    pairs = set()
    width = HASHES // BANDS
    for band in range(BANDS):
        groups = defaultdict(list)
        for number, row in enumerate(signed[:, band * width : (band + 1) * width]):
            groups[row.tobytes()].append(number)
        for group in groups.values():
            pairs |= set(itertools.combinations(group, 2))
    return pairs


def main() -> None:
    """Make, sign in parallel, compare, and say how many of the copies were found."""
    parser = argparse.ArgumentParser(description="Find near-duplicates by MinHash.")
    parser.add_argument("--documents", type=int, default=600)
    asked = parser.parse_args()
    ray.init(log_to_driver=False)
    texts, copies = corpus(asked.documents)
    parts = [texts[start : start + 100] for start in range(0, len(texts), 100)]
    signed = np.concatenate(ray.get([signatures.remote(part) for part in parts]))
    found = alike(signed)
    print(f"{len(texts)} documents, {len(copies)} of them changed copies")
    print(f"found {len(found & copies)} of these, and {len(found - copies)} copies of copies")


if __name__ == "__main__":
    main()
