"""Why a job that was tried did not start: one verdict per pool, with its numbers (R13, R19).

Asked only for jobs that stay behind, after all decisions of the cycle, so each number is
what a person would find by looking.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import overload

from scheduler.core import explain
from scheduler.core.cycle import Cycle
from scheduler.core.decisions import Hold
from scheduler.core.explain import Reason, Verdict
from scheduler.core.index import Fit
from scheduler.core.model import AccountName, Job, JobId, Pool, ReservationId, Shape
from scheduler.core.ordering import Kind, in_order
from scheduler.core.placement import PoolNodes
from scheduler.core.shortage import Shortage
from scheduler.core.timeline import NOTHING

Numbers = tuple[tuple[str, int | str], ...]

_HOUR, _MILLI = 3600, 1000  # seconds; thousandths of an H100e-second

_BEHIND = Verdict(Reason.BEHIND)

_NAMED = 3
"""So many unusable nodes are named; of more, how many more."""


class Holds(Sequence[Hold]):
    """One verdict for every job that still waits, its own or its group's; worked out when read.

    Most readers of a plan want its starts, and verdicts of a long queue cost more than those.
    It has to be read before the world changes.
    """

    def __init__(self, cycle: Cycle) -> None:
        self._cycle: Cycle | None = cycle
        self._rows: tuple[Hold, ...] = ()

    def read(self) -> None:
        """Work all of them out while the world is still as the cycle's decisions made it."""
        cycle = self._cycle
        if cycle is not None:
            later = _later(cycle)
            accounts = cycle.world.waiting.accounts()
            self._rows = tuple(row for name in accounts for row in _of(cycle, name, later))
            self._cycle = None

    def of(self, accounts: Iterable[AccountName]) -> dict[AccountName, tuple[Hold, ...]]:
        """Return the verdicts of some accounts' jobs, as reading all of them would.

        Accounts are taken one by one, each when the one before is done, so that whoever hands
        them out may stop when the time is over.

        Raises:
            RuntimeError: the world has changed since it was planned.
        """
        cycle = self._cycle
        if cycle is None:
            rows: dict[AccountName, list[Hold]] = {}
            for hold in self._rows:
                rows.setdefault(hold.account, []).append(hold)
            return {account: tuple(rows.get(account, ())) for account in accounts}
        with _outcome(cycle):
            later = _later(cycle)
            return {account: tuple(_of(cycle, account, later)) for account in accounts}

    def _all(self) -> tuple[Hold, ...]:
        cycle = self._cycle
        if cycle is not None:
            with _outcome(cycle):
                self.read()
        return self._rows

    def __len__(self) -> int:
        """Return how many verdicts there are."""
        return len(self._all())

    @overload
    def __getitem__(self, at: int) -> Hold: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Hold]: ...
    def __getitem__(self, at: int | slice) -> Hold | Sequence[Hold]:
        """Return one, or some of them."""
        return self._all()[at]

    def __eq__(self, other: object) -> bool:
        """Return whether the verdicts are the same."""
        return isinstance(other, Sequence) and self._all() == tuple(other)

    def __hash__(self) -> int:
        """Hash the verdicts."""
        return hash(self._all())

    def __repr__(self) -> str:
        """Show the verdicts."""
        return repr(self._all())


@contextmanager
def _outcome(cycle: Cycle) -> Iterator[None]:
    """Have the world as the cycle's decisions make it, for a while."""
    if not cycle.is_current:
        raise RuntimeError("a plan's holds are to be read before its world changes")
    cycle.redo()
    try:
        yield
    finally:
        cycle.rollback()


def _later(cycle: Cycle) -> Mapping[Kind, Sequence[Job]]:
    """Return the jobs that may not start yet (R8.6, R17), which are few."""
    waiting = cycle.world.waiting
    later: dict[Kind, list[Job]] = {}
    for job_id in sorted({*waiting.later, *waiting.training}):
        job = waiting.jobs.get(job_id)  # None: the cycle has started it
        if job is not None and not cycle.is_ready(job):
            later.setdefault(waiting.kind_of(job_id), []).append(job)
    return later


