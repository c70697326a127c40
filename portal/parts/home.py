"""What Home tells: which jobs ended how, what is left of quotas, and what to look at.

Pure functions of the hub's messages, and the picture of the latest jobs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import log10

from portal.charts.base import DARK_INK, INK, PAPER, Chart, spec_of
from portal.format import JOB_LOOKS, ago, count, rough, when_used_up
from scheduler.core.lifecycle import JobState
from scheduler.core.model import RunState
from scheduler.wire.accounts import PoolView
from scheduler.wire.jobs import JobRun, JobView
from scheduler.wire.usage import BudgetView

RECENT = timedelta(days=2)
NEARLY_USED = 0.1
"""A budget of which less than this part is left is worth a word."""

STRIP_PIXELS = 150
STRIP_JOBS = 20
SHORTEST_SECONDS = 1.0
# Each also has a sign of its own, and dark ones and light ones differ in lightness.
SIGNS = {
    JobState.PENDING: ("…", "#b45309"),
    JobState.STARTING: ("↑", "#7db4f0"),
    JobState.RUNNING: ("▶", "#1f5fa8"),
    JobState.STOPPING: ("…", "#b45309"),
    JobState.SUCCEEDED: ("✓", "#2f7d4f"),
    JobState.FAILED: ("✗", "#a4262c"),
    JobState.STOPPED: ("–", "#6b7785"),  # noqa: RUF001  # a dash as a sign
}


@dataclass(frozen=True, slots=True)
class Recalled:
    """A run of the viewer's that its owner took back, of a job by id and name."""

    job: JobView
    run: JobRun

    def sentence(self, now: datetime) -> str:
        """Return when, where, and what became of the job."""
        when = ago(self.run.ended_at or self.run.leased_at, now)
        word = JOB_LOOKS[self.job.state].word.lower()
        said = f"recalled from {self.run.pool} {when}; now {word}."
        return f"{said} {self.run.message}".strip()


def recalled(jobs: Sequence[JobView], now: datetime) -> list[Recalled]:
    """Return recent recalls of these jobs' runs, the latest first."""
    found = [
        Recalled(job, run)
        for job in jobs
        for run in job.runs
        if run.state is RunState.PREEMPTED and now - (run.ended_at or run.leased_at) < RECENT
    ]
    return sorted(found, key=lambda one: one.run.ended_at or one.run.leased_at, reverse=True)


def failed(jobs: Sequence[JobView], now: datetime) -> list[JobView]:
    """Return those that failed lately."""
    return [
        job
        for job in jobs
        if job.state is JobState.FAILED and job.ended_at and now - job.ended_at < RECENT
    ]


def nearly_used(budgets: Sequence[BudgetView]) -> list[str]:
    """Return a sentence for each budget of which little is left."""
    return [
        f"Budget {one.budget} has {one.left:,.1f} of {one.limit:,.1f} H100e-hours left:"
        f" {when_used_up(one)}."
        for one in budgets
        if one.left < NEARLY_USED * one.limit
    ]


def quota_rows(pools: Sequence[PoolView], accounts: Sequence[str]) -> list[dict[str, str]]:
    """Return what is left of each quota of these accounts, in GPUs, pool by pool."""
    return [
        {
            "Account": quota.account,
            "Pool": f"{pool.pool} (simulated)" if pool.simulated else pool.pool,
            "Left of quota": f"{max(0, quota.nominal - quota.used):,} of {quota.nominal:,}",
            "May borrow": f"{quota.borrow_max:,}",
            "Free in the pool": f"{pool.free:,}",
        }
        for pool in pools
        for quota in pool.quotas
        if quota.account in accounts
    ]


def budget_rows(budgets: Sequence[BudgetView]) -> list[dict[str, str]]:
    """Return what is left of each budget, in H100e-hours."""
    return [
        {
            "Budget": one.budget,
            "Account": one.account,
            "Left, in H100e-hours": f"{one.left:,.1f} of {one.limit:,.1f}",
            "Used up": when_used_up(one),
        }
        for one in budgets
    ]


