"""The researcher's commands: jobs, logs, explain, cancel, pools; `submit` is in submit.py.

Each exits with 0 when it did what was asked, 1 when the hub refused or the job failed,
and 2 when the command line makes no sense.
"""

import sys
from typing import Annotated

import typer

from portal.client.hub import Hub
from portal.commands import tables
from portal.commands.completion import account_names, job_ids
from portal.commands.doors import with_hub
from portal.commands.job_reports import print_reports
from scheduler.core.lifecycle import JobState

app = typer.Typer(no_args_is_help=True)

Job = Annotated[
    str,
    typer.Argument(metavar="JOB", help="Its id or submission id.", autocompletion=job_ids),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


@app.command()
@with_hub
def jobs(  # noqa: PLR0913, PLR0917  # the options are the command's surface
    hub: Hub,
    state: Annotated[JobState | None, typer.Option(help="Only jobs in this state.")] = None,
    account: Annotated[
        str | None,
        typer.Option(
            help="Of this account; everybody's of it where you lead it.",
            autocompletion=account_names,
        ),
    ] = None,
    all_accounts: Annotated[
        bool, typer.Option("--all-accounts", help="Everybody's, of all accounts that you lead.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many, newest first.")] = 20,
    after: Annotated[str | None, typer.Option(help="Go on after an earlier page.")] = None,
    as_json: AsJson = False,
) -> None:
    """List your jobs, newest first, with why each waits or what it does."""
    page = hub.jobs(state, account, after, limit, scope="accounts" if all_accounts else None)
    if as_json:
        tables.print_json(page)
        return
    if not page.jobs:
        typer.echo("no jobs yet: commonpool submit -- COMMAND" if not state else "no such jobs")
        return
    tables.console_of().print(tables.jobs_table(page, tables.local_now()))
    if page.next:
        typer.echo(f"there are more: --after {page.next}")


@app.command()
@with_hub
def logs(
    hub: Hub,
    job: Job,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until the job ends.")] = False,
) -> None:
    """Print a job's log, over all its attempts; also after its cluster is gone."""
    if follow:
        follow_to_end(hub, job)
        return
    offset = 0
    while True:
        page = hub.log(job, offset)
        sys.stdout.write(page.text)
        if not page.text or page.complete:
            break
        offset = page.next_offset
    if not offset and not page.text:
        typer.echo(f"no output yet: {hub.job(job).reason}", err=True)


@app.command()
@with_hub
def explain(hub: Hub, job: Job, as_json: AsJson = False) -> None:
    """Say why a job is where it is: per pool, its place in the queue, its history."""
    explanation = hub.explanation(job)
    if as_json:
        tables.print_json(explanation)
    else:
        console = tables.console_of()
        tables.print_explanation(console, explanation, tables.local_now())
        print_reports(hub, explanation.job, console)


@app.command()
@with_hub
def cancel(
    hub: Hub,
    jobs: Annotated[
        list[str],
        typer.Argument(metavar="JOB...", help="Ids or submission ids.", autocompletion=job_ids),
    ],
    reason: Annotated[str, typer.Option(help="Why; needed for a job of another person.")] = "",
    as_json: AsJson = False,
) -> None:
    """End jobs: one that waits at once, one that runs after a word to it."""
    for job in jobs:
        view = hub.cancel(job, reason)
        if as_json:
            tables.print_json(view)
        else:
            typer.echo(f"{view.id} {view.state.value}: {view.reason}")


@app.command()
@with_hub
def recall(hub: Hub, job: Job, as_json: AsJson = False) -> None:
    """Take an idle job's lease back: the background work on its GPUs ends by its notice."""
    view = hub.recall(job)
    if as_json:
        tables.print_json(view)
        return
    told = [event.sentence for event in hub.explanation(job).history]
    typer.echo(f"{view.id} {view.state.value}: {told[-1] if told else view.reason}")


@app.command()
@with_hub
def pools(
    hub: Hub,
    nodes: Annotated[bool, typer.Option("--nodes", help="Show each node too.")] = False,
    quotas: Annotated[bool, typer.Option("--quotas", help="Show each account's quota.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what is free, tier by tier."""
    found = hub.pools()
    if as_json:
        tables.print_json(found)
        return
    console = tables.console_of()
    console.print(tables.pools_table(found))
    if quotas:
        console.print(tables.quotas_table(found))
    if nodes:
        console.print(tables.nodes_table(hub.nodes(limit=500), tables.local_now()))


def follow_to_end(hub: Hub, job: str) -> None:
    """Print a log as it grows, until the job has ended."""
    for piece in hub.follow_log(job):
        sys.stdout.write(piece)
        sys.stdout.flush()
