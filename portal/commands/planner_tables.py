"""Tables about the planner, as people read them in a terminal."""

from datetime import UTC, datetime

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from portal.format import ago, ahead, count, moment
from scheduler.wire.diagnostics import (
    Diagnostics,
    PrioPage,
    QueuePage,
    QueueRow,
    RecallPage,
    RecallView,
    ShareList,
)
from scheduler.wire.what_if import FaredView, WhatIf

_HOUR = 3600.0
_NONE = "–"  # noqa: RUF001  # a dash for nothing


def _table(*headings: str, right: tuple[str, ...] = ()) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, justify="right" if heading in right else "left", no_wrap=True)
    return table


def queue_table(page: QueuePage, now: datetime, starts: bool) -> Table:
    """Return waiting jobs; with `starts` as `squeue --start` does, the soonest first.

    A planned start goes by time limits and is kept; an expected one goes by likely run times.
    """
    headings = ("job", "person", "account", "priority", "GPUs", "place")
    table = _table(*headings, *(("planned", "expected", "nodes") if starts else ()))
    table.add_column("why", ratio=1)
    rows = sorted(page.jobs, key=_soonest) if starts else page.jobs
    for row in rows:
        table.add_row(
            row.job,
            row.user,
            row.account,
            row.priority.value,
            f"{row.nodes} × {row.gpus_per_node}",  # noqa: RUF001  # a real times sign
            str(row.position or _NONE),
            *(_starts(row, now) if starts else ()),
            escape(row.reason),
        )
    said = "Place is in the account's own queue."
    if starts:
        said += " Planned starts go by time limits; expected ones by run times as they are likely."
    table.caption = said
    table.caption_justify = "left"
    return table


def _soonest(row: QueueRow) -> tuple[bool, datetime]:
    known = row.planned_at or (row.eta.likely if row.eta else None)
    return (known is None, known or datetime.max.replace(tzinfo=UTC))


def _starts(row: QueueRow, now: datetime) -> tuple[str, str, str]:
    zone = now.tzinfo or UTC
    planned = moment(row.planned_at, now, zone) if row.planned_at else _NONE
    expected = _NONE
    if row.eta is not None:
        likely = ahead(row.eta.likely, now) if row.eta.likely else "later"
        high = moment(row.eta.high, now, zone) if row.eta.high else "open"
        expected = f"{likely} ({moment(row.eta.low, now, zone)} to {high})"
    return planned, expected, ", ".join(row.planned_nodes) or _NONE


def shares_table(found: ShareList) -> Table:
    """Return the tree of shares, as `sshare` does."""
    table = _table(
        "account",
        "weight",
        "of siblings",
        "H100e-hours",
        "of siblings' use",
        "share",
        "goes",
        "waiting",
        right=("weight", "of siblings", "H100e-hours", "of siblings' use", "share", "goes"),
    )
    for row in found.shares:
        table.add_row(
            "  " * row.depth + row.account,
            str(row.weight),
            f"{row.weight_share:.0%}",
            f"{row.h100e_seconds / _HOUR:.1f}",
            f"{row.usage_share:.0%}",
            f"{row.share / _HOUR:.2f}",
            f"{row.place}.",
            str(row.waiting or ""),
        )
    days = found.half_life_seconds / 86_400
    table.caption = f"Share is H100e-hours per weight; use halves every {days:g} days (R2, R3)."
    table.caption_justify = "left"
    return table


def recalls_table(found: RecallPage) -> Table:
    """Return owners' recalls: by lender and pool, then what each came to where it has several."""
    right = ("recalls", "kept", "late", "given up", "p50", "p99", "notice up to")
    table = _table("lender", "pool", *right, right=right)
    for row in found.pairs:
        table.add_row(row.lender, row.pool, *_waits(row))
    for row in found.lenders:
        if sum(row.lender == pair.lender for pair in found.pairs) > 1:
            table.add_row(row.lender, "all", *_waits(row), style="bold")
    for row in found.pools:
        if sum(row.pool == pair.pool for pair in found.pairs) > 1:
            table.add_row("all", row.pool, *_waits(row), style="bold")
    since = found.since.astimezone().date().isoformat()
    table.caption = (
        f"Decided since {since}; times are from the decision until the owner's job ran, and kept "
        "is within the promised notice and teardown (R10)."
    )
    table.caption_justify = "left"
    return table