def ran(job: JobView, now: datetime) -> timedelta:
    """Return how long a job's runs took together; the portal's clock may be behind the hub's."""
    return sum(
        (
            max(timedelta(), (run.ended_at or now) - run.started_at)
            for run in job.runs
            if run.started_at
        ),
        timedelta(),
    )


def waits(jobs: Sequence[JobView]) -> list[timedelta]:
    """Return how long each of these jobs waited for its first start; those yet to start do not."""
    starts = [
        (job.submitted_at, min(run.started_at for run in job.runs if run.started_at))
        for job in jobs
        if any(run.started_at for run in job.runs)
    ]
    return [max(timedelta(), start - submitted) for submitted, start in starts]


def strip_rows(jobs: Sequence[JobView], now: datetime) -> list[dict[str, str]]:
    """Return the strip as a table: the latest first."""
    return [
        {
            "Job": job.submission_id,
            "State": JOB_LOOKS[job.state].word,
            "Ran": rough(ran(job, now)) if ran(job, now) else "not yet",
            "Submitted": ago(job.submitted_at, now),
        }
        for job in jobs
    ]


def strip(jobs: Sequence[JobView], now: datetime, *, dark: bool = False) -> Chart:
    """Draw one bar for each job, oldest first: its length is the run time, its sign the state.

    The scale is a logarithm: a night's run must not flatten the minutes beside it.
    """
    rows: list[dict[str, object]] = [
        {
            "place": place,
            "job": job.submission_id,
            "state": JOB_LOOKS[job.state].word,
            "sign": SIGNS[job.state][0],
            "height": _log(ran(job, now)),
            "ran": rough(ran(job, now)),
            "submitted": ago(job.submitted_at, now),
        }
        for place, job in enumerate(reversed(jobs))
    ]
    highest = 1.15 * max((_log(ran(job, now)) for job in jobs), default=1.0)  # room for signs
    # Room for as many as are ever shown: the bar of an only job would fill the page.
    scale = {"padding": 0.15, "domain": list(range(max(STRIP_JOBS, len(jobs))))}
    body: dict[str, object] = {
        "encoding": {"x": {"field": "place", "type": "ordinal", "axis": None, "scale": scale}},
        "layer": [_bars(highest), _signs(highest, dark=dark)],
    }
    said = "; ".join(f"{row['job']} {row['state']}, ran {row['ran']}" for row in rows)
    alt = f"Your last {count(len(jobs), 'job')}, the oldest first. {said}."
    return Chart(spec_of(rows, STRIP_PIXELS, body, dark=dark), alt)


def _bars(highest: float) -> dict[str, object]:
    states = {JOB_LOOKS[state].word: colour for state, (_, colour) in SIGNS.items()}
    return {
        "mark": {"type": "bar", "stroke": PAPER, "strokeWidth": 1, "minBandSize": 4},
        "encoding": {
            "y": _height(highest),
            "color": {
                "field": "state",
                "type": "nominal",
                "scale": {"domain": list(states), "range": list(states.values())},
                "legend": None,
            },
            "tooltip": [{"field": name} for name in ("job", "state", "ran", "submitted")],
        },
    }


def _signs(highest: float, *, dark: bool) -> dict[str, object]:
    return {
        "mark": {
            "type": "text",
            "fontSize": 15,
            "fontWeight": "bold",
            "baseline": "bottom",
            "dy": -3,
            "color": DARK_INK if dark else INK,
        },
        "encoding": {"y": _height(highest), "text": {"field": "sign"}},
    }


def _log(length: timedelta) -> float:
    return log10(1 + SHORTEST_SECONDS + length.total_seconds())


def _height(highest: float) -> dict[str, object]:
    # Said outright: data come after the picture, and Vega warns of an axis without an extent.
    scale = {"domain": [0, highest], "nice": False}
    return {"field": "height", "type": "quantitative", "axis": None, "stack": None, "scale": scale}


def sign_words(jobs: Sequence[JobView]) -> str:
    """Return what the signs of these jobs mean."""
    found = {(SIGNS[job.state][0], JOB_LOOKS[job.state].word.lower()) for job in jobs}
    return " · ".join(f"{sign} {word}" for sign, word in sorted(found))
