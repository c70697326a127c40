"""Commands about sharing and use: ledger, usage."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from portal.client.hub import Hub
from portal.client.ledger import FileKind
from portal.client.ledger import ledger as asked_ledger
from portal.client.ledger import ledger_file as asked_file
from portal.client.ledger import usage as asked_usage
from portal.commands import sharing_tables as tables
from portal.commands.completion import account_names
from portal.commands.doors import with_hub
from portal.commands.tables import console_of, local_now
from portal.format import count
from scheduler.core.ledger import By
from scheduler.wire.ledger import LedgerPage

app = typer.Typer(no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


@app.command()
@with_hub
def ledger(  # noqa: PLR0913, PLR0917  # the options are the command's surface
    hub: Hub,
    days: Annotated[int, typer.Option(min=1, max=366, help="How far back to look.")] = 30,
    by: Annotated[By, typer.Option(help="Whose sums to show.")] = By.SECTOR,
    loans: Annotated[
        bool, typer.Option("--loans", help="List the loans of your accounts, newest first.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many loans.")] = 100,
    after: Annotated[str | None, typer.Option(help="Go on after an earlier page.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write all your accounts' entries to a file, .csv or .parquet.", dir_okay=False
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show who lent what to whom, in H100e-hours: credits and debits that add up to zero.

    Example: commonpool ledger --as alex --days 90 --by institution
    """
    since = local_now() - timedelta(days=days)
    if out is not None:
        _write(hub, out, days)
        return
    found = asked_ledger(hub, since, by, after, limit)
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    elif loans:
        _list(found, days)
    elif not found.loans_in_all:
        typer.echo(
            f"nobody lent or borrowed in the last {count(days, 'day')}. GPUs are lent by quotas"
            " (`lend_max`) and agreements of the policy, while their owners leave them idle"
        )
    else:
        tables.print_ledger(console_of(), found)


@app.command()
@with_hub
def usage(
    hub: Hub,
    days: Annotated[int, typer.Option(min=1, max=92, help="How far back to look.")] = 28,
    account: Annotated[
        str | None,
        typer.Option(
            help="Only this one of yours, with all below it.", autocompletion=account_names
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what your accounts used, and when their budgets are used up.

    Example: commonpool usage --as dana --account arl-vision --days 7
    """
    found = asked_usage(hub, days, account)
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    elif not found.accounts:
        typer.echo("you are in no account yet: `commonpool projects` says whom to ask")
    else:
        tables.print_usage(console_of(), found)


def _list(found: LedgerPage, days: int) -> None:
    if not found.loans:
        whose = "anybody" if found.entries_of is None else ", ".join(found.entries_of) or "yours"
        typer.echo(f"no loan of {whose} in the last {count(days, 'day')}")
        return
    console_of().print(tables.loans_table(found, local_now()))
    if found.next:
        typer.echo(f"there are more: --after {found.next}")


def _write(hub: Hub, out: Path, days: int) -> None:
    kind = next((one for one in FileKind if out.suffix == f".{one.value}"), None)
    if kind is None:
        raise typer.BadParameter(f"--out: {out.name!r} ends in neither .csv nor .parquet")
    content = asked_file(hub, local_now() - timedelta(days=days), kind)
    out.write_bytes(content)
    typer.echo(f"wrote {count(len(content), 'byte')} to {out}")
