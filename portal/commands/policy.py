"""The policy's revisions on the command line, and the way back to an earlier one."""

from typing import Annotated

import typer
from pydantic import ValidationError
from rich.markup import escape
from rich.table import Table

from portal.client.hub import Hub
from portal.client.requests import PolicyTexts, Requests
from portal.client.rollback import NothingToRollBack, rollback_to
from portal.commands.doors import with_hub
from portal.commands.requests import AsJson, Reason, print_impact, print_request
from portal.commands.tables import console_of, local_now, print_json
from portal.format import ago
from scheduler.wire.policies import PolicyRevisions
from scheduler.wire.requests import NewRequest


@with_hub
def revisions(hub: Hub, as_json: AsJson = False) -> None:
    """List the policy's revisions, newest first: by whom, and since when."""
    found = PolicyTexts(hub).revisions()
    if as_json:
        print_json(found)
    else:
        console_of().print(_table(found))


@with_hub
def rollback(
    hub: Hub,
    revision: Annotated[int, typer.Argument(min=1, help="As `policy revisions` shows it.")],
    reason: Reason,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would change; propose nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Propose an earlier revision anew; somebody else approves it, as any policy.

    It becomes a new revision: no revision is taken out of the history.
    """
    texts = PolicyTexts(hub)
    try:
        found = rollback_to(texts, revision)
        message = found.request(reason)
    except NothingToRollBack as nothing:
        raise typer.BadParameter(f"REVISION: {nothing}") from nothing
    except ValidationError as error:
        raise typer.BadParameter(f"--reason: {error.errors()[0]['msg']}") from error
    if not as_json:
        typer.echo(found.difference())
        print_impact(console_of(), texts.diff(found.text))
    if not dry_run:
        _propose(hub, message, as_json)
    elif as_json:
        print_json(texts.diff(found.text))


def _propose(hub: Hub, message: NewRequest, as_json: bool) -> None:
    view = Requests(hub).create(message)
    if as_json:
        print_json(view)
    else:
        print_request(console_of(), view)


def _table(found: PolicyRevisions) -> Table:
    now = local_now()
    table = Table(box=None, pad_edge=False)
    for heading in ("revision", "since", "by", "lines", "sha256"):
        table.add_column(heading, no_wrap=True)
    for one in found.revisions:
        said = (ago(one.applied_at, now), escape(one.applied_by), str(one.lines), one.sha256[:16])
        table.add_row(str(one.revision), *said)
    return table
