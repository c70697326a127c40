"""Commands about the planner: queue, shares, prio, recalls, diag."""

from typing import Annotated

import typer

from portal.client.hub import Hub
from portal.commands import planner_tables as tables
from portal.commands.doors import with_hub
from portal.commands.tables import console_of, local_now
from portal.format import count

app = typer.Typer(no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Limit = Annotated[int, typer.Option(min=1, max=500, help="How many.")]
After = Annotated[str | None, typer.Option(help="Go on after an earlier page.")]


@app.command()
@with_hub
def queue(
    hub: Hub,
    start: Annotated[
        bool, typer.Option("--start", help="Show planned and expected starts, soonest first.")
    ] = False,
    limit: Limit = 100,
    after: After = None,
    as_json: AsJson = False,
) -> None:
    """List waiting jobs: yours; everybody's with an admin token."""
    page = hub.queue(after, limit)
    if as_json:
        typer.echo(page.model_dump_json(indent=2))
        return
    if not page.jobs:
        typer.echo("nothing waits")
        return
    console_of().print(tables.queue_table(page, local_now(), start))
    _more(page.next)


@app.command()
@with_hub
def shares(hub: Hub, as_json: AsJson = False) -> None:
    """Show the tree of accounts: weights, decayed use, and who goes first at each level."""
    found = hub.shares()
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        console_of().print(tables.shares_table(found))


@app.command()
@with_hub
def prio(hub: Hub, limit: Limit = 100, after: After = None, as_json: AsJson = False) -> None:
    """Show what orders waiting jobs: shares down the tree, priority, age, handicap."""
    page = hub.prio(after, limit)
    if as_json:
        typer.echo(page.model_dump_json(indent=2))
        return
    if not page.jobs:
        typer.echo("nothing waits")
        return
    console_of().print(tables.prio_table(page))
    _more(page.next)


@app.command()
@with_hub
def diag(hub: Hub, as_json: AsJson = False) -> None:
    """Say how planning goes: cycles, time by phase, depth, decisions (admin scope)."""
    found = hub.diagnostics()
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        tables.print_diagnostics(console_of(), found)


@app.command()
@with_hub
def recalls(
    hub: Hub,
    days: Annotated[int, typer.Option(min=1, max=366, help="How far back to look.")] = 30,
    as_json: AsJson = False,
) -> None:
    """Say how long owners waited for what they had lent, against the promised notice."""
    found = hub.recalls(days)
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    elif found.pairs:
        console_of().print(tables.recalls_table(found))
    else:
        typer.echo(f"no owner took GPUs back in the last {count(days, 'day')}")


def _more(after: str | None) -> None:
    if after:
        typer.echo(f"there are more: --after {after}")
