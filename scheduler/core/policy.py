"""Every knob of scheduling in one frozen value with a revision.

It is written as one YAML file, read and checked by `scheduler.policy_file`, and
kept in the database; a plan says under which revision it was made.
"""

from dataclasses import dataclass, field
from datetime import timedelta

from scheduler.core.hardware import Hardware
from scheduler.core.model import (
    Account,
    AccountName,
    Agreement,
    AgreementId,
    Pool,
    PoolId,
    Quota,
    Site,
    Tier,
    User,
)


@dataclass(frozen=True, slots=True)
class TierRules:
    """What a tier grants by default. `notice` is the time to checkpoint before preemption (R9)."""

    default_time_limit: timedelta
    max_time_limit: timedelta
    notice: timedelta


@dataclass(frozen=True, slots=True)
class Rules:
    """Knobs that are not about one account or pool.

    `half_life` is that of recorded use (R3). `reserve_depth` is how many blocked heads
    of each shape get a planned start (R6, K). `bind_within` is how long a lease may wait
    for its run to start before it is released (R5). `spill_after`: a job leaves its own
    tier when its own tier's planned start is later than this (R13).
    """

    half_life: timedelta = timedelta(days=14)
    reserve_depth: int = 1
    bind_within: timedelta = timedelta(minutes=10)
    spill_after: timedelta = timedelta(0)
    default_gpus: int = 1
    max_gpus_per_job: int = 4096
    max_pending_per_user: int = 10_000


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
