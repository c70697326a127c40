"""`commonpool projects`: who leads, belongs to and decides on which project."""

from typing import Annotated

import typer
from rich.table import Table

from portal.client.hub import Hub
from portal.client.projects import projects as asked_projects
from portal.commands import tables
from portal.commands.doors import with_hub
from portal.commands.jobs import AsJson
from scheduler.wire.projects import ProjectList

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep the command a member, also while it is the only one."""


@app.command()
@with_hub
def projects(
    hub: Hub,
    every: Annotated[bool, typer.Option("--all", help="Those of others too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List your projects with their people; `commonpool request create membership` changes them.

    Example: commonpool projects --as dana
    """
    found = asked_projects(hub)
    if not every:
        mine = tuple(one for one in found.projects if one.yours)
        found = ProjectList(projects=mine or found.projects)
    if as_json:
        tables.print_json(found)
        return
    heads = ("project", "sector", "people", "who decides on members", "budgets until")
    table = Table(*heads, box=None, pad_edge=False)
    for one in found.projects:
        people = [f"{p.user} ({', '.join(role.value for role in p.roles)})" for p in one.people]
        budgets = [f"{budget.id} {budget.valid_to:%Y-%m-%d}" for budget in one.budgets]
        deciders = ", ".join(one.approvers) or "nobody yet"
        table.add_row(
            one.account, one.sector.value, "\n".join(people), deciders, "\n".join(budgets)
        )
    tables.console_of().print(table)
