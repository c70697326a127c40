"""How long will a job run? Robust quantiles of what ran before, of the nearest alike.

Looked at are runs of the same person, account, GPUs and name; where too few are known, the
name is left out, then the person, then the GPUs, and at last everything: the nearest level
with enough samples answers. Each key keeps its latest `MOST_SAMPLES` run times and each
level its latest `MOST_KEYS` keys, so memory is bounded and old habits fade. There is no
training: an observation counts at once.

As long as no sample was forgotten, the order of observations does not matter.

Source: the quantile that makes (low, high) an 80 % interval for the next sample of an
exchangeable sequence is the one at p (n + 1) (W. Weibull 1939; R. J. Hyndman and Y. Fan,
"Sample Quantiles in Statistical Packages", 1996, type 6).
"""

from bisect import bisect_right
from collections import OrderedDict, deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import fsum

MOST_SAMPLES = 64
"""Run times that each key remembers."""

LEAST_SAMPLES = 5
"""Run times that a level must know before it answers."""

MOST_KEYS = 20_000
"""Keys that each level remembers; the one that was not observed for longest goes first."""

LOW, LIKELY, HIGH = 0.1, 0.5, 0.9


class Level(StrEnum):
    """What the runs that an estimate comes from have in common, the nearest first."""

    NAME = "user, account, GPUs and name"
    USER = "user, account and GPUs"
    SHAPE = "account and GPUs"
    ACCOUNT = "account"
    GPUS = "GPUs"
    ALL = "nothing"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A foreseen time in seconds: between `low` and `high` in four cases of five.

    `mean` is what orders queues: run times have long tails, and a kind of job that now and
    then takes a day is no short one, whatever most of them take.
    """

    low: float
    likely: float
    high: float
    mean: float
    samples: int
    level: Level


@dataclass(frozen=True, slots=True)
class Runtimes:
    """Run times in seconds, shortest first, and what the runs had in common."""

    seconds: tuple[float, ...]
    level: Level

    def quantile(self, part: float) -> float:
        """Return the run time that the next run stays below with probability `part`."""
        return quantile(self.seconds, part)

    def after(self, elapsed: float) -> "Runtimes":
        """Return what remained of those that ran longer than `elapsed` seconds; may be empty."""
        longer = self.seconds[bisect_right(self.seconds, elapsed) :]
        return Runtimes(tuple(seconds - elapsed for seconds in longer), self.level)

    def estimate(self) -> Estimate:
        """Return the quantiles that people are told."""
        low, likely, high = (self.quantile(part) for part in (LOW, LIKELY, HIGH))
        mean = fsum(self.seconds) / len(self.seconds)
        return Estimate(low, likely, high, mean, len(self.seconds), self.level)


def quantile(ordered: Sequence[float], part: float) -> float:
    """Return the value that the next one stays below with probability `part`."""
    last = len(ordered) - 1
    at = min(max(part * (last + 2) - 1, 0.0), float(last))
    below = int(at)
    lower, upper = ordered[below], ordered[min(below + 1, last)]
    # Between the two also where rounding would leave it.
    return min(lower + (at - below) * (upper - lower), upper)


class _Recent:
    """The latest run times of one key; put in order, and summed up, only when somebody asks."""

    __slots__ = ("estimate", "latest", "ordered")

    def __init__(self) -> None:
        self.latest: deque[float] = deque(maxlen=MOST_SAMPLES)
        self.ordered: tuple[float, ...] | None = None
        self.estimate: Estimate | None = None

    def runtimes(self, level: Level) -> Runtimes:
        """Return what is remembered."""
        if self.ordered is None:
            self.ordered = tuple(sorted(self.latest))
        return Runtimes(self.ordered, level)


class Predictor:
    """What is known of run times. It observes and answers; it never looks at a clock."""

    def __init__(self) -> None:
        # By place in `Level`: an enum member as a key would cost more than all the rest.
        self._known: tuple[OrderedDict[Hashable, _Recent], ...] = tuple(
            OrderedDict() for _ in _LEVELS
        )

    def observe(self, user: str, account: str, gpus: int, name: str, seconds: float) -> None:
        """Take in how long a job ran. Nothing and less counts as nothing."""
        seconds = max(0.0, seconds)
        keys = _keys(user, account, gpus, name)
        for known, key in zip(self._known, keys, strict=True):
            recent = known.get(key)
            if recent is None:
                recent = known[key] = _Recent()
                if len(known) > MOST_KEYS:
                    known.popitem(last=False)
            else:
                known.move_to_end(key)
                recent.ordered = recent.estimate = None
            recent.latest.append(seconds)

    def predict(self, user: str, account: str, gpus: int, name: str) -> Estimate | None:
        """Return what is foreseen for a new job; None where too little is known."""
        keys = _keys(user, account, gpus, name)
        for at, known in enumerate(self._known):
            recent = known.get(keys[at])
            if recent is not None and len(recent.latest) >= LEAST_SAMPLES:
                if recent.estimate is None:
                    recent.estimate = recent.runtimes(_LEVELS[at]).estimate()
                return recent.estimate
        return None

    def remaining(
        self, user: str, account: str, gpus: int, name: str, elapsed: float
    ) -> Estimate | None:
        """Return what remains of a run that has lasted `elapsed` seconds.

        None where too few alike ever ran so long: only its limit says something then.
        """
        found = self.runtimes(user, account, gpus, name, elapsed)
        return None if found is None else found.estimate()

    def runtimes(
        self, user: str, account: str, gpus: int, name: str, elapsed: float = 0.0
    ) -> Runtimes | None:
        """Return the run times of the nearest level that knows enough, less `elapsed` seconds."""
        keys = _keys(user, account, gpus, name)
        for level, known, key in zip(_LEVELS, self._known, keys, strict=True):
            recent = known.get(key)
            if recent is None or len(recent.latest) < LEAST_SAMPLES:
                continue
            found = recent.runtimes(level)
            if elapsed > 0:
                found = found.after(elapsed)
            if len(found.seconds) >= LEAST_SAMPLES:
                return found
        return None


_LEVELS = tuple(Level)


def _keys(user: str, account: str, gpus: int, name: str) -> tuple[Hashable, ...]:
    """Return the key at each level, the nearest first."""
    return ((user, account, gpus, name), (user, account, gpus), (account, gpus), account, gpus, 0)
