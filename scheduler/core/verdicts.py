"""Why a job that was tried did not start: one verdict per pool, with its numbers (R13, R19).

Asked only for jobs that stay behind, after all decisions of the cycle, so each number is
what a person would find by looking.
"""

from datetime import datetime

from scheduler.core.cycle import Cycle
from scheduler.core.explain import Reason, Verdict
from scheduler.core.model import Job, Pool
from scheduler.core.ordering import Kind
from scheduler.core.placement import PoolNodes
from scheduler.core.timeline import NOTHING

Numbers = tuple[tuple[str, int | str], ...]

_NAMED = 3
"""So many unusable nodes are named; of more, how many more."""


def verdicts(cycle: Cycle, kind: Kind, job: Job) -> tuple[Verdict, ...]:
    """Return what keeps a tried job out of each pool, in tier order."""
    against = [_against(cycle, kind, job, pool) for pool in kind.candidates.pools]
    if kind.candidates.pools:
        return (*against, *kind.candidates.refusals)
    return kind.candidates.refusals


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
    return (Verdict(Reason.BEHIND), *head)


def _against(cycle: Cycle, kind: Kind, job: Job, pool: Pool) -> Verdict:
    soon = cycle.own_tier_start(kind, pool)
    if soon is not None:
        return Verdict(Reason.OWN_TIER_SOONER, pool.id, (("start_at", _instant(soon)),))
    quota = cycle.world.quotas[pool.id]
    if not quota.path(kind.account):
        refusal = _outsider(cycle, kind, pool)
    elif kind.shape.background:
        refusal = _common(cycle, kind, pool) if quota.common < kind.gpus else None
    else:
        refusal = _quota(cycle, kind, pool)
    return refusal or _nodes(cycle, kind, job, pool)


def _outsider(cycle: Cycle, kind: Kind, pool: Pool) -> Verdict | None:
    agreements = cycle.world.index.agreements(kind.account, pool.id, cycle.now)
    numbers: Numbers
    if not agreements:
        numbers = (("owner", pool.owner), ("account", kind.account))
        return Verdict(Reason.SECTOR_AGREEMENT, pool.id, numbers)
    if not kind.shape.preemptible:
        numbers = (("level", kind.account), ("nominal", 0), ("used", 0))
        return Verdict(Reason.NOT_PREEMPTIBLE, pool.id, numbers)
    lent = cycle.world.lent
    roomiest = max(agreements, key=lambda a: a.cap - lent.get(a.id, 0))
    used = lent.get(roomiest.id, 0)
    if used + kind.gpus > roomiest.cap:
        numbers = (
            ("agreement", roomiest.id),
            ("cap", roomiest.cap),
            ("used", used),
            ("asked", kind.gpus),
        )
        return Verdict(Reason.AGREEMENT_CAP, pool.id, numbers)
    if cycle.world.quotas[pool.id].common < kind.gpus:
        return _common(cycle, kind, pool)
    return None


def _common(cycle: Cycle, kind: Kind, pool: Pool) -> Verdict:
    """Refuse what only the owner's unused and unkept part could serve (R1)."""
    quota = cycle.world.quotas[pool.id]
    numbers: Numbers = (
        ("level", pool.owner),
        ("used", quota.owner.pressure),
        ("nominal", pool.capacity - quota.kept),
        ("borrow_max", 0),
        ("available", max(0, quota.common)),
        ("asked", kind.gpus),
    )
    return Verdict(Reason.QUOTA, pool.id, numbers)


def _quota(cycle: Cycle, kind: Kind, pool: Pool) -> Verdict | None:
    """Refuse by the first level that fails, named (R1); None where only nodes are missing."""
    quota = cycle.world.quotas[pool.id]
    over = quota.beyond(kind.account, kind.gpus)
    if over is None:
        return None
    available = quota.available(kind.account)
    numbers: Numbers = (("level", over.name), ("used", over.used), ("nominal", over.nominal))
    if available < kind.gpus:
        more: Numbers = (
            ("borrow_max", over.borrow_max),
            ("available", available),
            ("asked", kind.gpus),
        )
        return Verdict(Reason.QUOTA, pool.id, (*numbers, *more))
    if not kind.shape.preemptible:
        return Verdict(Reason.NOT_PREEMPTIBLE, pool.id, numbers)
    return None


def _nodes(cycle: Cycle, kind: Kind, job: Job, pool: Pool) -> Verdict:
    nodes = cycle.world.floor.pool(pool.id)
    shape = kind.shape
    fitting = nodes.with_room(shape.gpus_per_node, NOTHING).bit_count()
    if fitting >= shape.nodes:
        return _reserved(cycle, kind, job, pool)
    left_out = [s for s in nodes.unusable if s.healthy.bit_count() >= shape.gpus_per_node]
    if fitting + len(left_out) >= shape.nodes:
        numbers: Numbers = (("count", len(left_out)), ("which", _named(nodes)))
        return Verdict(Reason.NODES_UNUSABLE, pool.id, numbers)
    numbers = (
        ("free", nodes.free),
        ("fitting", fitting),
        ("nodes", shape.nodes),
        ("gpus_per_node", shape.gpus_per_node),
    )
    return Verdict(Reason.CAPACITY, pool.id, numbers)


def _reserved(cycle: Cycle, kind: Kind, job: Job, pool: Pool) -> Verdict:
    """Nodes are free, but a planned start needs them, or the quota, before this job's limit."""
    times = cycle.reservations.times(cycle.now + job.time_limit)
    free = cycle.world.floor.pool(pool.id).free
    if not times:
        # Its own GPUs are lent and cannot be recalled as whole gangs that would help.
        available = cycle.world.quotas[pool.id].available(kind.account)
        numbers: Numbers = (
            ("free", min(free, available)),
            ("fitting", 0),
            ("nodes", kind.shape.nodes),
            ("gpus_per_node", kind.shape.gpus_per_node),
        )
        return Verdict(Reason.CAPACITY, pool.id, numbers)
    return Verdict(Reason.RESERVED, pool.id, (("free", free), ("start_at", _instant(times[0]))))


def _named(nodes: PoolNodes) -> str:
    """Name the nodes that take no work, and why (R19)."""
    named = [
        f"{state.node.id} ({state.node.why_unusable or 'not usable'})"
        for state in nodes.unusable[:_NAMED]
    ]
    more = len(nodes.unusable) - _NAMED
    return ", ".join(named) + (f" and {more} more" if more > 0 else "")


def _instant(at: datetime) -> str:
    return at.isoformat(timespec="seconds")
