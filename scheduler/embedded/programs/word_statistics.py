# ruff: noqa: T201  # a person's program: it prints
"""Count words in parallel: the texts are the descriptions of scikit-learn's data sets.

    python word_statistics.py

One Ray task per text; the counts are added up here.
"""

import collections
import pathlib
import re

import ray
import sklearn.datasets

WORD = re.compile(r"[a-z]{4,}")


@ray.remote
def counted(text: str) -> collections.Counter[str]:
    """Return how often each word of four letters or more occurs."""
    return collections.Counter(WORD.findall(text.lower()))


def main() -> None:
    """Count, and print the twelve most frequent words."""
    ray.init(log_to_driver=False)
    folder = pathlib.Path(sklearn.datasets.__file__).parent / "descr"
    texts = [file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.rst"))]
    total: collections.Counter[str] = collections.Counter()
    for counts in ray.get([counted.remote(text) for text in texts]):
        total += counts
    print(f"{len(texts)} texts, {sum(total.values())} words, {len(total)} of them different")
    for word, times in total.most_common(12):
        print(f"{times:5d} {word}")


if __name__ == "__main__":
    main()
