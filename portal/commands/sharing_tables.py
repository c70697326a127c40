"""Tables about sharing and use, as people read them in a terminal."""

from datetime import UTC, datetime
from decimal import Decimal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from portal.commands.planner_tables import recalls_table
from portal.format import TIER_WORDS, count, moment, when_used_up
from scheduler.wire.diagnostics import RecallPage
from scheduler.wire.ledger import LedgerPage
from scheduler.wire.usage import UsagePage

_NONE = "–"  # noqa: RUF001  # a dash for nothing
_HOUR = Decimal(3600)


def _table(*headings: str, left: int = 1) -> Table:
    table = Table(box=None, pad_edge=False)
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="left" if place < left else "right", no_wrap=True)
    return table


def _hours(seconds: Decimal) -> str:
    return f"{seconds / _HOUR:,.2f}" if seconds else _NONE


def print_ledger(console: Console, found: LedgerPage) -> None:
    """Print balances, who lent to whom, how concentrated borrowing is, and recall times."""
    table = _table(found.by.value, "lent", "borrowed", "net", "lent, recalled", "recalls")
    for row in found.balances:
        net = row.net_h100e_seconds
        table.add_row(
            row.name,
            _hours(row.lent_h100e_seconds),
            _hours(row.borrowed_h100e_seconds),
            f"{net / _HOUR:+,.2f}",
            _hours(row.recalled_h100e_seconds),
            str(row.recalls or _NONE),
        )
    total = sum((row.net_h100e_seconds for row in found.balances), Decimal(0)) / _HOUR
    table.add_row("all", "", "", f"{total:,.2f}", style="bold")
    since = found.since.astimezone().date().isoformat()
    table.caption = f"H100e-hours since {since}; above zero, others had more of theirs."
    if found.simulated_loans:
        many = f"{found.simulated_loans} of {count(found.loans_in_all, 'loan')}"
        table.caption += f" SIMULATED: behind {many} stood no GPU."
    table.caption_justify = "left"
    console.print(table)
    console.print()
    console.print(_matrix(found))
    console.print()
    for one in found.concentration:
        console.print(
            f"{TIER_WORDS[one.tier]} tier: concentration {one.index:.2f} (1 is one borrower alone);"
            f" {one.largest} has {one.largest_share:.0%} of what was borrowed",
            highlight=False,
        )
    if found.recalls:
        console.print()
        page = RecallPage(
            since=found.since, until=found.until, lenders=(), pools=(), pairs=found.recalls
        )
        console.print(recalls_table(page))


def _matrix(found: LedgerPage) -> Table:
    table = _table("lender", "borrower", "loans", "H100e-hours", left=2)
    for cell in found.matrix:
        table.add_row(cell.lender, cell.borrower, str(cell.loans), _hours(cell.h100e_seconds))
    return table


def loans_table(found: LedgerPage, now: datetime) -> Table:
    """Return loans, the newest first, with what each came to in the window."""
    table = _table("loan", "lender", "borrower", "pool", "from", "to", "GPUs", "H100e-h", left=6)
    lent = {row.loan: row.h100e_seconds for row in found.entries if row.h100e_seconds > 0}
    zone = now.tzinfo or UTC
    for loan in found.loans:
        ended = moment(loan.ended_at, now, zone) if loan.ended_at else "goes on"
        table.add_row(
            str(loan.loan),
            loan.lender.account,
            loan.borrower.account,
            loan.pool,
            moment(loan.started_at, now, zone),
            Text.assemble(ended, (" recalled", "yellow") if loan.recalled_at else ""),
            str(loan.gpus),
            _hours(lent.get(loan.loan, Decimal(0))),
        )
    return table


def print_usage(console: Console, found: UsagePage) -> None:
    """Print what accounts used by class, and what is left of the budgets that bind them."""
    headings = ("in quota", "borrowed", "background", "GPU-hours", "charged H100e-h")
    table = _table("account", *headings)
    depth: dict[str | None, int] = {None: -1}
    for row in found.accounts:
        depth[row.account] = depth.get(row.parent, -1) + 1
        parts = [
            sum(day.in_quota_gpu_hours for day in row.days),
            sum(day.borrowed_gpu_hours for day in row.days),
            sum(day.background_gpu_hours for day in row.days),
        ]
        total = (row.gpu_hours, row.charged_h100e_hours)
        cells = (f"{one:,.2f}" if one else _NONE for one in (*parts, *total))
        table.add_row("  " * depth[row.account] + row.account, *cells)
    table.caption = f"Since {found.since:%Y-%m-%d} (UTC), each with all accounts below it."
    table.caption_justify = "left"
    console.print(table)
    console.print()
    if not found.budgets:
        console.print("no budget binds these accounts: quotas alone limit them", highlight=False)
        return
    console.print(_budgets(found))


def _budgets(found: UsagePage) -> Table:
    headings = ("used", "reserved", "left", "limit", "per day")
    table = _table("budget", "account", *headings, "used up", left=2)
    for row in found.budgets:
        amounts = (row.used, row.reserved, row.left, row.limit)
        table.add_row(
            row.budget,
            row.account,
            *(f"{one:,.1f}" for one in amounts),
            _NONE if row.per_day is None else f"{row.per_day:,.1f}",
            when_used_up(row),
        )
    table.caption = (
        "H100e-hours (R4). Reserved is what running jobs may use up to their limits; used up is"
        " the likely day, with the 80 % interval."
    )
    table.caption_justify = "left"
    return table
