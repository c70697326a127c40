"""The auditor's commands: list, verify, checkpoint, export.

With a token they ask a hub. Without one they read the database in `--data` themselves, and
`verify --file` needs neither: an auditor need not take the hub's word for its own log.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.markup import escape
from rich.table import Table

from portal.client.audit import AuditLog
from portal.client.hub import Hub
from portal.commands.doors import Door, with_door
from portal.commands.tables import console_of, local_now, print_json
from portal.format import count, moment
from scheduler.admin_direct import Direct
from scheduler.audit_export import verify_export
from scheduler.core.audit import Head
from scheduler.db.audit import Wanted
from scheduler.errors import Refused
from scheduler.wire.audit import AuditPage, AuditRow, AuditVerdict, Checkpoint

app = typer.Typer(no_args_is_help=True, help=__doc__)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
DatabaseUrl = Annotated[
    str, typer.Option(envvar="COMMONPOOL_DATABASE_URL", help="Else SQLite in --data.")
]
First = Annotated[int, typer.Option("--from", min=1, help="The first row, by its number.")]
Last = Annotated[int | None, typer.Option("--to", min=1, help="The last; default: the end.")]


@app.command("list")
@with_door
def list_rows(  # noqa: PLR0913, PLR0917  # the options are the command's surface
    door: Door,
    actor: Annotated[str | None, typer.Option(help="Who did it, or for whom.")] = None,
    action: Annotated[
        str | None, typer.Option(help="e.g. policy.apply; `node.` is all that begin so.")
    ] = None,
    about: Annotated[
        str | None, typer.Option("--object", help="e.g. job:ID, run:ID, node:NAME.")
    ] = None,
    decision: Annotated[str | None, typer.Option(help="A cycle's decision id.")] = None,
    since: Annotated[str | None, typer.Option(help="e.g. 2026-03-02T12:00.")] = None,
    until: Annotated[str | None, typer.Option(help="Before then.")] = None,
    before: Annotated[int | None, typer.Option(min=1, help="Go on after an earlier page.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many, newest first.")] = 20,
    database_url: DatabaseUrl = "",
    as_json: AsJson = False,
) -> None:
    """List what was done, newest first: who, for whom, what, why. Reading is logged too."""
    times = _instant(since, "--since"), _instant(until, "--until")
    if isinstance(door, Hub):
        asked = {"actor": actor, "action": action, "object": about, "decision": decision}
        first, end = (None if at is None else at.isoformat() for at in times)
        page = AuditLog(door).rows({**asked, "since": first, "until": end}, before, limit)
    else:
        wanted = Wanted(actor, action, about, decision, *times)
        page = Direct(door, database_url).audit_page(wanted, before, limit)
    if as_json:
        print_json(page)
        return
    console_of().print(_table(page, local_now()))
    if page.next:
        typer.echo(f"there are more: --before {page.next}")


@app.command()
@with_door
def verify(  # noqa: PLR0913, PLR0917  # the options are the command's surface
    door: Door,
    first: First = 1,
    last: Last = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="What `audit checkpoint` wrote, kept elsewhere.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="An export, in place of the log itself.")
    ] = None,
    database_url: DatabaseUrl = "",
    as_json: AsJson = False,
) -> None:
    """Follow the chain. Exits with 1 where a row was changed, taken out or moved, and says which.

    Without a checkpoint it cannot see a log that somebody wrote anew as a whole.
    """
    known = None if checkpoint is None else _checkpoint(checkpoint)
    if file is not None:
        verdict = _verify_file(file, known)
    elif isinstance(door, Hub):
        verdict = AuditLog(door).verify(first, last, known)
    else:
        head = None if known is None else Head(known.sequence, known.hash)
        verdict = Direct(door, database_url).audit_verdict(first, last, head)
    if as_json:
        print_json(verdict)
    else:
        typer.echo(_sentence(verdict))
    if verdict.fault is not None:
        raise typer.Exit(1)


@app.command("checkpoint")
@with_door
def checkpoint_of(
    door: Door,
    out: Annotated[Path | None, typer.Option(help="Write it to this file.")] = None,
    database_url: DatabaseUrl = "",
) -> None:
    """Print where the chain ends now. Keep it where nobody who has the database can write."""
    if isinstance(door, Hub):
        found = AuditLog(door).checkpoint()
    else:
        found = Direct(door, database_url).audit_checkpoint()
    text = found.model_dump_json(indent=2)
    if out is None:
        typer.echo(text)
        return
    out.write_text(text + "\n", encoding="utf-8")
    typer.echo(f"row {found.sequence}, {found.hash[:16]}…, written to {out}")


@app.command()
@with_door
def export(
    door: Door,
    out: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write JSON lines.")],
    first: First = 1,
    last: Last = None,
    database_url: DatabaseUrl = "",
) -> None:
    """Write rows as JSON lines that end with a seal; `audit verify --file` checks them."""
    if isinstance(door, Hub):
        data = AuditLog(door).export(first, last)
    else:
        data = Direct(door, database_url).audit_export(first, last).encode()
    out.write_bytes(data)
    rows = max(0, data.count(b"\n") - 1)
    typer.echo(f"{count(rows, 'row')} and their seal written to {out}")


def _verify_file(file: Path, known: Checkpoint | None) -> AuditVerdict:
    head = None if known is None else Head(known.sequence, known.hash)
    try:
        with file.open(encoding="utf-8", newline="\n") as text:
            return verify_export(text, head)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8"
        raise typer.BadParameter(f"--file: {file}: {reason}") from error


def _checkpoint(file: Path) -> Checkpoint:
    try:
        return Checkpoint.model_validate_json(file.read_bytes())
    except OSError as error:
        raise typer.BadParameter(f"--checkpoint: {file}: {error.strerror}") from error
    except ValidationError as error:
        told = f"{file} is no checkpoint; `commonpool audit checkpoint --out FILE` writes one"
        raise Refused("No checkpoint", told, field="--checkpoint") from error


def _sentence(verdict: AuditVerdict) -> str:
    if verdict.fault is not None:
        fault = verdict.fault
        held = f"it held for {count(verdict.rows, 'row')} before"
        return f"BROKEN at row {fault.sequence} ({fault.wrong}): {fault.sentence}; {held}"
    if not verdict.rows:
        return "no rows to follow"
    part = f"rows {verdict.first} to {verdict.last}"
    against = ", and the checkpoint fits" if verdict.against_checkpoint else ""
    return f"the chain holds: {part} ({verdict.rows:,}){against}; ends with {verdict.hash[:16]}…"


def _table(page: AuditPage, now: datetime) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("row", "when", "who", "did", "to"):
        table.add_column(heading, no_wrap=True)
    table.add_column("why, and what changed", ratio=1)
    zone = now.tzinfo
    for row in page.rows:
        when = moment(row.at, now, zone) if zone else f"{row.at:%Y-%m-%d %H:%M:%S}"
        said = (_person(row), row.action, row.object, " ".join(_said(row)))
        table.add_row(str(row.sequence), when, *map(escape, said))
    return table


def _person(row: AuditRow) -> str:
    return f"{row.actor} for {row.on_behalf_of}" if row.on_behalf_of else row.actor


def _said(row: AuditRow) -> Sequence[str]:
    said = [row.reason] if row.reason else []
    if row.decision:
        said.append(f"[decision {row.decision}]")
    return said


def _instant(text: str | None, option: str) -> datetime | None:
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{option}: {text!r} is not like 2026-03-02T12:00") from error
    return at.astimezone()
