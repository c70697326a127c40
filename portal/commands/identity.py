"""Who a command line is: login, logout, whoami, and tokens of one's own."""

import getpass
import socket
import webbrowser
from collections.abc import Mapping
from threading import Event
from typing import Annotated, Any

import httpx
import typer
from pydantic import ValidationError
from rich.table import Table

from portal.client.hub import Hub, HubProblem, HubUnreachable, http_client
from portal.commands import credentials, tables
from portal.commands.credentials import Kept
from portal.commands.doors import DEFAULT_DATA, Data, HubUrl, hub_address, with_hub
from portal.format import ago
from scheduler.wire.identity import (
    DeviceAsked,
    DeviceToken,
    Kind,
    PersonalTokenIssued,
    PersonalTokenList,
    PersonalTokenRequest,
    Power,
    Session,
)

app = typer.Typer(no_args_is_help=True)
_CLIENT_ID = "commonpool-cli"
_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_PATH = "/v1/personal-tokens"
_SLOWER_SECONDS = 5
_waiting = Event()  # never set: a pause that Ctrl-C interrupts

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Powers = Annotated[
    list[Power] | None,
    typer.Option("--power", help="What it may do: read, jobs or manage; jobs when left out."),
]


@app.command()
def login(
    url: HubUrl = "",
    data: Data = DEFAULT_DATA,
    power: Powers = None,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in a browser here.")
    ] = False,
) -> None:
    """Sign in: open the address that it prints, in any browser, and compare the code.

    The token it gets is yours, ends after 30 days, and lies in a file that only you can read.
    """
    hub = hub_address(url, data)
    with http_client() as client:
        asked = _begin(client, hub, power or [Power.JOBS])
        typer.echo(f"Open  {asked.verification_uri_complete}")
        typer.echo(f"and compare the code: {asked.user_code}  (Ctrl-C ends this)")
        if browser:
            webbrowser.open(asked.verification_uri_complete)
        given = _wait(client, hub, asked)
        session = Hub(hub, given.access_token, client).session()
    ends = "" if session.expires_at is None else session.expires_at.isoformat()
    file = credentials.keep(hub, Kept(given.access_token, given.user, session.id or "", ends))
    typer.echo(f"signed in at {hub} as {given.user} for {given.scope}, until {ends[:10]}")
    typer.echo(f"kept in {file}", err=True)


@app.command()
def logout(url: HubUrl = "", data: Data = DEFAULT_DATA) -> None:
    """Revoke the token that `login` got, and forget it."""
    hub = hub_address(url, data)
    kept = credentials.find(hub)
    if kept is None:
        typer.echo(f"nobody is signed in at {hub}")
        return
    try:
        with http_client() as client:
            Hub(hub, kept.token, client).call("DELETE", f"{_PATH}/{kept.id}")
    except HubProblem as problem:
        # Over, revoked, or for reading only: it is forgotten here, and ends there by itself.
        typer.echo(f"the hub did not revoke it: {problem}", err=True)
    except HubUnreachable as away:
        typer.echo(f"{away} The token was not revoked; try again.", err=True)
        raise typer.Exit(1) from away
    credentials.forget(hub)
    typer.echo(f"signed out at {hub}")


@app.command()
@with_hub
def whoami(hub: Hub, as_json: AsJson = False) -> None:
    """Say who you are at the hub, what you may do, and until when."""
    session = hub.session()
    if as_json:
        tables.print_json(session)
        return
    typer.echo(f"{session.user} at {hub.url}, by {_by(session)}")
    for on in session.roles:
        typer.echo(f"  {' and '.join(on.roles)} of {on.account}")
    if session.expires_at is not None:
        typer.echo(f"until {session.expires_at.astimezone():%Y-%m-%d %H:%M}")


def create_mine(hub: Hub, name: str, powers: list[Power], days: int) -> PersonalTokenIssued:
    """Make a token of the caller's own."""
    try:
        asked = PersonalTokenRequest(name=name, powers=tuple(powers), expires_in_days=days)
    except ValidationError as error:
        first = error.errors()[0]
        raise typer.BadParameter(f"{first['loc'][0]}: {first['msg']}") from error
    return hub.tell(PersonalTokenIssued, _PATH, asked)


def list_mine(hub: Hub) -> PersonalTokenList:
    """Return the caller's own tokens."""
    return hub.ask(PersonalTokenList, _PATH)


def revoke_mine(hub: Hub, token: str) -> None:
    """Revoke one of the caller's own tokens."""
    hub.call("DELETE", f"{_PATH}/{token}")


def personal_table(found: PersonalTokenList) -> Table:
    """Return personal tokens as a table, newest first."""
    table = Table("id", "name", "powers", "ends", "last used", "", box=None)
    now = tables.local_now()
    for each in found.tokens:
        used = ago(each.last_used_at, now) if each.last_used_at else "never"
        state = "revoked" if each.revoked else "ended" if each.expires_at <= now else ""
        ends = f"{each.expires_at:%Y-%m-%d}"
        table.add_row(each.id, each.name, ", ".join(each.powers), ends, used, state)
    return table


def _by(session: Session) -> str:
    match session.kind:
        case Kind.PERSONAL:
            return f"a personal token for {', '.join(session.powers or ())}"
        case Kind.SESSION:
            return f"a session of {session.issuer}"
        case Kind.TOKEN:
            return "a token"


def _begin(client: httpx.Client, hub: str, powers: list[Power]) -> DeviceAsked:
    form = {
        "client_id": _CLIENT_ID,
        "client_name": f"{getpass.getuser()}@{socket.gethostname()}",
        "scope": " ".join(powers),
    }
    answer = _post(client, hub, "/auth/device", form)
    if "device_code" not in answer:
        raise typer.BadParameter(f"{hub}: {answer.get('error_description', answer.get('error'))}")
    return DeviceAsked.model_validate(answer, extra="ignore")


def _wait(client: httpx.Client, hub: str, asked: DeviceAsked) -> DeviceToken:
    form = {"client_id": _CLIENT_ID, "grant_type": _GRANT, "device_code": asked.device_code}
    pause = asked.interval
    while True:
        _waiting.wait(pause)
        answer = _post(client, hub, "/auth/token", form)
        match answer.get("error"):
            case None:
                return DeviceToken.model_validate(answer, extra="ignore")
            case "authorization_pending":
                pass
            case "slow_down":
                pause += _SLOWER_SECONDS
            case "access_denied":
                typer.echo("it was refused in the browser", err=True)
                raise typer.Exit(1)
            case _:
                typer.echo("nobody answered in time: begin again", err=True)
                raise typer.Exit(1)


def _post(client: httpx.Client, hub: str, path: str, form: Mapping[str, str]) -> dict[str, Any]:
    try:
        answer: Any = client.post(hub.rstrip("/") + path, data=form).json()
    except (httpx.TransportError, httpx.InvalidURL, ValueError) as error:
        reason = "it does not answer, or not as a Commonpool hub of this version does"
        raise HubUnreachable(hub, reason) from error
    if not isinstance(answer, dict):
        raise HubUnreachable(hub, "it does not answer as a Commonpool hub of this version does")
    return answer