def _of(cycle: Cycle, account: AccountName, later: Mapping[Kind, Sequence[Job]]) -> Iterator[Hold]:
    groups: dict[Shape, list[Kind]] = {}
    cycle.short.clear()
    for kind in cycle.world.waiting.of(account):
        if kind.queue:
            groups.setdefault(kind.shape, []).append(kind)
    for shape, kinds in groups.items():
        first: tuple[Verdict, ...] = ()
        covered = 0
        for kind in kinds:
            for job_id, told in _told(cycle, kind, later.get(kind, ())):
                yield Hold(account, shape, told, job_id)
                first = first or told
                covered += 1
        if covered < sum(len(kind.queue) for kind in kinds):
            yield Hold(account, shape, behind(first))


def _told(
    cycle: Cycle, kind: Kind, later: Iterable[Job]
) -> Iterator[tuple[JobId, tuple[Verdict, ...]]]:
    """Yield the kind's jobs with a verdict of their own: the first that may start, first."""
    delayed = {job.id for job in later}
    place = kind.queue.after(None)
    while place is not None and place[3] in delayed:
        place = kind.queue.after(place)
    if place is not None:
        yield place[3], verdicts(cycle, kind, cycle.world.jobs[place[3]])
    for job in later:
        held = cycle.held(job)
        if held is not None:
            yield job.id, (held,)
        elif job.not_before is not None:
            yield job.id, not_before(job.not_before)


def verdicts(cycle: Cycle, kind: Kind, job: Job) -> tuple[Verdict, ...]:
    """Return what keeps a tried job out of each pool: in tier order, those it may use first."""
    user = cycle.world.index.users.get(kind.user)
    if user is not None and user.max_gpus is not None and not cycle.user_has_room(kind):
        used = cycle.world.held_by_user.get(kind.user, 0)
        return user_limit(kind.user, user.max_gpus, used, kind.fits.least)
    against = _by_quota_alone(cycle, kind)
    if against is None:
        against = tuple([_against(cycle, kind, job, bit) for bit in in_order(kind, kind.mask)])
    index = cycle.world.index
    strangers = index.strangers(kind.account, kind.strange, kind.candidates.pools)
    return (*against, *strangers, *kind.candidates.refusals)


def _by_quota_alone(cycle: Cycle, kind: Kind) -> tuple[Verdict, ...] | None:
    """Return what `_against` answers of each pool where quota refuses in all: mostly it does."""
    shape = kind.shape
    if shape.background or shape.reservation is not None or cycle.rules.spill_after:
        return None
    return _shortage(cycle, kind.account).told(kind).all_pools


def not_before(until: datetime) -> tuple[Verdict, ...]:
    """Return the verdict of a preempted job whose successor has not started yet (R8.6)."""
    numbers = (("not_before", until.isoformat(timespec="seconds")),)
    return (Verdict(Reason.NOT_BEFORE, None, numbers),)


def user_limit(user: str, limit: int, used: int, asked: int) -> tuple[Verdict, ...]:
    """Return the verdict of a job that would bring its user over the GPUs per person (R1)."""
    numbers = (("user", user), ("limit", limit), ("used", used), ("asked", asked))
    return (Verdict(Reason.USER_LIMIT, None, numbers),)


def behind(head: tuple[Verdict, ...]) -> tuple[Verdict, ...]:
    """Return the verdict of all who wait behind a head: that, and what holds the head."""
    return (_BEHIND, *head)


