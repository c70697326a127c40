"""Why a job has not started: a closed set of reasons, and one plain sentence for each.

A verdict carries its numbers as data; the sentence is made from them here and
nowhere else, so the API, the portal, the command line and Ray's log tail agree.
"""

from dataclasses import dataclass
from enum import StrEnum

from scheduler.core.model import PoolId


class Reason(StrEnum):
    """The closed set. The value is what the API shows; the comment is what it means."""

    NO_POOL = "no_pool"  # no pool of the policy can ever hold this shape
    LABEL = "label"  # the pool is not accredited for the job's label (R14)
    SECTOR_AGREEMENT = "agreement"  # outsider without a valid agreement (R1)
    AGREEMENT_CAP = "agreement_cap"  # the agreement's cap is in use (R1)
    HARDWARE = "hardware"  # GPU model or GPUs per node do not match (R15)
    TIER = "tier"  # the job's tiers exclude this pool (R13)
    TIME_LIMIT = "time_limit"  # longer than the tier allows (R6)
    QUOTA = "quota"  # nominal and borrowing room are in use (R1)
    NOT_PREEMPTIBLE = "not_preemptible"  # only borrowing is open, and the job refuses recall
    USER_LIMIT = "user_limit"  # GPUs per person (R1)
    CAPACITY = "capacity"  # quota allows it, no nodes are free
    NODES_UNUSABLE = "nodes_unusable"  # would fit, were it not for stale or broken nodes (R19)
    RESERVED = "reserved"  # would delay a planned start (R6)
    BEHIND = "behind"  # waits behind the head of its shape (R2)
    NOT_BEFORE = "not_before"  # requeued, waits for its successor's lease to bind (R8.6)
    OWN_TIER_SOONER = "own_tier_sooner"  # its own tier starts it soon enough (R13)


@dataclass(frozen=True, slots=True)
class Verdict:
    """One rule's answer for one pool (`pool` None: for the job as a whole).

    `numbers` are (name, value) pairs that the reason's sentence uses.
    """

    reason: Reason
    pool: PoolId | None = None
    numbers: tuple[tuple[str, int | str], ...] = ()
