"""When time alone may change what the planner says: nobody comes, nothing ends, a date passes.

A hub plans every few seconds and meets them all. Whoever plays a world forward, from one
event to the next, has to stop at these too.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime

from scheduler.core.decisions import HOUR
from scheduler.core.model import Agreement, Budget, Job, Run
from scheduler.core.policy import Policy, Rules
from scheduler.core.snapshot import Turnover
from scheduler.core.thresholds import Crossing, Threshold

_Dated = Agreement | Budget | Threshold | Crossing


def dates(policy: Policy) -> tuple[datetime, ...]:
    """Return when windows, agreements, budgets and thresholds begin and end, in order."""
    return tuple(sorted(set(_dates(policy))))


def _dates(policy: Policy) -> Iterator[datetime]:
    notices = dict(policy.tiers)
    tiers = {pool.id: notices[pool.tier] for pool in policy.pools if pool.tier in notices}
    for row in policy.reservations:
        yield from (row.starts_at, row.ends_at)
        if row.pool in tiers:  # whoever stands in its way is told so long before (R7)
            yield row.starts_at - tiers[row.pool].notice
        if row.account is not None:
            yield row.starts_at + row.no_show
    rows: tuple[_Dated, ...] = (
        *policy.agreements,
        *policy.budgets,
        *policy.thresholds,
        *policy.crossings,
    )
    yield from (at for row in rows for at in (row.valid_from, row.valid_to) if at is not None)


def ages(rules: Rules, job: Job) -> Iterator[datetime]:
    """Yield when a job has waited long enough for more: to preempt (R9), to be served (R12)."""
    if rules.share_preemption:
        yield job.submitted_at + rules.preempt_delay
    yield job.submitted_at + rules.aged_after(job.shape.nodes)


def victim_from(rules: Rules, run: Run) -> Iterator[datetime]:
    """Yield when a run may be the victim of a smaller share: old enough, immune no more (R9)."""
    since = run.started_at or run.leased_at
    if rules.share_preemption:
        yield since + rules.min_runtime
        if run.preemptions >= rules.immune_after:
            yield since + rules.immune_for


def counted_anew(rows: Iterable[Turnover]) -> Iterator[datetime]:
    """Yield when as many runs of a pool may be taken by smaller shares as before (R9)."""
    for row in rows:
        yield row.since + HOUR
