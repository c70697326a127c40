"""One cycle's attempts to start jobs: what is tried for one job, over all its pools.

An in-quota start anywhere beats a borrowed one (R13): first without preemption in any
pool, in tier order, then by an owner's recall, and only when neither works, in the next
pass of the cycle, borrowed. The world is changed as decisions are made and brought back
at the end (`rollback`), so that planning leaves it as it was.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from scheduler.core import fairshare
from scheduler.core.decisions import Preempt, Reserve, Start, preempted_run
from scheduler.core.hardware import H100E
from scheduler.core.model import (
    AccountName,
    Agreement,
    Job,
    JobId,
    Pool,
    PoolId,
    QuotaClass,
    Run,
    Shape,
    Slot,
    StopReason,
)
from scheduler.core.ordering import Kind
from scheduler.core.preemption import Recall, Recallable, recall
from scheduler.core.quota import Level
from scheduler.core.timeline import (
    OVERDUE,
    QuotaHold,
    Reservations,
    Reserved,
    Returns,
    masks_of,
    slots_of,
)
from scheduler.core.world import World


class Terms(NamedTuple):
    """On which terms a job could start in a pool now, as far as quota goes."""

    quota_class: QuotaClass
    level: Level | None = None  # the first that is over nominal, for a borrowed start inside
    agreement: Agreement | None = None


class Planned(NamedTuple):
    """A start that can be foreseen: when, where, and on which (rank, GPUs)."""

    start_at: datetime
    pool: Pool
    chosen: tuple[tuple[int, tuple[int, ...]], ...]


class Cycle:
    """The state of one cycle over a world: decisions so far, and what is planned for later."""

    def __init__(self, world: World, now: datetime) -> None:
        self.world = world
        self.now = now
        self.starts: list[Start] = []
        self.preempts: list[Preempt] = []
        self.reserves: dict[JobId, Reserve] = {}
        self.held_back = False
        self._back: dict[tuple[AccountName, PoolId], Returns] = {}
        self._recallable: dict[PoolId, Recallable] = {}
        self._at_home: dict[Kind, datetime | None] = {}
        self.reservations = Reservations(now)
        self._reserved_of_shape: dict[Shape, int] = {}
        self._undo: list[tuple[Job, Run] | Run] = []

    def rollback(self) -> None:
        """Bring the world back to what it was before the cycle."""
        for done in reversed(self._undo):
            match done:
                case Run():
                    self.world.put_run(done)
                case (job, run):
                    self.world.drop_run(run.id)
                    self.world.put_job(job)

    def try_start(self, kind: Kind, job: Job, turn: QuotaClass) -> Start | None:
        """Start the job if any of its pools allows it in this pass of the cycle."""
        end_at = self.now + job.time_limit
        self.held_back = False
        for pool in self.pools(kind, turn):
            terms = self.terms(kind, pool, turn)
            if terms is None:
                continue
            slots = self._place(pool, job, end_at, terms.quota_class)
            if slots is not None:
                return self._start(kind, job, pool, (slots, terms, ()))
        if turn is QuotaClass.IN_QUOTA:
            return self._try_recall(kind, job, end_at)
        return None

    def pools(self, kind: Kind, turn: QuotaClass) -> Sequence[Pool]:
        """Return the pools to try, in tier order; none above its own tier if that is soon (R13)."""
        in_quota = turn is QuotaClass.IN_QUOTA
        pools = kind.guaranteed if in_quota else kind.candidates.pools
        if not self.world.policy.rules.spill_after:
            return pools
        return [pool for pool in pools if self.own_tier_start(kind, pool) is None]

    def own_tier_start(self, kind: Kind, pool: Pool) -> datetime | None:
        """Return the start on its own tier that keeps the job out of a higher pool, if any."""
        patience = self.world.policy.rules.spill_after
        own = self.world.index.own_tier(kind.account) if patience else None
        if own is None or pool.tier.rank <= own.rank:
            return None
        if kind not in self._at_home:
            # Asked once, before the kind's own planned start takes the place it asks about.
            plans = [self.planned(kind, p) for p in kind.candidates.pools if p.tier is own]
            soonest = min((p.start_at for p in plans if p is not None), default=None)
            self._at_home[kind] = soonest
        start = self._at_home[kind]
        return None if start is None or start > self.now + patience else start

    def planned(self, kind: Kind, pool: Pool) -> Planned | None:
        """Return when nodes and the account's own nominal open by all limits, and which GPUs.

        None where no end of a run would open them.
        """
        opens = self._quota_opens(kind, pool.id)
        if opens is None:
            return None
        nodes = self.world.floor.pool(pool.id)
        found = self.reservations.earliest(pool.id, nodes, kind.shape, opens)
        return None if found is None else Planned(found[0], pool, found[1])

    def terms(self, kind: Kind, pool: Pool, turn: QuotaClass) -> Terms | None:
        """Return the terms of a start in this pass, None where quota or agreements refuse."""
        quota = self.world.quotas[pool.id]
        if not quota.path(kind.account):
            return self._outsiders_terms(kind, pool, turn)
        if turn is QuotaClass.BACKGROUND:
            return Terms(turn) if quota.common >= kind.gpus else None
        if quota.available(kind.account) < kind.gpus:
            return None
        over = quota.beyond(kind.account, kind.gpus)
        if over is None:
            return Terms(QuotaClass.IN_QUOTA)
        if turn is QuotaClass.IN_QUOTA or not kind.shape.preemptible:
            return None
        return Terms(QuotaClass.BORROWED, over)

    def _outsiders_terms(self, kind: Kind, pool: Pool, turn: QuotaClass) -> Terms | None:
        if turn is QuotaClass.IN_QUOTA or not kind.shape.preemptible:
            return None
        agreements = self.world.index.agreements(kind.account, pool.id, self.now)
        if not agreements or self.world.quotas[pool.id].common < kind.gpus:
            return None
        for agreement in agreements:
            if self.world.lent.get(agreement.id, 0) + kind.gpus <= agreement.cap:
                return Terms(turn, None, agreement)
        return None

    def _quota_is_open(self, pool: PoolId, job: Job, end_at: datetime) -> bool:
        """Return whether the start leaves the quota alone that an earlier job waits for (R6)."""
        if job.shape.background:
            return True
        slack = self.reservations.open_quota(job.account, pool, end_at, job.id)
        return slack is None or job.shape.gpus <= slack

    def _place(
        self, pool: Pool, job: Job, end_at: datetime, quota_class: QuotaClass
    ) -> tuple[Slot, ...] | None:
        """Return GPUs for the gang that delay no planned start, or None.

        `held_back` becomes true where only a planned start stands in the way.
        """
        nodes = self.world.floor.pool(pool.id)
        if not nodes.has_room(job.shape.nodes, job.shape.gpus_per_node):
            return None
        if self._quota_is_open(pool.id, job, end_at):
            blocked = self.reservations.blocked(pool.id, end_at, quota_class, job.id)
            slots = nodes.place(job.shape.nodes, job.shape.gpus_per_node, blocked)
            if slots is not None:
                return slots
        self.held_back = True
        return None

    def _try_recall(self, kind: Kind, job: Job, end_at: datetime) -> Start | None:
        """Take GPUs back from borrowers and background work, in the first pool where it works."""
        for pool in self.pools(kind, QuotaClass.IN_QUOTA):
            path = self.world.quotas[pool.id].path(kind.account)
            if path[0].used + kind.gpus > path[0].nominal:
                continue
            if not self._quota_is_open(pool.id, job, end_at):
                continue
            blocked = self.reservations.blocked(pool.id, end_at, QuotaClass.IN_QUOTA, job.id)
            if pool.id not in self._recallable:
                self._recallable[pool.id] = Recallable(self.world, pool.id, self.now)
            found = recall(self.world, self._recallable[pool.id], pool.id, job, blocked)
            if found is not None:
                return self._recalled(kind, job, pool, found)
        return None

    def _recalled(self, kind: Kind, job: Job, pool: Pool, found: Recall) -> Start:
        for run in found.victims:
            preempt = self._preempt(run, job, pool)
            self.preempts.append(preempt)
            self._undo.append(run)
            self._back.pop((run.account, pool.id), None)
            self._recallable[pool.id].drop(run)
            self.world.put_run(preempted_run(run, preempt, self.now))
        terms = Terms(QuotaClass.IN_QUOTA)
        return self._start(kind, job, pool, (found.slots, terms, found.victims))

    def _preempt(self, run: Run, job: Job, pool: Pool) -> Preempt:
        """Recall a run, with the notice of its agreement, else of the tier (R9)."""
        agreements = self.world.policy.agreements
        agreed = (a.recall_notice for a in agreements if a.id == run.agreement)
        notice = next(agreed, self.world.index.tier_rules[pool.tier].notice)
        terms = "background work" if run.quota_class is QuotaClass.BACKGROUND else "borrowed GPUs"
        why = f"{job.account} takes its GPUs in {pool.id} back, which {run.account} held as {terms}"
        return Preempt(run.id, job.id, StopReason.RECALLED, notice, why)

    def _start(
        self,
        kind: Kind,
        job: Job,
        pool: Pool,
        found: tuple[tuple[Slot, ...], Terms, tuple[Run, ...]],
    ) -> Start:
        slots, terms, after = found
        start = Start(
            job=job.id,
            pool=pool.id,
            slots=slots,
            quota_class=terms.quota_class,
            why=self._why(kind, pool, terms, after),
            agreement=terms.agreement.id if terms.agreement else None,
            after=frozenset(run.id for run in after),
        )
        self.starts.append(start)
        self._back.pop((job.account, pool.id), None)
        if self.reserves.pop(job.id, None) is not None:
            self._reserved_of_shape[job.shape] -= 1
        self.reservations.forget(job.id)
        run = self.world.start(start, self.now)
        self._undo.append((job, run))
        if terms.quota_class is not QuotaClass.BACKGROUND:
            self.reservations.started(job.account, pool.id, run.ends_by, run.gpus)
        return start

    def _why(self, kind: Kind, pool: Pool, terms: Terms, after: tuple[Run, ...]) -> str:
        """Say on which terms a job starts, in one sentence with the numbers."""
        if terms.agreement is not None:
            agreed = terms.agreement
            lent = self.world.lent.get(agreed.id, 0) + kind.gpus
            return (
                f"{terms.quota_class.name.lower()} in {pool.id}, lent by {agreed.lender} under "
                f"agreement {agreed.id}: {lent} of {agreed.cap} GPUs"
            )
        if terms.quota_class is QuotaClass.BACKGROUND:
            return f"background in {pool.id}: uncharged, ends when others need the GPUs"
        if terms.level is not None:
            level = terms.level
            return (
                f"borrowed in {pool.id}: with this job {level.name} holds "
                f"{level.used + kind.gpus} GPUs, beyond its nominal of {level.nominal}"
            )
        own = self.world.quotas[pool.id].path(kind.account)[0]
        taken = sum(run.gpus for run in after)
        back = f"; takes back {taken} GPUs that were lent" if taken else ""
        return (
            f"in quota in {pool.id}: with this job {own.name} holds {own.used + kind.gpus} "
            f"of its {own.nominal} GPUs{back}"
        )

    def tentative_usage(self, start: Start, gpus: int) -> float:
        """Return what a start counts at once, so that equal accounts take turns (R2)."""
        if start.quota_class is QuotaClass.BACKGROUND:
            return 0.0
        h100e = gpus * self.world.index.factor(start.pool, self.now) / H100E
        return h100e * fairshare.TENTATIVE.total_seconds()

    def reserve(self, kind: Kind, job: Job, turn: QuotaClass) -> None:
        """Plan a start for a blocked head, on named nodes; of many alike, only keep its quota."""
        if turn is QuotaClass.BACKGROUND or job.id in self.reserves:
            return
        pools = [pool for pool in self.pools(kind, turn) if self._may_plan(kind, pool, turn)]
        if not pools:
            return
        depth = self.world.policy.rules.reserve_depth
        if self._reserved_of_shape.get(kind.shape, 0) < depth:
            plans = [self.planned(kind, pool) for pool in pools]
            best = min((p for p in plans if p is not None), key=_soonest, default=None)
            if best is not None:
                self._reserve_nodes(kind, job, best, turn)
        elif turn is QuotaClass.IN_QUOTA:
            opens = self._quota_opens(kind, pools[0].id)
            if opens is not None and opens > self.now:
                self._hold_quota(kind, pools[0].id, job, opens)

    def _may_plan(self, kind: Kind, pool: Pool, turn: QuotaClass) -> bool:
        """Whether a start there can be foreseen: in quota some day, or borrowed but for nodes.

        What is promised to a borrower is only what quota allows today: room that others
        may want back is no ground for a promise.
        """
        return turn is QuotaClass.IN_QUOTA or self.terms(kind, pool, turn) is not None

    def _reserve_nodes(self, kind: Kind, job: Job, best: Planned, turn: QuotaClass) -> None:
        pool, start_at = best.pool.id, best.start_at
        end_at = start_at + job.time_limit
        reserved = Reserved(job.id, turn, start_at, end_at, masks_of(best.chosen))
        self.reservations.add(pool, reserved)
        slots = slots_of(self.world.floor.pool(pool), best.chosen)
        self.reserves[job.id] = Reserve(job.id, pool, slots, start_at)
        self._reserved_of_shape[kind.shape] = self._reserved_of_shape.get(kind.shape, 0) + 1
        if turn is QuotaClass.IN_QUOTA:
            self._hold_quota(kind, pool, job, start_at)

    def _quota_opens(self, kind: Kind, pool: PoolId) -> datetime | None:
        """Return when the account's own nominal has room by the limits of its runs (now: it has).

        Levels above cannot stand in the way for long: whoever is over there is recalled.
        """
        path = self.world.quotas[pool].path(kind.account)
        if not path or kind.shape.background:
            return self.now
        if kind.gpus > path[0].nominal:
            return self.now
        held_until = self.reservations.quota_back_at(kind.account, pool, kind.gpus)
        excess = path[0].used + kind.gpus - path[0].nominal
        if excess <= 0:
            return held_until
        opens = self._returns(kind.account, pool).when(excess)
        # A run past its limit is being ended: its GPUs are not back yet, but soon.
        return None if opens is None else max(opens, self.now + OVERDUE, held_until)

    def _returns(self, account: AccountName, pool: PoolId) -> Returns:
        known = self._back.get((account, pool))
        if known is None:
            known = Returns(self.world.charged.get((account, pool), {}).values())
            self._back[account, pool] = known
        return known

    def _hold_quota(self, kind: Kind, pool: PoolId, job: Job, start_at: datetime) -> None:
        level = self.world.quotas[pool].path(kind.account)[0]
        back = self._returns(kind.account, pool).by(start_at)
        slack = level.nominal - (level.used - back) - kind.gpus
        hold = QuotaHold(job.id, start_at, start_at + job.time_limit, max(0, slack))
        self.reservations.hold_quota(kind.account, pool, hold)

    def longest_limit(self, kind: Kind, job: Job, turn: QuotaClass) -> timedelta:
        """Return the longest time limit with which this shape could start now, else zero.

        Asked after `try_start` failed. A shorter limit never fits worse, so it is found
        by halving over the planned starts.
        """
        ends = self.reservations.times(self.now + job.time_limit) if self.held_back else []
        fitting = timedelta(0)
        while ends:
            middle = len(ends) // 2
            if self._fits_until(kind, job, turn, ends[middle]):
                fitting, ends = ends[middle] - self.now, ends[middle + 1 :]
            else:
                ends = ends[:middle]
        return fitting

    def _fits_until(self, kind: Kind, job: Job, turn: QuotaClass, end_at: datetime) -> bool:
        for pool in self.pools(kind, turn):
            terms = self.terms(kind, pool, turn)
            if terms is not None and self._place(pool, job, end_at, terms.quota_class) is not None:
                return True
        return False


def _soonest(planned: Planned) -> tuple[datetime, int, PoolId]:
    return (planned.start_at, planned.pool.tier.rank, planned.pool.id)
