"""What-if as a program asks it: changes of the policy, and how all would have fared."""

from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, model_validator

from scheduler.wire.nodes import Message

_Amount = Annotated[int, Field(ge=0, le=1_000_000)]
_Name = Annotated[str, Field(min_length=1, max_length=120)]


_FIRST_YEAR, _LAST_YEAR = 1970, 2999


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
    """Play what ended in a window again with these changes, and without."""

    changes: tuple[Wish, ...] = Field(min_length=1, max_length=50)
    hours: int = Field(default=168, ge=1, le=24 * 366, description="Before `until`")
    since: AwareDatetime | None = Field(default=None, description="In place of `hours`")
    until: AwareDatetime | None = Field(default=None, description="Null: now")
    jobs: int = Field(
        default=5_000, ge=1, le=50_000, description="At most so many, the latest submitted"
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        for name, at in (("since", self.since), ("until", self.until)):
            if at is not None and not _FIRST_YEAR <= at.year <= _LAST_YEAR:
                raise ValueError(f"{name} is not between {_FIRST_YEAR} and {_LAST_YEAR}")
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise ValueError("the window ends before it begins: since is not before until")
        return self


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
    note: str = Field(default="", description="What was taken of the past, and what was not")
    before: OutcomeView
    after: OutcomeView
