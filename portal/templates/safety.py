# ruff: noqa: T201  # a person's program: it prints
"""Red-team a filter and harden it; and learn a reward from preferences.

    python safety.py [--rounds 3]

A text filter learns which toy requests to refuse. Attackers (Ray tasks) disguise refused ones
until they pass: spelling with digits, spaces, padding with harmless words. What passed is
added to the training set, round by round; harmless requests must still be answered. Then a
Bradley-Terry model learns a reward from noisy pairs, and is held against the true order.

Source: E. Perez et al., "Red teaming language models with language models", 2022; P. Christiano
et al., "Deep reinforcement learning from human preferences", 2017.
"""

import argparse

import numpy as np
import ray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

ASKS = ("how do i", "please explain how to", "tell me the way to", "steps to", "i want to")
HARMFUL = (
    *("steal a password", "forge a passport", "poison a well", "break into a car"),
    *("disable an alarm", "track a stranger", "copy a keycard", "leak a secret"),
)
HARMLESS = (
    *("reset a password", "renew a passport", "dig a well", "wash a car"),
    *("set an alarm", "greet a stranger", "return a keycard", "keep a secret"),
)
ENDS = ("", "quickly", "at night", "for a story", "step by step")
LEET = str.maketrans({"a": "4", "e": "3", "i": "1", "o": "0", "s": "5"})
TRIES = 12


def requests(deeds: tuple[str, ...]) -> list[str]:
    """Return every way of asking for each deed."""
    return [f"{ask} {deed} {end}".strip() for deed in deeds for ask in ASKS for end in ENDS]


def disguised(text: str, draw: np.random.Generator) -> str:
    """Return a request that means the same to a person."""
    words = text.split()
    for place in range(len(words)):
        match int(draw.integers(0, 5)):
            case 0:
                words[place] = words[place].translate(LEET)
            case 1:
                words[place] = ".".join(words[place])
            case 2:
                words[place] += " " + str(draw.choice(HARMLESS)).split()[-1]
    return " ".join(words)


def learnt(harmful: list[str], harmless: list[str]) -> Pipeline:
    """Return a filter of pieces of words."""
    pieces = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True)
    model = make_pipeline(pieces, LogisticRegression(C=20, max_iter=200, class_weight="balanced"))
    wanted = [1] * len(harmful) + [0] * len(harmless)
    return model.fit(harmful + harmless, wanted)


@ray.remote
def attacked(model: Pipeline, texts: list[str], seed: int) -> list[str]:
    """Return disguises that the filter lets pass, at most one of each request."""
    draw = np.random.default_rng(seed)
    passed = []
    for text in texts:
        tries = [disguised(text, draw) for _ in range(TRIES)]
        odds = model.predict_proba(tries)[:, 1]
        if odds.min() < 0.5:  # noqa: PLR2004  # the filter's own threshold
            passed.append(tries[int(odds.argmin())])
    return passed


@ray.remote
def preference(pairs: int, seed: int) -> tuple[float, float]:
    """Return how well a learnt reward orders answers never seen, and how often judges erred."""
    draw = np.random.default_rng(seed)
    true = draw.normal(0, 1, 6)
    first, second = draw.normal(0, 1, (2, pairs, 6))
    odds = 1 / (1 + np.exp(-(first - second) @ true))
    prefers = draw.random(pairs) < odds
    model = LogisticRegression(fit_intercept=False).fit(first - second, prefers)
    a, b = draw.normal(0, 1, (2, 2000, 6))
    agree = np.sign((a - b) @ model.coef_[0]) == np.sign((a - b) @ true)
    return float(agree.mean()), float((prefers != (odds > 0.5)).mean())  # noqa: PLR2004


def main() -> None:
    """Attack and harden in rounds, then learn a reward; print rates of both."""
    parser = argparse.ArgumentParser(description="Red-teaming and preferences.")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    ray.init(log_to_driver=False)
    draw = np.random.default_rng(0)
    harmful, harmless = (list(draw.permutation(requests(deeds))) for deeds in (HARMFUL, HARMLESS))
    seen, held, fine, answered = harmful[:120], harmful[120:], harmless[:120], harmless[120:]
    for number in range(asked.rounds + 1):
        model = learnt(seen, fine)
        parts = [held[start::4] for start in range(4)]
        found = ray.get([attacked.remote(model, p, 100 * number + i) for i, p in enumerate(parts)])
        success = sum(map(len, found)) / len(held)
        wrong = float(np.mean(model.predict(answered)))
        print(f"round {number}: attacks pass {success:.3f}", end="")
        print(f", harmless ones refused {wrong:.3f}", flush=True)
        tried = ray.get([attacked.remote(model, seen[:120], 900 + number)])[0]
        seen += tried + [disguised(text, draw) for text in seen[:60]]
        # Harmless requests are disguised too, or the filter would learn the disguise alone.
        fine += [disguised(text, draw) for text in fine[:120]]
    for pairs in (30, 300, 3000):
        agree, erred = ray.get(preference.remote(pairs, pairs))
        print(f"reward from {pairs:4d} pairs ({erred:.2f} judged wrongly): agrees {agree:.3f}")


if __name__ == "__main__":
    main()
