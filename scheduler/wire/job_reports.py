"""What a job's GPUs did over its life, and what it costs, as messages."""

from enum import StrEnum

from pydantic import AwareDatetime, Field

from scheduler.core.model import QuotaClass, Tier
from scheduler.wire.nodes import Message


class UsePoint(Message):
    """A run's GPUs over one stretch of time; null is what nobody measured, never 0."""

    at: AwareDatetime = Field(description="The end of the stretch")
    seconds: int = Field(description="How long it was")
    gpus: int = Field(description="How many of the run's GPUs reported in it")
    sm_mean: float | None = Field(description="Of 0 to 1, over time and GPUs")
    sm_most: float | None = Field(description="The highest second of any of them")
    memory_most_mib: float | None = Field(description="The most that any of them had in use")


class GpuUse(Message):
    """One GPU of a run over the run's life, and now, where it still has it."""

    node: str
    gpu: int
    sm_mean: float | None = Field(description="Of 0 to 1; null where nobody measured it")
    sm_most: float | None
    memory_most_mib: float | None
    sm_now: float | None
    memory_now_mib: float | None
    memory_mib: int | None = Field(description="What the GPU has, where its node is heard here")


class RunUse(Message):
    """What one attempt's GPUs did. Points are in order of time."""

    run: str
    attempt: int
    pool: str
    simulated: bool
    points: tuple[UsePoint, ...]
    gpus: tuple[GpuUse, ...]
    gpus_in_all: int = Field(description="More than are listed here, where it has very many")


class JobUtilisation(Message):
    """What a job's GPUs did, attempt by attempt.

    A point is written every `every_seconds`, and counts for whoever had the GPU at its end.
    """

    job: str
    at: AwareDatetime
    every_seconds: float
    kept_days: int
    runs: tuple[RunUse, ...]


class Payer(StrEnum):
    """Who is charged for a run."""

    ACCOUNT = "account"
    RESERVATION = "reservation"  # which was paid for as a whole (R7)
    NOBODY = "nobody"  # background work, also as a guest on an idle lease (R2, R18)


class RunCost(Message):
    """What one attempt took, and what of it is charged, in H100e-hours."""

    run: str
    attempt: int
    tier: Tier | None = Field(description="Null where the policy has no such pool any more")
    pool: str
    gpus: int
    h100e_factor: float = Field(description="H100e-hours of one GPU-hour there, when it began")
    quota_class: QuotaClass
    guest: bool
    payer: Payer
    since: AwareDatetime = Field(description="From when it is counted")
    until: AwareDatetime | None = Field(description="Null while it goes on")
    h100e_hours: float = Field(description="Taken so far, whoever pays")
    charged_h100e_hours: float
    at_limit_h100e_hours: float = Field(description="Charged, if it takes its whole time limit")


class PoolPrice(Message):
    """What the job would cost in a pool that may take it."""

    tier: Tier
    pool: str
    gpu_model: str
    gpus: int
    h100e_factor: float
    at_limit_h100e_hours: float = Field(description="Of one attempt that takes the whole limit")


class JobCost(Message):
    """What a job has cost, and what it may come to, in H100e-hours (R3)."""

    job: str
    account: str
    payer: Payer
    reservation: str | None = None
    budgets: tuple[str, ...] = Field(description="Budgets that its runs count in now (R4)")
    charged_h100e_hours: float = Field(description="Charged so far")
    at_limit_h100e_hours: float | None = Field(
        description="Charged in the end if the present or next attempt takes its whole limit, in "
        "the dearest pool where it waits; null where it waits and no pool may take it"
    )
    runs: tuple[RunCost, ...]
    prices: tuple[PoolPrice, ...] = Field(description="While it waits or runs: tier by tier")
