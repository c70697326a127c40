"""Thresholds of training compute, and the approvals to go beyond them: a part of the policy (R17).

FLOP are counted in whole petaFLOP (1e15): sums of them are exact.
"""

from dataclasses import dataclass
from datetime import datetime
from math import ceil

from scheduler.core.model import AccountName, JobId

PETA = 10**15

UNNAMED = "unnamed"
"""The line of jobs that name none: each stands for itself, and nothing is added up."""


def pflop_of(flop: float) -> int:
    """Return FLOP as whole petaFLOP, rounded up: nothing comes out below what it is."""
    return ceil(flop / PETA)


def flop_words(pflop: int) -> str:
    """Return FLOP as people write them, `1.24e+26`: rounded up, so that asking for it is enough."""
    flop = pflop * PETA
    step = 10 ** max(0, len(str(flop)) - 3)
    return f"{-(-flop // step) * step:.3g}"


@dataclass(frozen=True, slots=True)
class Threshold:
    """Training compute from which a model line needs approvers, by policy, while it is valid."""

    name: str
    pflop: int
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class Crossing:
    """An approval: an account's line may reach so much, beyond a threshold, while it is valid.

    It is for the account with all below it; with `job`, for that job alone.
    """

    account: AccountName
    model_line: str
    threshold: str
    pflop: int
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    job: JobId | None = None

    @property
    def name(self) -> str:
        """Return what the approval is called where rows of a policy are compared."""
        alone = f" (job {self.job})" if self.job else ""
        return f"{self.model_line} of {self.account} beyond {self.threshold}{alone}"
