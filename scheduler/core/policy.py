"""Every knob of scheduling in one frozen value with a revision.

It is written as one YAML file, read and checked by `scheduler.policy_file`, and
kept in the database; a plan says under which revision it was made.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from scheduler.core.hardware import Hardware
from scheduler.core.model import (
    Account,
    AccountName,
    Agreement,
    AgreementId,
    Budget,
    Label,
    Pool,
    PoolId,
    Quota,
    Reservation,
    Site,
    Tier,
    User,
)
from scheduler.core.request_kinds import ApprovalRule
from scheduler.core.thresholds import Crossing, Threshold


@dataclass(frozen=True, slots=True)
class TierRules:
    """What a tier grants by default. `notice` is the time to checkpoint before preemption (R9).

    After how long a run that does nothing is warned, has its lease lent to background work, is
    requeued, ended (R18); zero is never. Nobody looks before a run is `idle_grace` old.
    """

    default_time_limit: timedelta
    max_time_limit: timedelta
    notice: timedelta
    idle_warn: timedelta = timedelta(0)
    idle_lend: timedelta = timedelta(0)
    idle_requeue: timedelta = timedelta(0)
    idle_end: timedelta = timedelta(0)
    idle_grace: timedelta = timedelta(minutes=10)


class Order(StrEnum):
    """Who is next: `fair` is least share first, then the account's own order (R2).

    `balanced` compares the accounts' next jobs by age, and an account that holds a part of all
    GPUs now goes as if its job had come that part of `share_as_age` later. It keeps waits short
    where use is uneven, since nobody is held back for what is past.
    """

    FAIR = "fair"
    BALANCED = "balanced"  # by age, where use of the machines now counts as coming later
    FIFO = "fifo"  # by priority and age alone, whoever asks


class Backfill(StrEnum):
    """What may start while an earlier job waits (R6)."""

    STRICT = "strict"  # nothing: the first blocked job stops all behind it
    EASY = "easy"  # what does not delay the planned start of the first blocked job
    HOLDS = "holds"  # what delays no planned start, of several heads and of aged jobs


@dataclass(frozen=True, slots=True)
class Rules:
    """Knobs that are not about one account or pool.

    `half_life` is that of recorded use (R3). `short_first`: in an account's queue a job goes as
    if it had come so many times its predicted run time later; 0 is plain age (R2). However long
    it is predicted to run, it goes at most as if it had come `short_first_max` later; zero is no
    bound.

    `reserve_depth` is how many blocked heads of each shape get a planned start (R6, K), from
    gangs of `reserve_nodes` on: smaller ones find room soon, and a hold for each costs others.
    `hold_after` is how long a job waits at most until it gets one, whatever its place or size,
    and `hold_gangs_after` how long a job of several nodes does;
    `hold_depth` is how many such gangs, and how many other such jobs, get one at once.
    `hold_share` is the part of a pool, in per cent, that may stand idle for all planned starts
    but the first.

    `bind_within` is how long a lease may wait for its run to start before it is released
    (R5). After `max_lost` runs that were lost with their nodes or sites, a job fails (R19).
    `spill_after`: a job leaves its own tier when its own tier's planned start is later than
    this (R13). `teardown` is what ending a run takes after its notice (R10).

    Share-driven preemption, borrower against borrower (R8.1), is on with `share_preemption`: it
    waits until a job has waited `preempt_delay`, and ends at most `preempt_per_hour` runs of a
    pool in an hour. `min_runtime`: a run is no such victim before it has run so long. After
    `immune_after` preemptions a job's next run is no victim of shares for `immune_for` (R9).
    """

    half_life: timedelta = timedelta(days=14)
    order: Order = Order.FAIR
    backfill: Backfill = Backfill.HOLDS
    short_first: int = 0
    short_first_max: timedelta = timedelta(0)
    share_as_age: timedelta = timedelta(days=4)
    reserve_depth: int = 1
    reserve_nodes: int = 1
    hold_after: timedelta = timedelta(days=3)
    hold_gangs_after: timedelta = timedelta(days=1)
    hold_depth: int = 4
    hold_share: int = 25
    bind_within: timedelta = timedelta(minutes=10)
    max_lost: int = 5
    spill_after: timedelta = timedelta(0)
    teardown: timedelta = timedelta(minutes=1)
    share_preemption: bool = True
    preempt_delay: timedelta = timedelta(hours=1)
    preempt_per_hour: int = 10
    min_runtime: timedelta = timedelta(minutes=10)
    immune_after: int = 2
    immune_for: timedelta = timedelta(hours=6)
    default_gpus: int = 1
    max_gpus_per_job: int = 4096
    max_pending_per_user: int = 10_000

    def aged_after(self, nodes: int) -> timedelta:
        """Return how long a job of so many nodes waits at most until it is promised a start."""
        return min(self.hold_after, self.hold_gangs_after) if nodes > 1 else self.hold_after


@dataclass(frozen=True, slots=True)
class Policy:
    """Accounts, pools, quotas and agreements, and the rules that bind them."""

    revision: int
    sites: tuple[Site, ...]
    accounts: tuple[Account, ...]
    users: tuple[User, ...]
    pools: tuple[Pool, ...]
    quotas: tuple[Quota, ...]
    agreements: tuple[Agreement, ...]
    tiers: tuple[tuple[Tier, TierRules], ...]
    hardware: tuple[Hardware, ...]
    rules: Rules = field(default_factory=Rules)
    labels: tuple[Label, ...] = ()
    budgets: tuple[Budget, ...] = ()
    reservations: tuple[Reservation, ...] = ()
    approvals: tuple[ApprovalRule, ...] = ()
    thresholds: tuple[Threshold, ...] = ()
    crossings: tuple[Crossing, ...] = ()

    def tier_rules(self, tier: Tier) -> TierRules:
        """Return a tier's rules.

        Raises:
            KeyError: the policy says nothing about that tier.
        """
        return dict(self.tiers)[tier]

    def account(self, name: AccountName) -> Account | None:
        """Return an account by name, or None where the policy has none."""
        return next((a for a in self.accounts if a.name == name), None)

    def notice(self, pool: PoolId, agreement: AgreementId | None) -> timedelta:
        """Return the time to checkpoint that a run was promised: its agreement's, else its tier's.

        A pool or an agreement that was taken out of the policy promises nothing more.
        """
        for signed in self.agreements:
            if signed.id == agreement:
                return signed.recall_notice
        tiers = {known.id: known.tier for known in self.pools}
        return self.tier_rules(tiers[pool]).notice if pool in tiers else timedelta(0)
