"""What a job costs and what its GPUs did, in a terminal: `cost`, and the end of `explain`."""

from datetime import UTC, datetime
from typing import Annotated

import httpx
import typer
from rich.console import Console
from rich.markup import escape

from portal.charts.job import activity_words, memory_words
from portal.client import job_reports
from portal.client.hub import Hub, HubProblem
from portal.commands import tables
from portal.commands.doors import with_hub
from portal.cost_words import attempt, in_the_end, price, so_far, who_pays
from portal.format import moment
from scheduler.wire.job_reports import JobCost, JobUtilisation, RunUse

app = typer.Typer(no_args_is_help=True)


@app.command()
@with_hub
def cost(
    hub: Hub,
    job: Annotated[str, typer.Argument(metavar="JOB", help="Its id or submission id.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Say what a job has cost, what it may come to, who is charged, and the price by tier."""
    found = job_reports.cost(hub, job)
    if as_json:
        tables.print_json(found)
        return
    console = tables.console_of()
    print_cost(console, found)
    for run in found.runs:
        console.print(f"  attempt {run.attempt}: {escape(attempt(run))}", highlight=False)
    if found.prices:
        console.print("\nprice by tier", style="bold")
        for one in found.prices:
            console.print(f"  {escape(price(one))}", highlight=False)


def print_reports(hub: Hub, job: str, console: Console) -> None:
    """Print what a job costs and did; a hub of an earlier version has no such answers."""
    try:
        print_cost(console, job_reports.cost(hub, job))
        print_use(console, job_reports.utilisation(hub, job))
    except HubProblem as problem:
        if problem.status == httpx.codes.FORBIDDEN:
            console.print(f"\nits GPUs\n  {escape(problem.detail)}", highlight=False)
        elif problem.status != httpx.codes.NOT_FOUND:
            raise


def print_cost(console: Console, found: JobCost) -> None:
    """Print what was charged so far, what it may come to, and who pays."""
    console.print("\ncost", style="bold")
    most = f", at its limit {in_the_end(found)}" if found.prices else ""
    console.print(f"  so far {so_far(found)}{most}", highlight=False)
    console.print(f"  {escape(who_pays(found))}", highlight=False)


def until(run: RunUse, now: datetime) -> str:
    """Return when the last point of a run was written: what came since is not in it."""
    return moment(run.points[-1].at, now, now.tzinfo or UTC)


def print_use(console: Console, found: JobUtilisation) -> None:
    """Print a line for each attempt whose GPUs somebody measured."""
    now = tables.local_now()
    lines = [
        f"  attempt {run.attempt} on {run.pool}, until {until(run, now)}: {activity_words(run)};"
        f" memory {memory_words(run)}"
        for run in found.runs
        if run.points
    ]
    if lines:
        console.print("\nits GPUs", style="bold")
        for line in lines:
            console.print(escape(line), highlight=False)
