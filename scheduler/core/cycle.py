"""One cycle's attempts to start jobs: what is tried for one job, over all its pools.

An in-quota start anywhere beats a borrowed one (R13): first without preemption in any
pool, in tier order, then by an owner's recall, and only when neither works, in the next
pass of the cycle, borrowed. The world is changed as decisions are made and brought back
at the end (`rollback`), so that planning leaves it as it was.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from scheduler.core import crossings, fairshare, holding, pinning, recalling, wording
from scheduler.core.decisions import Preempt, Reserve, Start
from scheduler.core.explain import Verdict
from scheduler.core.hardware import H100E
from scheduler.core.model import AccountName, Job, JobId, Pool, PoolId, QuotaClass, Run, Slot
from scheduler.core.ordering import Kind, in_order
from scheduler.core.placement import sum_of
from scheduler.core.preemptable import Asked, Preemptable
from scheduler.core.preemption import Found
from scheduler.core.rooms import FitClass
from scheduler.core.shortage import Shortage
from scheduler.core.terms import IN_QUOTA, Purse, Terms, terms
from scheduler.core.timeline import Reservations
from scheduler.core.trial import Trial
from scheduler.core.victims import may_help
from scheduler.core.windows import Window, planned_name, windows
from scheduler.core.world import World

_TENTATIVE_SECONDS = fairshare.TENTATIVE.total_seconds()


class Cycle:
    """The state of one cycle over a world: decisions so far, and what is planned for later."""

    def __init__(self, world: World, now: datetime) -> None:
        world.rooms.bring_forward()
        self.world = world
        self.now = now
        self.rules = world.policy.rules
        self._one_ages, self._gang_ages = self.rules.aged_after(1), self.rules.aged_after(2)
        self.purse = Purse(world, now)
        self.starts: list[Start] = []
        self.preempts: list[Preempt] = []
        self.reserves: dict[JobId, Reserve] = {}
        # What stood in the way of the job tried last:
        self.held_back = self.over_budget = False
        self.is_over = False  # strictly first come, first served: the first blocked job ends it
        self.blocked_first: JobId | None = None
        self.wanted = holding.Wanted(self.rules)
        # Kinds of which a job is promised a start; and jobs that wait for quota alone.
        self.promised: dict[AccountName, set[Kind]] = {}
        self.waits = holding.Waits()
        # Where only the cells of accounts keep a kind out (R11).
        self.kept_out: set[tuple[Kind, int]] = set()
        self.at_home: dict[Kind, datetime | None] = {}
        self.reservations = Reservations(now)
        self.windows: dict[PoolId, list[Window]] = {}
        # Verdicts, once all is decided, that others share: of pools without room for a class, and
        # of an account's quotas.
        self.full: dict[tuple[PoolId, FitClass], Verdict | None] = {}
        self.short: dict[AccountName, Shortage] = {}
        self._preemptable: dict[PoolId, Preemptable] = {}
        self._trial = Trial(world, now)
        self._keep_windows()

    def _keep_windows(self) -> None:
        """Plan the advance reservations and maintenance of every pool (R7)."""
        rows = self.world.policy.reservations
        for pool in sorted({row.pool for row in rows}):
            nodes = self.world.floor.pool(pool)
            here = (row for row in rows if row.pool == pool)
            self.windows[pool] = windows(here, nodes, self.world.claims, self.now)
            for window in self.windows[pool]:
                self.reservations.add(pool, nodes, window.planned)

    def rollback(self) -> None:
        """Bring the world back to what it was before the cycle."""
        self._trial.take_back()

    @property
    def is_current(self) -> bool:
        """Return whether the world is still the one that was planned on."""
        return self._trial.is_current

    def redo(self) -> None:
        """Carry the decisions out again after a rollback, to look at the world they make."""
        self.world.floor.mark()
        self.world.advance_by(self.preempts, (), self.now)
        waiting = self.world.waiting
        for start in self.starts:
            job = waiting.jobs[start.job]
            self.world.try_start(job, waiting.kind_of(job.id), start, self.now)

    def try_start(self, kind: Kind, job: Job, turn: QuotaClass) -> Start | None:
        """Start the job if any of its pools allows it in this pass of the cycle."""
        self.held_back = self.over_budget = False
        if kind.shape.reservation is not None:
            return self._start_reserved(kind, job)
        end_at = self.now + job.time_limit
        pools = kind.within(turn) & kind.fits.room
        if turn is QuotaClass.IN_QUOTA:
            pools &= self.world.below.pools(kind.account, kind.fits.least)
        for bit in in_order(kind, pools):
            pool = self.world.rooms.pools[bit]
            granted = self.granted(kind, bit, turn, job.time_limit)
            if granted is None:
                continue
            slots = self.place(kind, bit, job, (end_at, granted.quota_class))
            if slots is not None:
                return self._start(kind, job, pool, (slots, granted, ()))
        return self._try_preempting(kind, job, turn)

    def granted(
        self, kind: Kind, bit: int, turn: QuotaClass, time_limit: timedelta
    ) -> Terms | None:
        """Return the terms of a start now, None where quota, a budget or a nearer tier refuses."""
        pool = self.world.rooms.pools[bit]
        granted = terms(self.world, kind, bit, turn, self.now)
        if granted is None or self.own_tier_start(kind, pool) is not None:
            return None
        if self.purse.short(kind, bit, time_limit) is not None:
            self.over_budget = True
            return None
        if turn is QuotaClass.BORROWED and granted == IN_QUOTA and (kind, bit) in self.kept_out:
            # On a machine of its own it would not fit at all: lent, and not guaranteed (R11).
            quota = self.world.quotas_by_bit[bit]
            wide = quota.is_wide(kind.account, kind.fits.fits[bit].nodes)
            own = quota.path(kind.account)[0]
            return Terms(turn, own) if wide and kind.shape.preemptible else granted
        return granted

    def own_tier_start(self, kind: Kind, pool: Pool) -> datetime | None:
        """Return the start on its own tier that keeps the job out of a higher pool, if any."""
        patience = self.rules.spill_after
        own = self.world.index.own_tier(kind.account) if patience else None
        if own is None or pool.tier.rank <= own.rank:
            return None
        if kind not in self.at_home:
            # Asked once, before the kind's own planned start takes the place it asks about.
            plans = [holding.opens(self, kind, p) for p in kind.candidates.pools if p.tier is own]
            self.at_home[kind] = min((at for at in plans if at is not None), default=None)
        start = self.at_home[kind]
        return None if start is None or start > self.now + patience else start

    def place(
        self, kind: Kind, bit: int, job: Job, until: tuple[datetime, QuotaClass]
    ) -> tuple[Slot, ...] | None:
        """Return GPUs for the gang that delay no planned start, or None.

        `held_back` becomes true where only a planned start stands in the way.
        """
        end_at, quota_class = until
        pool = self.world.rooms.pools[bit].id
        nodes = self.world.floor.pool(pool)
        fit = kind.fits.fits[bit]
        if not nodes.has_room(fit.nodes, fit.gpus_per_node):
            return None
        if self.quota_is_open(kind, bit, job, end_at):
            blocked = self.reservations.pool(pool, nodes).blocked(end_at, quota_class, job.id)
            if quota_class is QuotaClass.IN_QUOTA:
                asked, binds = (fit, blocked), not self.is_aged(job)
                slots = pinning.place(self.world.floor, nodes, job.account, asked, binds)
                if slots is None and nodes.place(fit.nodes, fit.gpus_per_node, blocked):
                    self.kept_out.add((kind, bit))
            else:
                slots = nodes.place(fit.nodes, fit.gpus_per_node, blocked)
            if slots is not None:
                return slots
        self.held_back = True
        return None

    def is_aged(self, job: Job) -> bool:
        """Return whether the job has waited so long that it is to get a planned start (R12)."""
        return self.now >= self.aged_at(job)

    def aged_at(self, job: Job) -> datetime:
        """Return when the job has waited so long: no account's cells keep it out any more."""
        return job.submitted_at + (self._gang_ages if job.shape.nodes > 1 else self._one_ages)

    def held_back_now(self, kind: Kind, job: Job, pool: Pool) -> bool:
        """Return whether the job would not fit here even if no account's cells were kept."""
        fit = kind.fits.fits[self.world.rooms.bits[pool.id]]
        nodes = self.world.floor.pool(pool.id)
        plans = self.reservations.pool(pool.id, nodes)
        blocked = plans.blocked(self.now + job.time_limit, QuotaClass.IN_QUOTA, job.id)
        return nodes.place(fit.nodes, fit.gpus_per_node, blocked) is None

    def quota_is_open(self, kind: Kind, bit: int, job: Job, end_at: datetime) -> bool:
        """Return whether the start leaves the quota alone that an earlier job waits for (R6)."""
        if kind.shape.background:
            return True
        holding.look_ahead(self, job.account, bit)
        pool = self.world.rooms.pools[bit].id
        slack = self.reservations.open_quota(job.account, pool, end_at, job.id)
        return slack is None or kind.fits.gpus[bit] <= slack

    def _start_reserved(self, kind: Kind, job: Job) -> Start | None:
        """Start a job of an advance reservation on the reservation's own nodes (R7)."""
        for bit in in_order(kind, kind.guaranteed & kind.fits.room):
            pool, fit = self.world.rooms.pools[bit], kind.fits.fits[bit]
            end_at = self.now + job.time_limit
            window = self.window(kind, pool)
            if window is None or not window.is_open(self.now, end_at):
                continue
            nodes = self.world.floor.pool(pool.id)
            plans = self.reservations.pool(pool.id, nodes)
            blocked = plans.blocked(end_at, QuotaClass.IN_QUOTA, planned_name(window.row.id))
            among = sum(1 << rank for rank in window.masks)
            slots = nodes.place(fit.nodes, fit.gpus_per_node, blocked, among)
            if slots is not None:
                return self._start(kind, job, pool, (slots, IN_QUOTA, ()))
        return None

    def window(self, kind: Kind, pool: Pool) -> Window | None:
        """Return the advance reservation that a kind's jobs run in, unless it is over."""
        here = self.windows.get(pool.id, ())
        return next((w for w in here if w.row.id == kind.shape.reservation), None)

    def _try_preempting(self, kind: Kind, job: Job, turn: QuotaClass) -> Start | None:
        """Take GPUs from whom this job may take them, in the first pool where it works (R8)."""
        if turn is QuotaClass.BACKGROUND:
            return None
        for bit in in_order(kind, kind.mask & self.preemptable(kind, job, turn)):
            pool = self.world.rooms.pools[bit]
            if not self._may_preempt(kind, bit, turn):
                continue
            end_at = self.now + job.time_limit
            if not self.quota_is_open(kind, bit, job, end_at):
                continue
            if self.purse.short(kind, bit, job.time_limit) is not None:
                continue
            if self.own_tier_start(kind, pool) is not None:
                continue
            found = self._victims(kind, job, pool, turn)
            if found is not None:
                return self._preempt_for(kind, job, pool, (found, turn))
        return None

    def preemptable(self, kind: Kind, job: Job, turn: QuotaClass) -> int:
        """Return the pools where runs may have to end for this job, a bit each.

        Shares move for the first blocked jobs of a shape; who waited too long is promised a start.
        """
        if turn is QuotaClass.IN_QUOTA:
            below = self.world.below.pools(kind.account, kind.fits.least)
            return self.world.lent_out & below
        rules = self.rules
        ripe = rules.share_preemption and self.now - job.submitted_at >= rules.preempt_delay
        if ripe and holding.wants(self, kind):
            return self.world.lent_out
        return self.world.in_background

    def _may_preempt(self, kind: Kind, bit: int, turn: QuotaClass) -> bool:
        """Return whether quota could allow it, whoever ends: in quota, or by borrowing."""
        quota = self.world.quotas[self.world.rooms.pools[bit].id]
        path = quota.path(kind.account)
        if not path:
            return False
        if turn is QuotaClass.IN_QUOTA:
            return path[0].used + kind.fits.gpus[bit] <= path[0].nominal
        return kind.shape.preemptible

    def _victims(self, kind: Kind, job: Job, pool: Pool, turn: QuotaClass) -> Found | None:
        fit = kind.fits.fits[self.world.rooms.bits[pool.id]]
        nodes = self.world.floor.pool(pool.id)
        plans = self.reservations.pool(pool.id, nodes)
        blocked = plans.blocked(self.now + job.time_limit, turn, job.id)
        if turn is not QuotaClass.IN_QUOTA and not may_help(self.world, job, pool, fit, self.now):
            return None
        known = self._preemptable.get(pool.id)
        if known is None:
            spared = frozenset(r for w in self.windows.get(pool.id, ()) for r in w.masks)
            known = Preemptable(self.world, pool.id, self.now, spared)
            self._preemptable[pool.id] = known
        asked = Asked(job, fit, blocked, turn)
        found = recalling.search(known, asked, self.is_aged(job))
        if found is not None or turn is not QuotaClass.IN_QUOTA:
            return found
        firm = plans.firm(self.now + job.time_limit, job)
        if firm == blocked:
            return None
        return recalling.in_own_cells(known, asked._replace(blocked=firm))

    def _preempt_for(
        self, kind: Kind, job: Job, pool: Pool, found: tuple[Found, QuotaClass]
    ) -> Start:
        taken, turn = found
        for run in taken.victims:
            self._end(wording.preempt(self.world, run, job, turn))
            self._preemptable[pool.id].drop(run)
        over = self.world.quotas[pool.id].beyond(kind.account, sum_of(taken.slots))
        granted = Terms(turn if over else QuotaClass.IN_QUOTA, over)
        leave = (*taken.victims, *taken.leaving)
        after = (*leave, *(one for run in leave for one in self.world.lending.guests(run.id)))
        start = self._start(kind, job, pool, (taken.slots, granted, after))
        holding.make_way(self, pool.id, taken.slots, self.now + job.time_limit)
        return start

    def _start(
        self,
        kind: Kind,
        job: Job,
        pool: Pool,
        found: tuple[tuple[Slot, ...], Terms, Sequence[Run]],
    ) -> Start:
        slots, granted, after = found
        start = Start(
            job=job.id,
            pool=pool.id,
            slots=slots,
            quota_class=granted.quota_class,
            why=wording.start(self.world, kind, pool, granted, (slots, after)),
            agreement=granted.agreement.id if granted.agreement else None,
            after=frozenset(run.id for run in after),
        )
        self.starts.append(start)
        if self.reserves.pop(job.id, None) is not None:
            holding.given_up(self, job)
        self.reservations.forget_quota(job.account, job.id)
        run = self._trial.start(job, kind, start)
        self.world.rooms.bring_forward()
        self.reservations.started(job.account, pool.id, run.ends_by, run.gpus)
        return start

    def seat(self, kind: Kind, job: Job, start: Start) -> None:
        """Start background work on a lent lease, which takes room and quota from nobody (R18)."""
        self.starts.append(start)
        self._trial.start(job, kind, start)

    def end_for_windows(self) -> None:
        """Tell runs to end that would stand in a reservation's or maintenance's way (R7)."""
        for pool, here in self.windows.items():
            tier = self.world.index.pools[pool].tier
            notice = self.world.index.tier_rules[tier].notice
            for window in here:
                if window.row.starts_at - notice <= self.now:
                    self._clear(window, notice)

    def _clear(self, window: Window, notice: timedelta) -> None:
        nodes = self.world.floor.pool(window.row.pool)
        held = {run for rank in window.masks for run in nodes.order[rank].holders}
        for run in sorted((self.world.runs[name] for name in held), key=lambda run: run.id):
            stays = run.shape.reservation == window.row.id or run.ends_by <= window.row.starts_at
            if stays or run.draining or run.stop_at is not None:
                continue
            left = min(notice, max(timedelta(0), window.row.starts_at - self.now))
            self._end(wording.cleared(window.row, run, left))

    def _end(self, preempt: Preempt) -> None:
        """Tell a run to end, and all background work that sits on its lease (R18)."""
        host = self.world.runs[preempt.run]
        for each in (preempt, *wording.displaced(self.world, host, preempt)):
            self.preempts.append(each)
            self._trial.preempt(each)

    def held(self, job: Job) -> Verdict | None:
        """Return why a job waits for people's word before anything else (R17), None if not."""
        return crossings.verdict(self.world.policy, job, self.now)

    def is_ready(self, job: Job) -> bool:
        """Return whether the job may be tried: its time has come, and nobody must agree first."""
        if job.not_before is not None and job.not_before > self.now:
            return False
        return self.held(job) is None

    def user_has_room(self, kind: Kind) -> bool:
        """Return whether a person may hold the GPUs of one more job of this kind (R1)."""
        user = self.world.index.users.get(kind.user)
        if user is None or user.max_gpus is None:
            return True
        return self.world.held_by_user.get(kind.user, 0) + kind.fits.least <= user.max_gpus

    def tentative_usage(self, start: Start) -> float:
        """Return what a start counts at once, so that equal accounts take turns (R2)."""
        if start.quota_class is QuotaClass.BACKGROUND:
            return 0.0
        h100e = sum_of(start.slots) * self.world.index.factor(start.pool, self.now) / H100E
        return h100e * _TENTATIVE_SECONDS