def _against(cycle: Cycle, kind: Kind, job: Job, bit: int) -> Verdict:
    pool = cycle.world.rooms.pools[bit]
    soon = cycle.own_tier_start(kind, pool)
    if soon is not None:
        return Verdict(Reason.OWN_TIER_SOONER, pool.id, (("start_at", _instant(soon)),))
    if kind.shape.reservation is not None:
        return _reservation(cycle, kind, pool) or _nodes(cycle, kind, job, pool)
    gpus = kind.fits.gpus[bit]
    quota = cycle.world.quotas[pool.id]
    if not quota.path(kind.account):
        refusal = _outsider(cycle, kind, pool, gpus)
    elif kind.shape.background:
        refusal = _common(cycle, pool, gpus) if quota.common < gpus else None
    else:
        refusal = _quota(cycle, kind, bit)
    return refusal or _budget(cycle, kind, job, pool) or _nodes(cycle, kind, job, pool)


def _reservation(cycle: Cycle, kind: Kind, pool: Pool) -> Verdict | None:
    """Refuse a job whose reservation is not open, or no more (R7)."""
    row = cycle.world.index.eligibility.reservations[kind.shape.reservation or ReservationId("")]
    window = cycle.window(kind, pool)
    if window is None and row.ends_at > cycle.now:
        return explain.no_such_reservation(row.id, "was released: nobody had come", pool.id)
    if window is None or row.starts_at > cycle.now:
        return explain.not_open(row, ended=window is None)
    return None


def _outsider(cycle: Cycle, kind: Kind, pool: Pool, gpus: int) -> Verdict | None:
    agreements = cycle.world.index.agreements(kind.account, pool.id, cycle.now)
    numbers: Numbers
    if not agreements:
        return cycle.world.index.no_agreement(kind.account, pool)
    if not kind.shape.preemptible:
        numbers = (("level", kind.account), ("nominal", 0), ("used", 0))
        return Verdict(Reason.NOT_PREEMPTIBLE, pool.id, numbers)
    lent = cycle.world.lent
    roomiest = max(agreements, key=lambda a: a.cap - lent.get(a.id, 0))
    used = lent.get(roomiest.id, 0)
    if used + gpus > roomiest.cap:
        numbers = (
            ("agreement", roomiest.id),
            ("cap", roomiest.cap),
            ("used", used),
            ("asked", gpus),
        )
        return Verdict(Reason.AGREEMENT_CAP, pool.id, numbers)
    if cycle.world.quotas[pool.id].common < gpus:
        return _common(cycle, pool, gpus)
    return None


def _common(cycle: Cycle, pool: Pool, gpus: int) -> Verdict:
    """Refuse what only the owner's unused and unkept part could serve (R1)."""
    quota = cycle.world.quotas[pool.id]
    numbers: Numbers = (
        ("level", pool.owner),
        ("used", quota.owner.pressure),
        ("nominal", pool.capacity - quota.kept),
        ("borrow_max", 0),
        ("available", max(0, quota.common)),
        ("asked", gpus),
    )
    return Verdict(Reason.QUOTA, pool.id, numbers)


def _quota(cycle: Cycle, kind: Kind, bit: int) -> Verdict | None:
    """Refuse by the first level that fails, named (R1); None where only nodes are missing."""
    refusal = _shortage(cycle, kind.account).told(kind).by_bit[bit]
    if refusal is None or refusal.reason is Reason.QUOTA or not kind.shape.preemptible:
        return refusal
    return None


def _shortage(cycle: Cycle, account: AccountName) -> Shortage:
    known = cycle.short.get(account)
    if known is None:
        known = cycle.short[account] = Shortage(cycle.world, account)
    return known


