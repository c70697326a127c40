"""Requests that others decide on: create, list, show, approve, deny, comment, withdraw."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from portal.client.hub import Hub
from portal.client.requests import PolicyTexts, Requests
from portal.commands.decisions import decide
from portal.commands.doors import with_hub
from portal.commands.tables import console_of, local_now, print_json
from portal.format import ago, ahead
from scheduler.core.approvals import RequestState
from scheduler.core.request_kinds import RequestKind
from scheduler.wire.requests import (
    Change,
    NewRequest,
    RequestImpact,
    RequestPage,
    RequestView,
)

app = typer.Typer(no_args_is_help=True, help=__doc__)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Name = Annotated[str, typer.Argument(metavar="REQUEST", help="Its id, as `request list` shows.")]
Names = Annotated[
    list[str], typer.Argument(metavar="REQUEST…", help="Ids, as `request list` shows.")
]
Digest = Annotated[
    str, typer.Option(help="Of the text of the one that you read; default: as it is now.")
]
Reason = Annotated[
    str, typer.Option(help="Why; approvers, who asked and auditors read it.", show_default=False)
]
_LISTS = frozenset({"members", "leads", "add", "remove", "pools"})
_CHANGE: TypeAdapter[Change] = TypeAdapter(Change)


@app.command()
@with_hub
def create(  # noqa: PLR0913, PLR0917  # the options are the command's surface
    hub: Hub,
    kind: Annotated[RequestKind, typer.Argument(help="What is asked for.")],
    reason: Reason,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="A field; lists with commas."),
    ] = None,
    quota: Annotated[
        list[str] | None,
        typer.Option(metavar="POOL=NOMINAL[+BORROW]", help="Of a new project; may be repeated."),
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="Of kind policy: the whole text, in YAML.")
    ] = None,
    draft: Annotated[bool, typer.Option("--draft", help="Ask nobody yet.")] = False,
    as_json: AsJson = False,
) -> None:
    """Ask for something that others decide on.

    Example: commonpool request create budget --set id=arl-2026 --set account=arl
    --set h100e_hours=20000 --set valid_from=2026-01-01T00:00Z --set valid_to=2027-01-01T00:00Z
    --reason "the year's milestone"
    """
    asked: dict[str, Any] = {"kind": kind, **_fields(settings or ())}
    if quota:
        asked["quotas"] = [_quota(text) for text in quota]
    if kind is RequestKind.POLICY:
        asked |= _policy(hub, file, asked)
    try:
        change = _CHANGE.validate_python(asked)
        message = NewRequest(change=change, reason=reason, draft=draft)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
        raise typer.BadParameter(f"{field}: {first['msg']}") from error
    _tell(Requests(hub).create(message), as_json)


def _fields(settings: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for text in settings:
        name, is_there, value = text.partition("=")
        if not is_there:
            raise typer.BadParameter(f"--set: {text!r} is not FIELD=VALUE")
        parts = tuple(part.strip() for part in value.split(",") if part.strip())
        found[name] = parts if name in _LISTS else value
    return found


def _quota(text: str) -> dict[str, object]:
    pool, _, amounts = text.partition("=")
    nominal, _, borrow = amounts.partition("+")
    if not (pool and nominal.isdigit() and (borrow.isdigit() or not borrow)):
        raise typer.BadParameter(f"--quota: {text!r} is not POOL=NOMINAL or POOL=NOMINAL+BORROW")
    return {"pool": pool, "nominal": int(nominal), "borrow_max": int(borrow or 0)}


def _policy(hub: Hub, file: Path | None, asked: dict[str, Any]) -> dict[str, object]:
    if file is None:
        raise typer.BadParameter("a policy comes from a file: --file FILE")
    try:
        document = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8"
        raise typer.BadParameter(f"--file: {file}: {reason}") from error
    # Against what is in force now, unless somebody names an older one.
    base = asked.get("base_revision")
    if base is None:
        base = PolicyTexts(hub).revisions().revisions[0].revision
    return {"document": document, "base_revision": base}


@app.command("list")
@with_hub
def list_requests(  # noqa: PLR0913, PLR0917  # the options are the command's surface
    hub: Hub,
    state: Annotated[RequestState | None, typer.Option(help="Only these.")] = None,
    kind: Annotated[RequestKind | None, typer.Option(help="Only these.")] = None,
    mine: Annotated[bool, typer.Option("--mine", help="Only what you asked for.")] = False,
    waiting: Annotated[bool, typer.Option("--waiting", help="Only what awaits you.")] = False,
    after: Annotated[str | None, typer.Option(help="Go on after an earlier page.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many, newest first.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the requests that you may see, newest first."""
    asked = {
        "state": state,
        "kind": kind,
        "who": "me" if mine else None,
        "awaiting": "me" if waiting else None,
    }
    page = Requests(hub).page(asked, after, limit)
    if as_json:
        print_json(page)
        return
    if not page.requests:
        typer.echo("nothing awaits you" if waiting else "no requests")
        return
    console_of().print(_table(page))
    if page.next:
        typer.echo(f"there are more: --after {page.next}")


