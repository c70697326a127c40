# ruff: noqa: T201  # a person's program: it prints
"""Keep the lineage of a data set in a hash chain, and notice every change to it.

    python provenance.py [--shards 8]

scikit-learn's digits go through steps in Ray tasks: cut, cleaned, augmented, and a model is
fitted. Each step writes a record with the digests of its inputs, its code, its parameters and
its outputs, and the digest of the record before. Then the chain is verified, one image is
proved to be part of the training set by a Merkle path, and four ways of tampering are tried.
"""

import argparse
import hashlib
import inspect
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

Matrix = NDArray[np.float64]
Record = dict[str, Any]
START = "0" * 64


def digest(*parts: bytes) -> str:
    """Return one SHA-256 of several parts, each with its length."""
    found = hashlib.sha256()
    for part in parts:
        found.update(len(part).to_bytes(8, "big") + part)
    return found.hexdigest()


def sealed(record: Record) -> str:
    """Return the digest of a record without its own seal."""
    text = json.dumps({k: v for k, v in record.items() if k != "seal"}, sort_keys=True)
    return digest(text.encode())


def appended(chain: list[Record], step: str, code: Callable[..., Any], **said: Any) -> None:  # noqa: ANN401
    """Add a record to the chain."""
    before = chain[-1]["seal"] if chain else START
    source = inspect.getsource(code)
    record = {"step": step, "code": digest(source.encode()), "before": before, **said}
    chain.append(record | {"seal": sealed(record)})


def broken(chain: Sequence[Record], outputs: dict[str, str]) -> str:
    """Return what does not hold, or nothing; `outputs` are the digests of the data as it is."""
    before = START
    for record in chain:
        if record["before"] != before:
            return f"{record['step']}: it does not follow the record before"
        if record["seal"] != sealed(record):
            return f"{record['step']}: its record was changed"
        if record["output"] != outputs.get(record["step"], record["output"]):
            return f"{record['step']}: the data are not those that were recorded"
        before = record["seal"]
    return "" if set(outputs) <= {record["step"] for record in chain} else "a record is missing"


def merkle(leaves: Sequence[str]) -> list[list[str]]:
    """Return a tree of digests, leaves first; an odd one goes up as it is."""
    levels = [list(leaves)]
    while len(levels[-1]) > 1:
        below = levels[-1]
        pairs = [below[i : i + 2] for i in range(0, len(below), 2)]
        levels.append([digest(*(x.encode() for x in p)) if len(p) > 1 else p[0] for p in pairs])
    return levels


def proved(levels: Sequence[Sequence[str]], place: int, leaf: str) -> bool:
    """Return whether the path from a leaf leads to the root."""
    for level in levels[:-1]:
        pair = place ^ 1
        if pair < len(level):
            both = (leaf, level[pair]) if place % 2 == 0 else (level[pair], leaf)
            leaf = digest(*(each.encode() for each in both))
        place //= 2
    return leaf == levels[-1][0]


def cleaned(part: Matrix) -> Matrix:
    """Return images scaled to at most one, without specks."""
    return np.where(part < 1, 0, part) / 16


def augmented(part: Matrix, shift: int) -> Matrix:
    """Return the images and the same shifted to one side."""
    moved = np.roll(part.reshape(-1, 8, 8), shift, axis=2).reshape(-1, 64)
    return np.concatenate([part, moved])


def of(parts: Sequence[Matrix]) -> str:
    """Return the digest of some arrays."""
    return digest(*(np.ascontiguousarray(part).tobytes() for part in parts))


def made(shards: int) -> tuple[list[Record], dict[str, str], list[str]]:
    """Run the steps; return the chain, the data's digests, and the leaves of the training set."""
    x, y = load_digits(return_X_y=True)
    chain: list[Record] = []
    parts = np.array_split(x, shards)
    appended(chain, "cut", np.array_split, input=of([x]), output=of(parts), shards=shards)
    clean = ray.get([ray.remote(cleaned).remote(part) for part in parts])
    appended(chain, "clean", cleaned, input=of(parts), output=of(clean))
    more = ray.get([ray.remote(augmented).remote(part, 1) for part in clean])
    appended(chain, "augment", augmented, input=of(clean), output=of(more), shift=1)
    labels = np.concatenate([np.tile(part, 2) for part in np.array_split(y, shards)])
    images = np.concatenate(more)
    model = LogisticRegression(max_iter=60, tol=1e-2).fit(images, labels)
    right = float(model.score(x / 16, y))
    fitted = of([model.coef_])
    appended(chain, "fit", LogisticRegression, input=of(more), output=fitted, accuracy=right)
    outputs = {"cut": of(parts), "clean": of(clean), "augment": of(more), "fit": fitted}
    return chain, outputs, [digest(row.tobytes()) for row in images]


def main() -> None:
    """Make the lineage, verify it, and try to tamper with it."""
    parser = argparse.ArgumentParser(description="Hash-chained data lineage.")
    parser.add_argument("--shards", type=int, default=8)
    asked = parser.parse_args()
    ray.init(log_to_driver=False)
    chain, outputs, leaves = made(asked.shards)
    for record in chain:
        print(f"{record['step']:8s} {record['output'][:16]}  sealed {record['seal'][:16]}")
    print(f"the chain holds: {not broken(chain, outputs)}; accuracy {chain[-1]['accuracy']:.3f}")
    levels = merkle(leaves)
    print(f"image 100 is among the {len(leaves)}: {proved(levels, 100, leaves[100])}", end="")
    print(f" ({len(levels) - 1} digests); a foreign one: {proved(levels, 100, digest(b'x'))}")
    forged = chain[1] | {"output": "f" * 64}
    tampered = {
        "a record changed": ([*chain[:1], forged, *chain[2:]], outputs),
        "and sealed anew": ([*chain[:1], forged | {"seal": sealed(forged)}, *chain[2:]], outputs),
        "a record removed": (chain[:2] + chain[3:], outputs),
        "the data changed": (chain, outputs | {"augment": digest(b"other")}),
    }
    found = {name: broken(*case) for name, case in tampered.items()}
    for name, said in found.items():
        print(f"{name}: {'noticed, ' + said if said else 'NOT noticed'}")
    print(f"{sum(bool(said) for said in found.values())} of {len(found)} were noticed")


if __name__ == "__main__":
    main()
