"""What decisions say about themselves: one sentence each, with the numbers behind it."""

from collections.abc import Sequence
from datetime import timedelta

from scheduler.core.decisions import Preempt
from scheduler.core.model import Job, Pool, QuotaClass, Reservation, Run, Slot, StopReason
from scheduler.core.ordering import Kind
from scheduler.core.terms import Terms
from scheduler.core.world import World


def start(
    world: World,
    kind: Kind,
    pool: Pool,
    granted: Terms,
    found: tuple[Sequence[Slot], Sequence[Run]],
) -> str:
    """Say on which terms a job starts."""
    slots, after = found
    gpus = sum(len(slot.gpus) for slot in slots)
    if kind.shape.reservation is not None:
        return f"in its reservation {kind.shape.reservation} in {pool.id}: {gpus} GPUs"
    if granted.agreement is not None:
        agreed = granted.agreement
        lent = world.lent.get(agreed.id, 0) + gpus
        return (
            f"{granted.quota_class.name.lower()} in {pool.id}, lent by {agreed.lender} under "
            f"agreement {agreed.id}: {lent} of {agreed.cap} GPUs"
        )
    if granted.quota_class is QuotaClass.BACKGROUND:
        return f"background in {pool.id}: uncharged, ends when others need the GPUs"
    taken = sum(run.gpus for run in after if not run.draining)
    if granted.level is not None and granted.quota_class is QuotaClass.BORROWED:
        level = granted.level
        back = (
            f"; takes {taken} GPUs over from whoever held more than a larger share" if taken else ""
        )
        if level.used + gpus <= level.nominal:
            return (
                f"borrowed in {pool.id}: on {len(slots)} nodes it spreads over more than "
                f"{level.name} is guaranteed whole with its nominal of {level.nominal} GPUs"
            )
        return (
            f"borrowed in {pool.id}: with this job {level.name} holds "
            f"{level.used + gpus} GPUs, beyond its nominal of {level.nominal}{back}"
        )
    own = world.quotas[pool.id].path(kind.account)[0]
    back = f"; takes back {taken} GPUs that were lent" if taken else ""
    return (
        f"in quota in {pool.id}: with this job {own.name} holds {own.used + gpus} "
        f"of its {own.nominal} GPUs{back}"
    )


def preempt(world: World, run: Run, job: Job, turn: QuotaClass) -> Preempt:
    """Take GPUs from a run, with the notice of its agreement, else of the tier (R9)."""
    pool = world.index.pools[run.pool]
    notice = world.notices.get(run.agreement) if run.agreement else None
    if notice is None:
        notice = world.index.tier_rules[pool.tier].notice
    background = run.quota_class is QuotaClass.BACKGROUND
    terms = "background work" if background else "borrowed GPUs"
    if turn is QuotaClass.IN_QUOTA or background:
        why = f"{job.account} takes its GPUs in {pool.id} back, which {run.account} held as {terms}"
        if turn is not QuotaClass.IN_QUOTA:
            why = f"{job.account} starts in {pool.id}, and {run.account} was there as {terms}"
        return Preempt(run.id, job.id, StopReason.RECALLED, notice, why)
    why = (
        f"{run.account} held more of {pool.id} per weight than {job.account} will with this job, "
        f"which has waited since {job.submitted_at.isoformat(timespec='seconds')}"
    )
    return Preempt(run.id, job.id, StopReason.SHARES, notice, why)


def cleared(row: Reservation, run: Run, notice: timedelta) -> Preempt:
    """End a run for a reservation or maintenance of its nodes (R7)."""
    kept = f"reserved for {row.account}" if row.account else "in maintenance"
    why = f"nodes of {run.pool} are {kept} from {row.starts_at.isoformat(timespec='seconds')}"
    reason = f"{why}: {row.reason}" if row.reason else why
    return Preempt(run.id, None, StopReason.RESERVED, notice, reason)