@app.command()
@with_hub
def show(
    hub: Hub,
    name: Name,
    impact: Annotated[
        bool, typer.Option("--impact", help="Plan the present under it, and say what differs.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show a request: what, why, how it stands, and with --impact what it would change."""
    view = Requests(hub).show(name)
    if as_json:
        print_json(Requests(hub).impact(name) if impact else view)
        return
    print_request(console_of(), view)
    if impact:
        print_impact(console_of(), Requests(hub).impact(name))


@app.command()
@with_hub
def approve(
    hub: Hub,
    names: Names,
    reason: Reason,
    digest: Digest = "",
    as_json: AsJson = False,
) -> None:
    """Approve requests, each by itself; the last approval that one needs puts it in force."""
    decide(Requests(hub), names, (True, digest, reason), as_json)


@app.command()
@with_hub
def deny(
    hub: Hub,
    names: Names,
    reason: Reason,
    digest: Digest = "",
    as_json: AsJson = False,
) -> None:
    """Deny requests: that ends them."""
    decide(Requests(hub), names, (False, digest, reason), as_json)


@app.command()
@with_hub
def comment(hub: Hub, name: Name, text: Annotated[str, typer.Argument()]) -> None:
    """Ask or answer something; it decides nothing."""
    _tell(Requests(hub).comment(name, text), as_json=False)


@app.command()
@with_hub
def withdraw(hub: Hub, name: Name, reason: Reason, as_json: AsJson = False) -> None:
    """Take your own request back."""
    _tell(Requests(hub).withdraw(name, reason), as_json)


@app.command()
@with_hub
def send(hub: Hub, name: Name, as_json: AsJson = False) -> None:
    """Ask the approvers of your draft."""
    _tell(Requests(hub).send(name), as_json)


@app.command()
@with_hub
def apply(hub: Hub, name: Name, as_json: AsJson = False) -> None:
    """Put in force what was approved and did not fit the policy then."""
    _tell(Requests(hub).apply(name), as_json)


def _tell(view: RequestView, as_json: bool) -> None:
    if as_json:
        print_json(view)
    else:
        print_request(console_of(), view)


def _table(page: RequestPage) -> Table:
    now = local_now()
    table = Table(box=None, pad_edge=False)
    for heading in ("request", "state", "asked by", "since"):
        table.add_column(heading, no_wrap=True)
    table.add_column("for", ratio=1)
    table.add_column("has")
    for one in page.requests:
        mark = " (awaits you)" if one.awaits_you else ""
        since = ago(one.created_at, now)
        said = (one.requester, since, one.title, one.standing)
        table.add_row(one.id, f"{one.state}{mark}", *map(escape, said))
    return table


def print_request(console: Console, view: RequestView) -> None:
    """Print a request: what, why, how it stands, and what happened to it."""
    now = local_now()
    told = f"{view.id}  {view.state}: {view.requester} asks for {view.title}"
    console.print(escape(told), highlight=False)
    lines = [f"why: {view.reason}", f"has: {view.standing}"]
    if view.state in {RequestState.OPEN, RequestState.DRAFT}:
        lines.append(f"may decide: {', '.join(view.who_may_decide) or 'nobody yet'}")
        lines.append(f"expires {ahead(view.expires_at, now)}")
    if view.note:
        lines.append(f"not in force: {view.note}")
    if view.revision is not None:
        lines.append(f"in force with policy revision {view.revision}")
    lines += [
        f"{ago(one.at, now):>12}  {one.actor} {one.event}: {one.text}" for one in view.history
    ]
    for line in lines:
        console.print(f"  {escape(line)}", highlight=False)


def print_impact(console: Console, impact: RequestImpact) -> None:
    """Print what the next cycle would do otherwise."""
    if not impact.fits:
        console.print(f"  it does not fit now: {escape(impact.why_not)}", highlight=False)
        return
    counts = (
        f"in the next cycle {impact.jobs_start_more} more jobs would start, "
        f"{impact.jobs_start_less} fewer, and {impact.runs_recalled} runs would be recalled"
    )
    accounts = [
        f"{one.account}: {one.before} GPUs would start now, with it {one.after}"
        for one in impact.accounts
    ]
    for line in (*impact.rows, counts, *accounts, *impact.jobs, *impact.runs):
        console.print(f"  {escape(line)}", highlight=False)
