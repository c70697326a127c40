"""What-if as a program asks it: changes of the policy, and how all would have fared."""

from typing import Annotated, Literal

from pydantic import Field

from scheduler.wire.nodes import Message

_Amount = Annotated[int, Field(ge=0, le=1_000_000)]
_Name = Annotated[str, Field(min_length=1, max_length=120)]


class QuotaWish(Message):
    """Another quota; what is left out stays."""

    what: Literal["quota"]
    account: _Name
    pool: _Name
    nominal: _Amount | None = None
    lend_max: _Amount | None = None
    borrow_max: _Amount | None = None


class WeightWish(Message):
    """Another weight of an account."""

    what: Literal["weight"]
    account: _Name
    weight: Annotated[int, Field(ge=1, le=1_000_000)]


class AgreementWish(Message):
    """Another cap of an agreement; 0 ends it."""

    what: Literal["agreement"]
    agreement: _Name
    cap: _Amount


class GpusWish(Message):
    """Another number of GPUs in a pool: whole nodes."""

    what: Literal["gpus"]
    pool: _Name
    gpus: Annotated[int, Field(ge=1, le=1_000_000)]


Wish = Annotated[QuotaWish | WeightWish | AgreementWish | GpusWish, Field(discriminator="what")]


class WhatIfRequest(Message):
    """Play the last `hours` again with these changes, and without."""

    changes: tuple[Wish, ...] = Field(min_length=1, max_length=50)
    hours: int = Field(default=168, ge=1, le=24 * 366)


class FaredView(Message):
    """How an account's jobs fared. Wait is all the time that was not progress."""

    account: str | None = Field(description="None: all together")
    jobs: int
    unfinished: int
    mean_wait_seconds: float
    p95_wait_seconds: float
    gpu_hours: float
    preemptions: int


class OutcomeView(Message):
    utilisation: float
    total: FaredView
    accounts: tuple[FaredView, ...]


class WhatIf(Message):
    """The same history under the policy as it is, and with the changes."""

    jobs: int = Field(description="Jobs of the history that were played")
    before: OutcomeView
    after: OutcomeView
