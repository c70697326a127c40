"""What accounts use: now, lately and of their budgets (R2, R3, R4, R7).

Background work is not charged, and a job in a reservation is paid for by the reservation.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime

from scheduler.core import fairshare
from scheduler.core.budgets import Budgets, charged_until
from scheduler.core.fairshare import AllAccruing
from scheduler.core.hardware import H100E
from scheduler.core.index import PolicyIndex
from scheduler.core.model import AccountName, QuotaClass, Reservation, ReservationId, Run, RunId
from scheduler.core.snapshot import Claim, Usage


class Use:
    """Use by account, brought forward as runs come and go."""

    def __init__(self, index: PolicyIndex) -> None:
        self.budgets = Budgets(index)
        self.now: dict[AccountName, int] = {}  # held at this moment, in thousandths of H100e
        # All GPUs of the policy in the same unit, by what a model is worth by its newest row.
        pools = index.policy.pools
        self.capacity = sum(pool.capacity * index.eligibility.worth(pool) for pool in pools)
        self._index = index
        self._half_life = index.policy.rules.half_life
        self._accruing = AllAccruing(self._half_life)

    def accrue(self, run: Run) -> None:
        """Let a run add to its account's recent use from its lease on."""
        if _is_charged(run):
            milli = run.gpus * self._index.factor(run.pool, run.leased_at)
            self._accruing.put(run.account, run.id, milli / H100E, run.leased_at)

    def hold(self, run: Run, gpus: int) -> None:
        """Count the GPUs that a run holds now, and what it is committed to use of budgets."""
        if _is_charged(run):
            factor = self._index.factor(run.pool, run.leased_at)
            self.budgets.count(run, factor, 1)
            self._hold(run.account, gpus * factor)

    def drop(self, run: Run, gpus: int) -> None:
        """Count a run no longer: what it has used is settled elsewhere."""
        if _is_charged(run):
            factor = self._index.factor(run.pool, run.leased_at)
            self._accruing.drop(run.account, run.id)
            self.budgets.count(run, factor, -1)
            self._hold(run.account, -gpus * factor)

    def _hold(self, account: AccountName, milli: int) -> None:
        for name in self._index.chain(account):
            self.now[name] = self.now.get(name, 0) + milli

    def at(
        self,
        now: datetime,
        settled: Mapping[AccountName, Usage],
        claims: Mapping[ReservationId, Claim],
    ) -> dict[AccountName, float]:
        """Return every account's decayed use with its subtree, in H100e-seconds (R3)."""
        leaves = {
            name: fairshare.settled(usage, now, self._half_life) for name, usage in settled.items()
        }
        for name, used in self._accruing.at(now):
            leaves[name] = leaves.get(name, 0.0) + used
        for row in sorted(self._index.policy.reservations, key=lambda r: r.id):
            if row.account is not None and row.starts_at < now:
                until = min(now, charged_until(row, claims, now))
                leaves[row.account] = leaves.get(row.account, 0.0) + self._kept(row, until, now)
        return fairshare.subtree_usage(self._index, leaves)

    def _kept(self, row: Reservation, until: datetime, now: datetime) -> float:
        """Return the decayed use of an advance reservation, which counts used or not (R7)."""
        pool = self._index.pools[row.pool]
        gpus = (len(row.nodes) or row.node_count) * pool.gpus_per_node
        h100e = gpus * self._index.factor(row.pool, row.starts_at) / H100E
        used = fairshare.accrued(h100e, row.starts_at, until, self._half_life)
        return used * float(0.5 ** ((now - until) / self._half_life))

    def state(self) -> Iterator[tuple[str, object]]:
        """Yield all that is counted, for comparing worlds."""
        yield "now", {name: used for name, used in self.now.items() if used}
        yield "committed", {name: n for name, n in self.budgets.committed.items() if n}
        runs: dict[AccountName, Mapping[RunId, object]] = {
            name: dict(runs) for name, runs in self._accruing.runs() if runs
        }
        yield "accruing", runs


def _is_charged(run: Run) -> bool:
    return run.quota_class is not QuotaClass.BACKGROUND and run.shape.reservation is None