def _waits(row: RecallView) -> tuple[str, ...]:
    counts = (row.recalls, row.kept, row.late, row.given_up)
    times = (row.p50_seconds, row.p99_seconds, row.longest_notice_seconds)
    return (*map(str, counts), *(_NONE if one is None else f"{one:,.1f} s" for one in times))


def prio_table(page: PrioPage) -> Table:
    """Return what orders each job, as `sprio` does, in the order in which it decides."""
    table = _table("place", "job", "person", "shares, down the tree", "priority", "age", "handicap")
    for row in page.jobs:
        path = " > ".join(f"{one.account} {one.share / _HOUR:.2f}" for one in row.path)
        later = f"+{row.handicap_seconds / _HOUR:.1f} h" if row.handicap_seconds else _NONE
        table.add_row(
            f"{row.place}.",
            row.job,
            row.user,
            path,
            row.priority.value,
            ago(row.submitted_at, page.at),
            later,
        )
    table.caption = (
        "Shares are H100e-hours per weight; which factor decides is the policy's `order` (R2)."
    )
    table.caption_justify = "left"
    return table


def print_diagnostics(console: Console, found: Diagnostics) -> None:
    """Print how planning goes, as `sdiag` does."""
    leads = "this process plans" if found.leads else "another process plans, or none"
    console.print(
        f"policy revision {found.policy}; {leads}; planner: {found.planner}", highlight=False
    )
    console.print(
        f"waiting: {count(found.waiting, 'job')}; on GPUs: {count(found.runs, 'run')}; usable: "
        f"{found.usable_nodes} of {count(found.nodes, 'node')}; {count(found.gpus, 'GPU')} in "
        f"{count(found.pools, 'pool')}, {count(found.accounts, 'account')}",
        highlight=False,
    )
    cycles = ", ".join(f"{number} {outcome}" for outcome, number in sorted(found.cycles.items()))
    console.print(
        f"cycles: {cycles or 'none yet'}; {found.events} changes heard, "
        f"{found.stale} stale decisions dropped",
        highlight=False,
    )
    table = _table(
        "phase",
        "times",
        "last ms",
        "mean ms",
        "max ms",
        right=("times", "last ms", "mean ms", "max ms"),
    )
    for row in found.phases:
        spent = (row.last_seconds, row.mean_seconds, row.max_seconds)
        table.add_row(row.phase, str(row.count), *(f"{1000 * each:.1f}" for each in spent))
    console.print(table)
    table = _table("decision", "reason", "count", right=("count",))
    for decided in found.decisions:
        table.add_row(decided.kind, decided.reason, str(decided.count))
    if found.decisions:
        console.print(table)
    told = found.etas.hits + found.etas.misses
    rate = "none is settled yet" if found.etas.rate is None else f"{found.etas.rate:.0%} of {told}"
    console.print(f"80 % intervals that held: {rate}", highlight=False)


def what_if_table(found: WhatIf) -> Table:
    """Return how all would have fared, before and after."""
    right = ("jobs", "mean wait h", "p95 wait h", "GPU-hours", "recalled", "unfinished")
    table = _table("account", "jobs", *right[1:], right=right)
    after = {one.account: one for one in found.after.accounts}
    for one in found.before.accounts:
        table.add_row(one.account or "", str(one.jobs), *_pairs(one, after.get(one.account, one)))
    total = (found.before.total, found.after.total)
    table.add_row("all", str(found.jobs), *_pairs(*total), style="bold")
    table.caption = (
        f"{found.note} Utilisation {found.before.utilisation:.1%} -> "
        f"{found.after.utilisation:.1%}; "
        "each pair is without and with the changes, all nodes up."
    )
    table.caption_justify = "left"
    return table


def _pairs(before: FaredView, after: FaredView) -> list[str]:
    def pair(old: float, new: float, shown: str) -> str:
        return f"{old:{shown}} -> {new:{shown}}"

    hours = [
        pair(before.mean_wait_seconds / _HOUR, after.mean_wait_seconds / _HOUR, ".2f"),
        pair(before.p95_wait_seconds / _HOUR, after.p95_wait_seconds / _HOUR, ".2f"),
        pair(before.gpu_hours, after.gpu_hours, ",.1f"),
    ]
    counts = [
        pair(before.preemptions, after.preemptions, "d"),
        pair(before.unfinished, after.unfinished, "d"),
    ]
    return hours + counts
