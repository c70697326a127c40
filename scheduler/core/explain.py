"""Why a job has not started: a closed set of reasons, and one plain sentence for each.

A verdict carries its numbers as data; the sentence is made from them here and
nowhere else, so the API, the portal, the command line and Ray's log tail agree.
"""

from dataclasses import dataclass
from enum import StrEnum

from scheduler.core.model import PoolId
from scheduler.core.policy import Policy


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
    BUDGET = "budget"  # a budget does not cover it up to its limit (R4)
    RESERVATION = "reservation"  # its advance reservation is not open (R7)
    MAINTENANCE = "maintenance"  # the nodes are kept for a reservation or maintenance (R7)
    CELL = "cell"  # would break up whole nodes that others are guaranteed (R11)
    OWN_TIER_SOONER = "own_tier_sooner"  # its own tier starts it soon enough (R13)


@dataclass(frozen=True, slots=True)
class Verdict:
    """One rule's answer for one pool (`pool` None: for the job as a whole).

    `numbers` are (name, value) pairs that the reason's sentence uses.
    """

    reason: Reason
    pool: PoolId | None = None
    numbers: tuple[tuple[str, int | str], ...] = ()


class _Numbers(dict[str, object]):
    """A verdict's numbers; one that an older record lacks reads as `?` instead of failing."""

    def __missing__(self, name: str) -> str:
        return "?"


_SENTENCES: dict[Reason, str] = {
    Reason.NO_POOL: "No pool of the policy can ever hold {nodes} nodes x {gpus_per_node} GPUs "
    "of this kind.",
    Reason.LABEL: "{pool} is not accredited for data labelled '{label}'; it is for {accredited}.",
    Reason.SECTOR_AGREEMENT: "{pool} belongs to {owner}, and {account} has no agreement for it "
    "that is valid now.",
    Reason.AGREEMENT_CAP: "{pool} is lent to outsiders under agreement {agreement} up to {cap} "
    "GPUs; {used} are in use and this job needs {asked}.",
    Reason.HARDWARE: "{pool} has {pool_nodes} nodes of {has} x {model}; the job asks for "
    "{asked} x {models} on each of {nodes} nodes.",
    Reason.TIER: "{pool} is of the {tier} tier; the job allows {lowest} to {highest}.",
    Reason.TIME_LIMIT: "{pool} takes jobs of at most {longest} s; this one asks for {asked} s.",
    Reason.QUOTA: "{level} holds {used} GPUs of {pool} with nominal {nominal} and may borrow "
    "{borrow_max}; {available} are open to this job, which needs {asked}.",
    Reason.NOT_PREEMPTIBLE: "{pool} has only borrowed GPUs left for {level} (nominal {nominal}, "
    "{used} in use), and the job refuses recall.",
    Reason.USER_LIMIT: "{user} may hold {limit} GPUs at once and holds {used}; this job needs "
    "{asked}.",
    Reason.CAPACITY: "{pool} has {free} GPUs free, and room on {fitting} of the {nodes} nodes "
    "that the job needs with {gpus_per_node} GPUs each.",
    Reason.NODES_UNUSABLE: "{pool} would have room, were it not for {count} nodes left out: "
    "{which}.",
    Reason.RESERVED: "{pool} has {free} GPUs free, but a start now would delay a job that is "
    "planned there for {start_at}.",
    Reason.BEHIND: "It waits behind an earlier job of the same account and kind.",
    Reason.NOT_BEFORE: "It was preempted and waits until {not_before}, when the job that took "
    "its place has started.",
    Reason.BUDGET: "Budget {budget} of {account} allows {limit} H100e-hours and has {left} left; "
    "up to its limit this job may use {asked} in {pool}.",
    Reason.RESERVATION: "It runs in reservation {reservation} of {pool}, which is {state}.",
    Reason.MAINTENANCE: "{pool} keeps nodes for {account} from {starts_at} to {ends_at}, before "
    "this job would end.",
    Reason.CELL: "{pool} has {free} GPUs free, but a start now would break up whole nodes that "
    "other accounts are guaranteed.",
    Reason.OWN_TIER_SOONER: "{pool} is not its own tier, and its own tier starts it at {start_at}.",
}


def sentence(verdict: Verdict, policy: Policy) -> str:
    """Return one plain sentence for people: which rule, which number, whose policy."""
    words = _Numbers(verdict.numbers)
    pool = next((p for p in policy.pools if p.id == verdict.pool), None)
    if verdict.pool is not None:
        words["pool"] = verdict.pool
    if pool is not None:
        words.setdefault("owner", pool.owner)
        words.setdefault("tier", pool.tier.value)
    return _SENTENCES[verdict.reason].format_map(words)
