"""Tables of the command line: the wire's messages as people read them in a terminal."""

import json
from datetime import UTC, datetime

import typer
from pydantic import BaseModel
from rich.console import Console, Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from portal.format import (
    JOB_LOOKS,
    QUOTA_WORDS,
    ago,
    ahead,
    moment,
    run_word,
)
from scheduler.clock import SystemClock
from scheduler.core.lifecycle import JobState
from scheduler.wire.accounts import AccountList, NodePage, PoolList, TokenList
from scheduler.wire.jobs import Explanation, JobPage, JobRun, JobView

_PIPE_COLUMNS = 200
_COLOURS = {"violet": "magenta", "gray": "bright_black", "orange": "yellow"}


def console_of() -> Console:
    """Return standard output: as wide as the terminal, and wide where it is a file or a pipe."""
    console = Console()
    return console if console.is_terminal else Console(width=_PIPE_COLUMNS)


def local_now() -> datetime:
    """Return the present instant in the zone of whoever looks at the terminal."""
    return SystemClock().now().astimezone()


def state_text(state: JobState) -> Text:
    """Return a job's state as a word in its colour; the word alone says it too."""
    look = JOB_LOOKS[state]
    return Text(look.word.lower(), style=_COLOURS.get(look.colour, look.colour))


def jobs_table(page: JobPage, now: datetime, people: bool = False) -> Table:
    """Return a page of jobs, one line each and its reason; `people` names their owners."""
    table = Table(box=None, pad_edge=False)
    for heading in ("job", *(("person",) if people else ()), "state", "GPUs"):
        table.add_column(heading, no_wrap=True)
    table.add_column("where")
    table.add_column("submitted", no_wrap=True)
    table.add_column("why", ratio=1)
    for job in page.jobs:
        table.add_row(
            job.id,
            *((job.user,) if people else ()),
            state_text(job.state),
            f"{job.nodes} × {job.gpus_per_node}",  # noqa: RUF001  # a real times sign
            where(job),
            ago(job.submitted_at, now),
            escape(job.reason),
        )
    return table


def where(job: JobView) -> str:
    """Return the pool of the job's latest run and how it is paid for."""
    if not job.runs:
        return "–"  # noqa: RUF001  # a dash for nothing
    run = job.runs[-1]
    return f"{run.pool}, {paid(run)}"


def paid(run: JobRun) -> str:
    """Return how a run's GPUs are had: in quota, borrowed, under which agreement."""
    return f"{QUOTA_WORDS[run.quota_class]}" + (f" ({run.agreement})" if run.agreement else "")


def print_explanation(console: Console, explanation: Explanation, now: datetime) -> None:
    """Print why a job is where it is: the sentence, each pool's answer, the history."""
    console.print(Text.assemble((explanation.job, "bold"), " ", state_text(explanation.state)))
    console.print(escape(explanation.summary), highlight=False)
    if explanation.position is not None:
        console.print(f"place {explanation.position} in its account's queue")
    _print_planned(console, explanation, now)
    _print_outlook(console, explanation)
    if explanation.verdicts:
        console.print("\nwhat each pool says", style="bold")
        table = Table.grid(padding=(0, 2))
        for verdict in explanation.verdicts:
            table.add_row(
                f"  {verdict.pool or 'any pool'}",
                verdict.tier.value if verdict.tier else "",
                escape(verdict.sentence),
            )
        console.print(table)
    if explanation.history:
        console.print(Group(Text("\nhistory", style="bold"), _history(explanation, now)))


def _print_planned(console: Console, explanation: Explanation, now: datetime) -> None:
    """Print the start that is promised by time limits; a likely one is told by the outlook."""
    at = explanation.starts_at
    if at is None or explanation.state.is_terminal:
        return
    if explanation.eta is not None and at == explanation.eta.likely:
        return
    shown = moment(at, now, now.tzinfo or UTC)
    console.print(f"planned start {shown}, {ahead(at, now)}", highlight=False)


def _print_outlook(console: Console, explanation: Explanation) -> None:
    """Print when it should start, who goes first, and what would start it sooner."""
    if explanation.eta is not None:
        console.print(explanation.eta.sentence, highlight=False)
    elif explanation.state is JobState.PENDING and explanation.starts_at is None:
        console.print("When it should start is not known yet.")
    for heading, said in (
        ("who is ahead", [one.sentence for one in explanation.ahead]),
        ("what would start it sooner", [one.sentence for one in explanation.sooner]),
    ):
        if said:
            console.print(f"\n{heading}", style="bold")
            for line in said:
                console.print(f"  {escape(line)}", highlight=False)
    if explanation.note:
        console.print(f"\n{escape(explanation.note)}", highlight=False)


