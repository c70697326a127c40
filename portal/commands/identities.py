"""`commonpool identity`: who one is at which issuer; to link another needs a browser."""

from typing import Annotated

import typer
from rich.table import Table

from portal.client.hub import Hub
from portal.client.identity import my_identities, unlink_identity
from portal.commands import tables
from portal.commands.doors import with_hub
from portal.commands.jobs import AsJson
from portal.format import ago
from scheduler.wire.identity import IdentityView

app = typer.Typer(no_args_is_help=True, help="Link or unlink who you sign in as.")


@app.command("list")
@with_hub
def list_identities(
    hub: Hub,
    user: Annotated[str, typer.Option(help="Another's, for operators.")] = "",
    as_json: AsJson = False,
) -> None:
    """List the identities that sign you in as the same user."""
    found = my_identities(hub, user)
    if as_json:
        tables.print_json(found)
        return
    table = Table("issuer", "is", "sector", "institution", "last sign-in", "", box=None)
    now = tables.local_now()
    for one in found.identities:
        seen = ago(one.verified_at, now)
        table.add_row(one.issuer, one.title, one.sector, one.institution, seen, _state(one))
    if found.identities:
        tables.console_of().print(table)
    else:
        typer.echo("no issuer knows you: you never signed in with a browser")


@app.command()
@with_hub
def link(hub: Hub) -> None:
    """Say where in a browser to link another identity: it takes a sign-in at both."""
    session = hub.session()
    typer.echo(
        f"Open  {hub.url.rstrip('/')}/auth/link  in the browser, signed in as {session.user},"
    )
    typer.echo(
        "and sign in at the other organisation. On a hub behind a portal, it is the portal's"
    )
    typer.echo("page Account that leads there.")


@app.command()
@with_hub
def unlink(
    hub: Hub,
    issuer: Annotated[str, typer.Argument(metavar="ISSUER", help="As `list` names it.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Unlink an identity: its sessions end, and the tokens that were made in them."""
    one = next((i for i in my_identities(hub).identities if i.issuer == issuer), None)
    if one is None:
        raise typer.BadParameter(f"you have no identity of '{issuer}': commonpool identity list")
    if not yes:
        typer.confirm(f"End what {one.title} signed {one.user} in for, here and now?", abort=True)
    unlink_identity(hub, one)
    typer.echo(f"{one.title} signs {one.user} in no more")


def _state(one: IdentityView) -> str:
    if not one.usable:
        return "not taken any more"
    return "linked" if one.linked_at else ""
