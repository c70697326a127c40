"""Why a job has not started: a closed set of reasons, and one plain sentence for each.

A verdict carries its numbers as data; the sentence is made from them here and
nowhere else, so the API, the portal, the command line and Ray's log tail agree.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from scheduler.core.model import AccountName, Budget, PoolId, Reservation, ReservationId
from scheduler.core.policy import Policy

Numbers = tuple[tuple[str, int | str], ...]

_HOUR = 3600

_INSTANT = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d):\d\d(?:\.\d+)?\+00:00")
# Where an amount is one: "1 nodes", but not "11 nodes" or "0.1 GPUs".
_ONE_OF_MANY = re.compile(r"(?<![\d.,])1 (node|GPU|H100e-hour)s\b")
"""An instant as numbers hold it, for programs; people read it to the minute."""


class Reason(StrEnum):
    """The closed set. The value is what the API shows; the comment is what it means."""

    NO_POOL = "no_pool"  # no pool of the policy can ever hold this shape
    LABEL = "label"  # the pool is not accredited for the job's label (R14)
    SECTOR = "sector"  # the pool is not for the account's sector (R13)
    SOFTWARE = "software"  # the pool's nodes lack what the job names (R13)
    MEMORY = "memory"  # each GPU of the pool has less memory than asked for (R15)
    JOB_LIMIT = "job_limit"  # so many H100e are more GPUs here than a job may hold (R1)
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
    BUDGET = "budget"  # what is left of the account's budget does not cover the job (R4)
    RESERVATION = "reservation"  # the job names a reservation in which it cannot start now (R7)
    MAINTENANCE = "maintenance"  # it would run into a maintenance window (R7)
    RESERVED_WINDOW = "reserved_window"  # it would run into nodes reserved for others (R7)
    HOLD_SHARE = "hold_share"  # no more of the pool may stand idle for planned starts (R6)
    PREEMPT_WAIT = "preempt_wait"  # may take borrowed GPUs back, but not yet (R9)
    CELL = "cell"  # would break the cells that another account is guaranteed (R11)
    OWN_TIER_SOONER = "own_tier_sooner"  # its own tier starts it soon enough (R13)
    STRICT_ORDER = "strict_order"  # first come, first served, and somebody came first (R6)
    THRESHOLD = "threshold"  # its model line needs approvers for so much compute (R17)


@dataclass(frozen=True, slots=True)
class Verdict:
    """One rule's answer for one pool (`pool` None: for the job as a whole).

    `numbers` are (name, value) pairs that the reason's sentence uses.
    """

    reason: Reason
    pool: PoolId | None = None
    numbers: Numbers = ()


class _Numbers(dict[str, object]):
    """A verdict's numbers; one that an older record lacks reads as `?` instead of failing."""

    def __missing__(self, name: str) -> str:
        return "?"


