"""A report as people read it: one table, or two simulations side by side."""

from collections.abc import Callable, Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from scheduler.sim.report import Report, Spread

_MINUTE, _HOUR, _DAY = 60, 3600, 86400

Line = tuple[str, Callable[[Report], float], Callable[[float], str]]


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it, such as `2.3 h`, exact below a minute."""
    size = abs(seconds)
    if size < _MINUTE:
        return f"{seconds:.3g} s"
    if size < _HOUR:
        return f"{seconds / _MINUTE:.1f} min"
    if size < 2 * _DAY:
        return f"{seconds / _HOUR:.1f} h"
    return f"{seconds / _DAY:.1f} d"


def _seconds(value: float) -> str:
    return f"{value:,.0f} s"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _part(value: float) -> str:
    return f"{value:.4f}"


def _tenth(value: float) -> str:
    return f"{value:,.1f}"


LINES: tuple[Line, ...] = (
    ("makespan", lambda r: r.makespan_s, _seconds),
    ("utilisation until the last submission", lambda r: r.utilisation, _part),
    ("fairness (Jain, tenants' bounded slowdown)", lambda r: r.fairness, _part),
    ("preemptions", lambda r: r.preemptions, _count),
    ("owners' recalls", lambda r: r.recalls, _count),
    ("GPU-hours lost to them", lambda r: r.lost_gpu_hours, _tenth),
    ("jobs that were held (told why they wait)", lambda r: r.holds, _count),
    ("jobs with a planned start", lambda r: r.planned, _count),
    ("ended by their time limit", lambda r: r.at_time_limit, _count),
    ("unfinished", lambda r: r.unfinished, _count),
    ("planning cycles", lambda r: r.cycles, _count),
    ("planner, CPU-seconds", lambda r: r.planner_cpu_s, _tenth),
    ("decisions per CPU-second", lambda r: r.decisions_per_cpu_s, _count),
)


def times_table(report: Report) -> Table:
    """Return waits and completion times, of all jobs and of gangs, in seconds."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("seconds")
    for name in ("jobs", "mean", "median", "p95", "p99"):
        table.add_column(name, justify="right")
    done = report.jobs - report.unfinished
    rows: Sequence[tuple[str, int, Spread]] = (
        ("wait", done, report.wait_s),
        ("completion (JCT)", done, report.jct_s),
        ("wait of gangs", report.gang_jobs, report.gang_wait_s),
        ("completion of gangs", report.gang_jobs, report.gang_jct_s),
    )
    if report.recalls:
        rows = (*rows, ("recall of an owner", report.recalls, report.recall_s))
    for name, count, spread in rows:
        numbers = (spread.mean, spread.median, spread.p95, spread.p99)
        shown = (f"{number:,.0f}" if count else "-" for number in numbers)
        table.add_row(name, f"{count:,}", *shown)
    return table


def rest_table(report: Report) -> Table:
    """Return all figures that are single numbers."""
    table = Table(show_header=False, box=box.SIMPLE)
    table.add_column()
    table.add_column(justify="right")
    for name, of, shown in LINES:
        table.add_row(name, shown(of(report)))
    return table


def tenants_table(report: Report) -> Table:
    """Return how each tenant fared, the largest by GPU time first."""
    table = Table(title="tenants", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("tenant")
    for name in ("jobs", "GPU-hours", "mean wait", "p95 wait", "bounded slowdown"):
        table.add_column(name, justify="right")
    for tenant in sorted(report.tenants, key=lambda t: (-t.gpu_hours, t.name)):
        waits = (duration(tenant.wait_s.mean), duration(tenant.wait_s.p95))
        hours = f"{tenant.gpu_hours:,.0f}"
        table.add_row(
            Text(tenant.name), f"{tenant.jobs:,}", hours, *waits, f"{tenant.slowdown:,.1f}"
        )
    return table


def side_by_side(first: tuple[str, Report], second: tuple[str, Report]) -> Table:
    """Return two reports and their difference, second minus first."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("")
    for name in (first[0], second[0], "difference"):
        table.add_column(Text(name), justify="right", overflow="fold")
    for name, before, after, shown in compared(first[1], second[1]):
        table.add_row(name, shown(before), shown(after), difference(before, after, shown))
    return table


def difference(before: float, after: float, shown: Callable[[float], str]) -> str:
    """Return the change with its sign, empty where both are shown alike."""
    if shown(before) == shown(after):
        return ""
    return ("+" if after > before else "") + shown(after - before)


def compared(
    first: Report, second: Report
) -> list[tuple[str, float, float, Callable[[float], str]]]:
    """Return each figure by name in both reports, and how it is written."""
    spreads = (
        ("wait", first.wait_s, second.wait_s),
        ("completion (JCT)", first.jct_s, second.jct_s),
        ("wait of gangs", first.gang_wait_s, second.gang_wait_s),
        ("completion of gangs", first.gang_jct_s, second.gang_jct_s),
        ("recall of an owner", first.recall_s, second.recall_s),
    )
    found: list[tuple[str, float, float, Callable[[float], str]]] = [
        (f"{name}, {part}", getattr(a, part), getattr(b, part), _seconds)
        for name, a, b in spreads
        for part in Spread.__slots__
    ]
    return found + [(name, of(first), of(second), shown) for name, of, shown in LINES]
