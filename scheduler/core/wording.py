"""What decisions say about themselves: one sentence each, with the numbers behind it."""

from collections.abc import Sequence
from datetime import timedelta

from scheduler.core.decisions import Preempt
from scheduler.core.model import (
    Job,
    Pool,
    QuotaClass,
    Reservation,
    Run,
    RunState,
    Slot,
    StopReason,
)
from scheduler.core.ordering import Kind
from scheduler.core.placement import sum_of
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
    gpus = sum_of(slots)
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
    taken = sum([run.gpus for run in after if not run.draining])
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


def guest(pool: Pool, host: Run) -> str:
    """Say on which terms background work sits on a lent lease (R18)."""
    return (
        f"background in {pool.id}, on GPUs that {host.account} has leased and leaves idle: "
        "uncharged, ends when they are used again or others need them"
    )


def displaced(world: World, host: Run, preempt: Preempt) -> tuple[Preempt, ...]:
    """End the background work that sits on a run's lent lease, where the run itself must end."""
    return tuple(
        Preempt(
            run.id,
            preempt.by,
            preempt.reason if preempt.by is None else StopReason.RECALLED,
            notice_of(world, run) if preempt.by is not None else preempt.notice,
            f"the lease of {host.account} that it sat on ends: {preempt.why}",
        )
        for run in world.lending.guests(host.id)
        if not run.draining and run.state is not RunState.STOPPING
    )


def notice_of(world: World, run: Run) -> timedelta:
    """Return the time to checkpoint that a run was promised: its agreement's, else its tier's."""
    agreed = world.notices.get(run.agreement) if run.agreement else None
    if agreed is not None:
        return agreed
    return world.index.tier_rules[world.index.pools[run.pool].tier].notice


def preempt(world: World, run: Run, job: Job, turn: QuotaClass) -> Preempt:
    """Take GPUs from a run, with the notice of its agreement, else of the tier (R9)."""
    pool = world.index.pools[run.pool]
    notice = notice_of(world, run)
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