_SENTENCES: dict[Reason, str] = {
    Reason.NO_POOL: "No pool of the policy can ever hold {nodes} nodes x {gpus_per_node} GPUs "
    "of this kind.",
    Reason.LABEL: "{pool} is not accredited for data labelled '{label}'; it is for {accredited}.",
    Reason.SECTOR: "{pool} is for the sectors {sectors}; this account's is {sector}.",
    Reason.SOFTWARE: "{pool} lacks {missing}, which the job names; it offers {offers}.",
    Reason.MEMORY: "{pool} has {model} with {has} GiB each; the job asks for {asked} GiB on "
    "every GPU.",
    Reason.JOB_LIMIT: "On {pool} the job would take {asked} GPUs; no job may hold more than "
    "{limit}.",
    Reason.SECTOR_AGREEMENT: "{pool} belongs to {owner}, and {account} has no agreement for it "
    "that is valid now.",
    Reason.AGREEMENT_CAP: "{pool} is lent to outsiders under agreement {agreement} up to {cap} "
    "GPUs; {used} are in use and this job needs {asked}.",
    Reason.HARDWARE: "{pool} has {pool_nodes} nodes of {has} x {model}; the job asks for "
    "{asked} x {models} on each of {nodes} nodes.",
    Reason.TIER: "{pool} is of the {tier} tier; the job asks for {lowest} to {highest}.",
    Reason.TIME_LIMIT: "{pool} takes jobs of at most {longest} s, and this one asks for more.",
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
    Reason.BUDGET: "The budget {budget} of {account} has {left} of {limit} H100e-hours left "
    "({spent} are spent, running jobs and reservations may take {committed}); this job may take "
    "{asked}.",
    Reason.RESERVATION: "The job runs in the reservation {reservation} only, which {state}.",
    Reason.MAINTENANCE: "{pool} has maintenance on {nodes} of its nodes from {starts_at} to "
    "{ends_at}, and the job does not fit before it or beside it.",
    Reason.RESERVED_WINDOW: "{pool} has {nodes} of its nodes reserved for {account} from "
    "{starts_at} to {ends_at}, and the job does not fit before or beside them.",
    Reason.HOLD_SHARE: "{pool} keeps {idle} GPUs idle for planned starts already; more than "
    "{share} % of the pool may not stand idle.",
    Reason.PREEMPT_WAIT: "{pool} has GPUs that others borrow; the job may ask for them back "
    "from {until} on.",
    Reason.CELL: "A start in {pool} would break the cells that {account} is guaranteed.",
    Reason.OWN_TIER_SOONER: "{pool} is not its own tier, and its own tier starts it at {start_at}.",
    Reason.STRICT_ORDER: "The policy starts jobs strictly in order (`backfill: strict`), and one "
    "that goes before this one cannot start yet.",
    Reason.THRESHOLD: "It needs approval of the threshold {threshold}: with this job the model "
    "line {line} of {account} reaches {flop} FLOP. Approvers decide, {approvers} from "
    "{institutions} institutions; ask for it with `commonpool request create threshold`.",
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
    template = _SENTENCES[verdict.reason]
    if words["lowest"] == words["highest"]:
        template = template.replace("{lowest} to {highest}", "{lowest} only")
    if words["nodes"] == 1:
        template = template.replace("on each of {nodes} nodes", "on one node")
    told = _INSTANT.sub(r"\1 \2 UTC", template.format_map(words))
    return _ONE_OF_MANY.sub(r"1 \1", told)


def over_budget(budget: Budget, spent: int, committed: int, asked: int) -> Verdict:
    """Return the verdict of a job that the budget does not cover (R4).

    All in H100e-seconds: `spent` by what ended, `committed` to the limits of what runs.
    """
    left = max(0, budget.h100e_hours * _HOUR - spent - committed)
    # Rounded so that the sentence never says that what is left would be enough.
    numbers: Numbers = (
        ("budget", budget.id),
        ("account", budget.account),
        ("limit", budget.h100e_hours),
        ("left", left // _HOUR),
        ("spent", -(-spent // _HOUR)),
        ("committed", -(-committed // _HOUR)),
        ("asked", -(-asked // _HOUR)),
    )
    return Verdict(Reason.BUDGET, None, numbers)


def no_such_reservation(name: ReservationId, state: str, pool: PoolId | None) -> Verdict:
    """Return the verdict of a job whose own reservation does not take it; `state` says why.

    `state` completes "the reservation NAME, which ...".
    """
    return Verdict(Reason.RESERVATION, pool, (("reservation", name), ("state", state)))


def not_open(reservation: Reservation, ended: bool) -> Verdict:
    """Return the verdict of a job whose reservation has not begun or is over (R7)."""
    at = reservation.ends_at if ended else reservation.starts_at
    state = f"{'ended' if ended else 'opens'} at {at.isoformat(timespec='seconds')}"
    return no_such_reservation(reservation.id, state, reservation.pool)


def window(reservation: Reservation, nodes: int) -> Verdict:
    """Return the verdict of a job that would run into a reservation of others, or maintenance."""
    numbers: Numbers = (
        ("nodes", nodes),
        ("starts_at", reservation.starts_at.isoformat(timespec="seconds")),
        ("ends_at", reservation.ends_at.isoformat(timespec="seconds")),
    )
    if reservation.account is None:
        return Verdict(Reason.MAINTENANCE, reservation.pool, numbers)
    whose: Numbers = (("account", reservation.account),)
    return Verdict(Reason.RESERVED_WINDOW, reservation.pool, (*whose, *numbers))


def cell(pool: PoolId, account: AccountName) -> Verdict:
    """Return the verdict of a job that would break another account's guaranteed cells (R11)."""
    return Verdict(Reason.CELL, pool, (("account", account),))