def _history(explanation: Explanation, now: datetime) -> Table:
    zone = now.tzinfo or UTC
    table = Table.grid(padding=(0, 2))
    for line in explanation.history:
        at = moment(line.at, now, zone)
        table.add_row(f"  {at}", line.event, escape(line.sentence))
    return table


def run_line(run: JobRun) -> str:
    """Return an attempt in one line."""
    nodes = ", ".join(run.nodes)
    return f"attempt {run.attempt}: {run_word(run.state)} on {nodes} ({paid(run)})"


def pools_table(pools: PoolList) -> Table:
    """Return every pool with what is free, and how the rest is used; fits 80 columns."""
    found = sorted(pools.pools, key=lambda pool: (pool.tier.rank, pool.pool))
    table = Table(box=None, pad_edge=False)
    for heading in ("tier", "pool", "GPUs"):
        table.add_column(heading, no_wrap=True)
    background = any(pool.background for pool in found)
    for heading in ("free", "in quota", "borrowed", *(("background",) if background else ())):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("owner")
    for pool in found:
        down = f", {pool.capacity - pool.up} down" if pool.up < pool.capacity else ""
        amounts = (pool.free, pool.in_quota, pool.borrowed)
        table.add_row(
            pool.tier.value,
            pool.pool,
            f"{pool.capacity} {pool.gpu_model}{down}",
            *(str(amount) for amount in (*amounts, *((pool.background,) if background else ()))),
            pool.owner,
        )
    simulated = [pool.pool for pool in found if pool.simulated]
    if simulated:
        what = "All of these GPUs" if len(simulated) == len(found) else f"GPUs of {simulated}"
        table.caption = f"{what} are simulated: no such hardware is here."
        table.caption_justify = "left"
    return table


def quotas_table(pools: PoolList) -> Table:
    """Return each account's part of each pool."""
    table = Table(
        "pool", "account", "guaranteed", "lends", "may borrow", "uses", box=None, pad_edge=False
    )
    for pool in pools.pools:
        for quota in pool.quotas:
            amounts = (quota.nominal, quota.lend_max, quota.borrow_max, quota.used)
            table.add_row(pool.pool, quota.account, *(str(amount) for amount in amounts))
    return table


def nodes_table(page: NodePage, now: datetime) -> Table:
    """Return nodes with what is free and why one takes no work."""
    table = Table("node", "pool", "GPUs", "free", "last report", "", box=None, pad_edge=False)
    for node in page.nodes:
        note = "" if node.usable else f"takes no work: {node.why_unusable}"
        note = ", ".join(part for part in (note, "simulated" if node.simulated else "") if part)
        cells = (str(node.gpus), str(node.free), ago(node.reported_at, now))
        table.add_row(node.node, node.pool, *cells, escape(note))
    return table


def accounts_table(accounts: AccountList) -> Table:
    """Return the tree of accounts, children below their parents."""
    table = Table(
        "account", "sector", "weight", "H100e-hours", "running", "waiting", box=None, pad_edge=False
    )
    children: dict[str | None, list[str]] = {}
    by_name = {account.account: account for account in accounts.accounts}
    for account in accounts.accounts:
        children.setdefault(account.parent, []).append(account.account)

    def add(name: str, depth: int) -> None:
        account = by_name[name]
        table.add_row(
            "  " * depth + name,
            account.sector.value,
            str(account.weight),
            f"{account.h100e_seconds / 3600:.1f}",
            f"{account.running_gpus} GPUs",
            f"{account.pending_jobs} jobs",
        )
        for child in children.get(name, ()):
            add(child, depth + 1)

    for root in children.get(None, ()):
        add(root, 0)
    return table


def tokens_table(tokens: TokenList, now: datetime) -> Table:
    """Return all tokens without their secrets."""
    table = Table("id", "subject", "scope", "made", "last used", "ends", box=None, pad_edge=False)
    for token in tokens.tokens:
        last = ago(token.last_used_at, now) if token.last_used_at else "never"
        ends = "revoked" if token.revoked else "never"
        if token.expires_at and not token.revoked:
            ends = ahead(token.expires_at, now) if token.expires_at > now else "expired"
        row = (token.id, token.subject, token.scope.value, ago(token.created_at, now), last, ends)
        table.add_row(*row)
    return table


def tell_nodes(page: NodePage, *, as_json: bool) -> None:
    """Print nodes for people, or as JSON for programs."""
    if as_json:
        print_json(page)
    else:
        console_of().print(nodes_table(page, local_now()))


def print_json(message: BaseModel) -> None:
    """Print what the hub said as JSON for programs."""
    typer.echo(message.model_dump_json(indent=2))


def print_plain_json(said: object) -> None:
    """Print plain values as JSON for programs."""
    typer.echo(json.dumps(said, indent=2))