def _budget(cycle: Cycle, kind: Kind, job: Job, pool: Pool) -> Verdict | None:
    """Refuse what a budget does not cover up to the job's limit (R4), in H100e-hours."""
    bit = cycle.world.rooms.bits[pool.id]
    short = cycle.purse.short(kind, bit, job.time_limit)
    if short is None:
        return None
    spent = cycle.world.spent.get(short.budget.id)
    settled = spent.h100e_seconds if spent else 0
    committed = short.budget.h100e_hours * _HOUR - settled - short.left // _MILLI
    return explain.over_budget(short.budget, settled, committed, -(-short.asked // _MILLI))


def _nodes(cycle: Cycle, kind: Kind, job: Job, pool: Pool) -> Verdict:
    key = (pool.id, kind.fits)
    if key not in cycle.full:
        cycle.full[key] = _full(cycle, pool, kind.fits.fits[cycle.world.rooms.bits[pool.id]])
    return cycle.full[key] or _reserved(cycle, kind, job, pool)


def _full(cycle: Cycle, pool: Pool, fit: Fit) -> Verdict | None:
    """Refuse a gang for which too few nodes have room, with or without those left out (R19)."""
    nodes = cycle.world.floor.pool(pool.id)
    fitting = nodes.with_room(fit.gpus_per_node, NOTHING).bit_count()
    if fitting >= fit.nodes:
        return None
    left_out = [s for s in nodes.unusable if s.healthy.bit_count() >= fit.gpus_per_node]
    if fitting + len(left_out) >= fit.nodes:
        numbers: Numbers = (("count", len(left_out)), ("which", _left_out(nodes)))
        return Verdict(Reason.NODES_UNUSABLE, pool.id, numbers)
    numbers = (
        ("free", nodes.free),
        ("fitting", fitting),
        ("nodes", fit.nodes),
        ("gpus_per_node", fit.gpus_per_node),
    )
    return Verdict(Reason.CAPACITY, pool.id, numbers)


def _reserved(cycle: Cycle, kind: Kind, job: Job, pool: Pool) -> Verdict:
    """Nodes are free, but a planned start needs them, or the quota, or the cells others keep."""
    end_at = cycle.now + job.time_limit
    free = cycle.world.floor.pool(pool.id).free
    window = _window_in_the_way(cycle, pool, end_at)
    if window is not None:
        return window
    if cycle.is_over and job.id != cycle.blocked_first:
        return Verdict(Reason.STRICT_ORDER)
    bit = cycle.world.rooms.bits[pool.id]
    # Asked before planned starts, for its own is among them.
    if (
        kind.guaranteed >> bit & 1
        and cycle.quota_is_open(kind, bit, job, end_at)
        and not cycle.held_back_now(kind, job, pool)
    ):
        return explain.cell(
            pool.id, cycle.world.quotas[pool.id].cells.most_claimed_by(kind.account)
        )
    first = cycle.reservations.first_start(kind.account, pool.id, end_at)
    if first is not None:
        return Verdict(Reason.RESERVED, pool.id, (("free", free), ("start_at", _instant(first))))
    # Its own GPUs are lent and cannot be recalled as whole gangs that would help.
    available = cycle.world.quotas[pool.id].available(kind.account)
    numbers: Numbers = (
        ("free", min(free, available)),
        ("fitting", 0),
        ("nodes", kind.shape.nodes),
        ("gpus_per_node", kind.shape.gpus_per_node),
    )
    return Verdict(Reason.CAPACITY, pool.id, numbers)


def _window_in_the_way(cycle: Cycle, pool: Pool, end_at: datetime) -> Verdict | None:
    """Name the reservation or maintenance that begins before a job would end (R7)."""
    for window in cycle.windows.get(pool.id, ()):
        if window.row.starts_at < end_at:
            return explain.window(window.row, len(window.masks))
    return None


def _left_out(nodes: PoolNodes) -> str:
    """Name the nodes that take no work, and why (R19)."""
    named = [
        f"{state.node.id} ({state.node.why_unusable or 'not usable'})"
        for state in nodes.unusable[:_NAMED]
    ]
    more = len(nodes.unusable) - _NAMED
    return ", ".join(named) + (f" and {more} more" if more > 0 else "")


def _instant(at: datetime) -> str:
    return at.isoformat(timespec="seconds")
