"""Recent usage: what an account has consumed, with the past fading away (R3).

A balance halves every `half_life`. It is stored with the instant at which it was true
and brought forward on reading: no background job, and how often it is read changes
nothing. Sums are exact (`math.fsum`), so their order cannot change who goes next.

Source: Slurm's multifactor priority (PriorityDecayHalfLife); the continuous form is the
solution of du/dt = rate - ln(2)/half_life * u.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from math import expm1, fsum, log

from scheduler.core.index import PolicyIndex
from scheduler.core.model import AccountName, Usage

TENTATIVE = timedelta(minutes=1)
"""A start counts at once as if it had run this long, so that equals take turns in a cycle."""


def settled(usage: Usage, now: datetime, half_life: timedelta) -> float:
    """Return a stored balance, brought forward to `now`; before `as_of` it stands as it is."""
    age = max(timedelta(0), now - usage.as_of)
    return usage.h100e_seconds * float(0.5 ** (age / half_life))


def accrued(h100e: float, since: datetime, now: datetime, half_life: timedelta) -> float:
    """Return the balance of `h100e` H100-equivalents in use from `since` to `now`."""
    age = max(timedelta(0), now - since)
    ceiling = h100e * half_life.total_seconds() / log(2)  # where a steady load settles
    return -ceiling * expm1(-log(2) * (age / half_life))


def share(h100e_seconds: float, weight: int) -> float:
    """Return usage per unit of weight: the account with the least goes first."""
    return h100e_seconds / weight


def subtree_usage(
    index: PolicyIndex, leaves: Mapping[AccountName, float]
) -> dict[AccountName, float]:
    """Return usage of every account with all that is below it."""
    parts: dict[AccountName, list[float]] = {}
    for leaf, used in leaves.items():
        for name in index.chain(leaf):
            parts.setdefault(name, []).append(used)
    return {name: fsum(values) for name, values in parts.items()}


def leaf_usage(
    stored: Iterable[Usage],
    running: Mapping[AccountName, Iterable[tuple[float, datetime]]],
    now: datetime,
    half_life: timedelta,
) -> dict[AccountName, float]:
    """Return what each leaf has used: settled, plus what its runs have accrued so far.

    `running` gives each run's H100-equivalents and since when it holds them.
    """
    parts: dict[AccountName, list[float]] = {}
    for usage in stored:
        parts.setdefault(usage.account, []).append(settled(usage, now, half_life))
    for account, runs in running.items():
        terms = [accrued(h100e, since, now, half_life) for h100e, since in runs]
        parts.setdefault(account, []).extend(terms)
    return {name: fsum(values) for name, values in parts.items()}
