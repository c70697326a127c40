"""The balance of each pair of groups over time, as a message; amounts as in `ledger`."""

from pydantic import AwareDatetime, Field

from scheduler.core.ledger import By
from scheduler.wire.ledger import Seconds
from scheduler.wire.nodes import Message


class PairView(Message):
    """Two groups, of which `first` lent more over the window, and how their balance went."""

    first: str
    second: str
    lent_h100e_seconds: Seconds = Field(description="What `first` lent `second`")
    returned_h100e_seconds: Seconds = Field(description="What `second` lent `first`")
    loans: int = Field(description="Either way")
    balance_h100e_seconds: tuple[Seconds, ...] = Field(
        description="Lent less returned since the window's start, at each of `at`"
    )
    agreements: tuple[str, ...] = Field(
        default=(), description="Under which `first` lent; loans within quotas have none"
    )
    cap_gpus: int | None = Field(
        default=None,
        description="GPUs that these let `first` lend at one time; null where some loans have no"
        " agreement, or one that is over",
    )
    limit_h100e_seconds: Seconds | None = Field(
        default=None, description="What that cap lets through from the window's start to its end"
    )


class PairPage(Message):
    """Every pair that lent and borrowed in a window, those that exchanged most first."""

    since: AwareDatetime
    until: AwareDatetime
    by: By
    at: tuple[AwareDatetime, ...]
    pairs: tuple[PairView, ...]
