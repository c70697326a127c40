"""How much compute a training run needs, before anything is asked for (R16).

`FLOP = ALPHA x parameters x tokens`: two operations per weight and token forward, four
backward. At a model FLOPs utilisation (MFU), the part of a GPU's dense BF16 rate that becomes
training progress, FLOP are H100e-hours; over the GPUs of a tier they are days. MFU is known as
a range at best, so each answer is an interval.

Source: J. Kaplan et al., "Scaling laws for neural language models", 2020, section 2.1;
T. Brown et al., "Language models are few-shot learners", 2020, appendix D; A. Chowdhery et
al., "PaLM", 2022, appendix B (which also defines MFU); scheduling.md R16.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import NamedTuple

from scheduler.core import hardware
from scheduler.core.model import Pool, Tier
from scheduler.core.policy import Policy

ALPHA = 6
"""FLOP per parameter and token of a dense transformer."""

H100_FLOP_PER_HOUR = 989.4e12 * 3600
"""What an H100 SXM could do in an hour: dense BF16, no sparsity."""

MFU, MFU_SPREAD = 0.4, 0.25
"""Default utilisation, and how far the truth may be from it on either side: 30 % to 50 %."""

PATIENCE_DAYS = 30.0
"""A tier is proposed where the run would take no longer than this."""

TYPICAL_H100E: Mapping[Tier, float] = {
    Tier.TEAM: 48,
    Tier.INSTITUTION: 2_000,
    Tier.NATIONAL: 6_000,
    Tier.FRONTIER: 20_000,
}
"""H100e per tier where no policy says: dozens, thousands, several thousand (scheduling.md 1)."""


class Published(NamedTuple):
    """A training run as its makers or their reviewers counted it."""

    model: str
    parameters: float
    tokens: float
    flop: float


PUBLISHED = (
    Published("BERT-base", 109e6, 250e9, 1.6e20),
    Published("GPT-3", 175e9, 300e9, 3.1e23),
    Published("PaLM", 540e9, 780e9, 2.5e24),
)
"""Rows by which the law is checked: they give an alpha of 5.87, 5.90 and 5.94."""


@dataclass(frozen=True, slots=True)
class Interval:
    """From the best case to the worst, with what is expected between them."""

    best: float
    expected: float
    worst: float

    def __truediv__(self, by: float) -> "Interval":
        """Return the interval in another unit."""
        return Interval(self.best / by, self.expected / by, self.worst / by)


@dataclass(frozen=True, slots=True)
class TierDays:
    """Days that the run would take with all `h100e` of a tier to itself, around the clock."""

    tier: Tier
    h100e: float
    days: Interval


@dataclass(frozen=True, slots=True)
class Proposal:
    """The smallest tier that is patient enough, by case; None where even the largest is not."""

    best: Tier | None
    expected: Tier | None
    worst: Tier | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a training run takes. `mfu` is best, expected and worst: high to low."""

    flop: float
    mfu: Interval
    h100e_hours: Interval
    tiers: tuple[TierDays, ...]
    proposal: Proposal


def alpha(row: Published) -> float:
    """Return the FLOP per parameter and token that a published run took."""
    return row.flop / (row.parameters * row.tokens)


def training_flop(parameters: float, tokens: float, per_token: float = ALPHA) -> float:
    """Return the FLOP of training a dense model, or of one with so many active parameters.

    `per_token` is FLOP per parameter and token: another than ALPHA for other kinds of work.

    Raises:
        ValueError: either is not a positive number, or both are beyond all reckoning.
    """
    for name, value in (("parameters", parameters), ("tokens", tokens), ("alpha", per_token)):
        if not (isfinite(value) and value > 0):
            raise ValueError(f"{name} must be more than zero, not {value:g}")
    flop = per_token * parameters * tokens
    if not isfinite(flop):
        raise ValueError(f"{parameters:g} parameters and {tokens:g} tokens are beyond reckoning")
    return flop


def mfu_around(expected: float = MFU) -> Interval:
    """Return the utilisations to reckon with, best first; at most all of the GPU.

    Raises:
        ValueError: not between 0 and 1.
    """
    if not 0 < expected <= 1:
        raise ValueError(f"MFU is a part of 1, such as 0.4, not {expected:g}")
    return Interval(min(1.0, expected * (1 + MFU_SPREAD)), expected, expected * (1 - MFU_SPREAD))


def h100e_hours(flop: float, mfu: float = MFU) -> float:
    """Return H100e-hours at a utilisation; 1e26 FLOP are 70.2 million at 40 %."""
    return flop / (mfu * H100_FLOP_PER_HOUR)


def estimate(
    flop: float,
    mfu: Interval,
    tiers: Mapping[Tier, float] = TYPICAL_H100E,
    patience_days: float = PATIENCE_DAYS,
) -> Estimate:
    """Return the H100e-hours of so many FLOP, the days per tier, and the tier to ask for."""
    hours = Interval(
        h100e_hours(flop, mfu.best), h100e_hours(flop, mfu.expected), h100e_hours(flop, mfu.worst)
    )
    days = tuple(
        TierDays(tier, h100e, hours / (24 * h100e))
        for tier, h100e in sorted(tiers.items(), key=lambda item: item[0].rank)
        if h100e > 0
    )

    def smallest(case: str) -> Tier | None:
        return next((t.tier for t in days if getattr(t.days, case) <= patience_days), None)

    proposal = Proposal(smallest("best"), smallest("expected"), smallest("worst"))
    return Estimate(flop, mfu, hours, days, proposal)


def tier_h100e(policy: Policy) -> dict[Tier, float]:
    """Return the H100e of each tier's largest pool: a gang has nodes of one pool (R5)."""
    newest = hardware.newest(policy.hardware)
    largest: dict[Tier, float] = {}
    for pool in policy.pools:
        largest[pool.tier] = max(largest.get(pool.tier, 0.0), _h100e(pool, newest))
    return largest


def _h100e(pool: Pool, newest: Mapping[str, hardware.Hardware]) -> float:
    row = newest.get(pool.gpu_model)
    return pool.capacity * (row.factor if row else hardware.H100E) / hardware.H100E
