"""The operator's commands: hub, policy, token, admin, version.

`policy` and `token` speak to a hub when they are given an admin token. Without one they
work on the database in `--data` directly: that is how a new hub gets its first token.
"""

import importlib.metadata
import importlib.util
import platform
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer
from pydantic import BaseModel, ValidationError

from portal.client.hub import Hub
from portal.commands import tables
from portal.commands.doors import Door, with_door, with_hub
from portal.commands.identity import create_mine, list_mine, personal_table, revoke_mine
from portal.commands.policy import revisions, rollback
from scheduler import policy_file
from scheduler.admin_direct import Direct, read_policy
from scheduler.clock import SystemClock
from scheduler.replay_cli import policy_diff
from scheduler.wire.accounts import Scope, TokenIssued, TokenRequest
from scheduler.wire.identity import MAX_TOKEN_DAYS, PersonalTokenIssued, Power

hub_app = typer.Typer()
policy_app = typer.Typer(no_args_is_help=True, help=__doc__)
token_app = typer.Typer(no_args_is_help=True, help=__doc__)
admin_app = typer.Typer(no_args_is_help=True, help="Migrate the database; look at everything.")
version_app = typer.Typer()

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
DatabaseUrl = Annotated[
    str,
    typer.Option(
        envvar="COMMONPOOL_DATABASE_URL",
        help="postgresql+psycopg://…; default: SQLite in --data.",
        show_default=False,
    ),
]
Mine = Annotated[bool, typer.Option("--mine", help="Your own tokens, at the hub.")]
PolicyFile = Annotated[Path, typer.Argument(metavar="FILE", help="A policy in YAML.")]


@hub_app.command()
def hub(
    data: Annotated[Path, typer.Option(envvar="COMMONPOOL_DATA")] = Path(".commonpool"),
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8265,
    database_url: DatabaseUrl = "",
    log_format: Annotated[str, typer.Option(metavar="console|json")] = "console",
) -> None:
    """Run a hub until it is told to stop. Its other settings are COMMONPOOL_* variables."""
    # Imported here, so that the other commands of this file need no web server.
    from scheduler.config import HubSettings  # noqa: PLC0415
    from scheduler.hub import serve  # noqa: PLC0415

    given = {"data": data, "host": host, "port": port, "log_format": log_format}
    serve(HubSettings.model_validate({**given, "database_url": database_url}))


@policy_app.command("check")
def policy_check(file: PolicyFile) -> None:
    """Check a policy file, without any hub: every problem, with its line and field."""
    document = read_policy(file)
    for odd in policy_file.warnings(document, SystemClock().now()):
        typer.echo(f"note: {odd}", err=True)
    typer.echo(f"{file} is a valid policy")


@policy_app.command("apply")
@with_door
def policy_apply(
    door: Door,
    file: PolicyFile,
    reason: Annotated[
        str, typer.Option(help="Why you go around the rule of two people; the audit log keeps it.")
    ] = "",
    database_url: DatabaseUrl = "",
    as_json: AsJson = False,
) -> None:
    """Check a policy and put it in force as the next revision, alone.

    The usual way is a proposal that a second person approves: `commonpool request`.
    """
    document = read_policy(file)
    if isinstance(door, Hub):
        place, applied = door.url, door.apply_policy(document, reason)
    else:
        direct = Direct(door, database_url)
        place, applied = direct.place, direct.apply_policy(document, reason)
    if as_json:
        tables.print_json(applied)
        return
    word = "now in force" if applied.changed else "in force already: nothing changed"
    typer.echo(f"revision {applied.revision} is {word} ({place})")


@policy_app.command("show")
@with_door
def policy_show(door: Door, database_url: DatabaseUrl = "") -> None:
    """Print the policy in force, as it was written."""
    text = door.policy() if isinstance(door, Hub) else Direct(door, database_url).policy()
    typer.echo(text, nl=not text.endswith("\n"))


policy_app.command("diff")(policy_diff)
policy_app.command("revisions")(revisions)
policy_app.command("rollback")(rollback)


@token_app.command("create")
@with_door
def token_create(  # noqa: PLR0913, PLR0917  # the options are the command's surface
    door: Door,
    subject: Annotated[
        str, typer.Argument(help="A person, or the site of an agent; none with --mine.")
    ] = "",
    scope: Annotated[Scope, typer.Option(help="What it opens.")] = Scope.USER,
    days: Annotated[int | None, typer.Option(min=1, max=366, help="Until it ends.")] = 90,
    mine: Mine = False,
    name: Annotated[str, typer.Option(help="With --mine: what it is for.")] = "",
    power: Annotated[
        list[Power] | None, typer.Option(help="With --mine: what it may do.", show_default="jobs")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write it to this file, for its owner only.")
    ] = None,
    database_url: DatabaseUrl = "",
    as_json: AsJson = False,
) -> None:
    """Make a token. It is shown this once: the hub keeps only its SHA-256.

    With --mine it is your own, for at most 90 days, and may no more than you do.
    """
    if mine and isinstance(door, Hub):
        made = create_mine(door, name or subject, power or [Power.JOBS], days or MAX_TOKEN_DAYS)
        _show_token(made, out, as_json, f"token {made.id} of {made.user}, {', '.join(made.powers)}")
        return
    try:
        request = TokenRequest(subject=subject, scope=scope, expires_in_days=days)
    except ValidationError as error:
        raise typer.BadParameter(f"SUBJECT: {error.errors()[0]['msg']}") from error
    if isinstance(door, Hub):
        issued = door.issue_token(request)
    else:
        issued = Direct(door, database_url).issue_token(request)
    _show_token(issued, out, as_json, f"token {issued.id} of {subject}, scope {scope.value}")


def _show_token(
    issued: TokenIssued | PersonalTokenIssued, out: Path | None, as_json: bool, said: str
) -> None:
    if out is not None:
        _write_secret(out, issued.token)
    if as_json:
        tables.print_json(issued)
        return
    ends = f"ends {issued.expires_at:%Y-%m-%d}" if issued.expires_at else "does not end"
    typer.echo(f"{said}, {ends}", err=True)
    typer.echo(f"written to {out}" if out else issued.token)


@token_app.command("list")
@with_door
def token_list(
    door: Door, mine: Mine = False, database_url: DatabaseUrl = "", as_json: AsJson = False
) -> None:
    """List all tokens, or your own, without their secrets."""
    if mine and isinstance(door, Hub):
        own = list_mine(door)
        if as_json:
            tables.print_json(own)
        else:
            tables.console_of().print(personal_table(own))
        return
    found = door.tokens() if isinstance(door, Hub) else Direct(door, database_url).tokens()
    if as_json:
        tables.print_json(found)
    else:
        tables.console_of().print(tables.tokens_table(found, tables.local_now()))


@token_app.command("revoke")
@with_door
def token_revoke(
    door: Door,
    token_id: Annotated[str, typer.Argument(metavar="ID", help="As `token list` shows it.")],
    mine: Mine = False,
    database_url: DatabaseUrl = "",
) -> None:
    """End a token at once."""
    if mine and isinstance(door, Hub):
        revoke_mine(door, token_id)
    elif isinstance(door, Hub):
        door.revoke_token(token_id)
    else:
        Direct(door, database_url).revoke_token(token_id)
    typer.echo(f"token {token_id} is revoked")


@admin_app.command()
def migrate(
    data: Annotated[Path, typer.Option(envvar="COMMONPOOL_DATA")] = Path(".commonpool"),
    database_url: DatabaseUrl = "",
) -> None:
    """Make the database's tables, or bring them to this version. A hub does it at its start."""
    direct = Direct(data, database_url)
    direct.migrate()
    typer.echo(f"{direct.place} is at this version")


@admin_app.command()
@with_hub
def nodes(
    hub: Hub,
    pool: Annotated[str | None, typer.Option(help="Only this pool.")] = None,
    as_json: AsJson = False,
) -> None:
    """List nodes: what is free, and why one takes no work."""
    tables.tell_nodes(hub.nodes(pool, limit=500), as_json=as_json)


@admin_app.command("forget-identity")
@with_hub
def forget_identity(
    hub: Hub,
    user: Annotated[str, typer.Argument(metavar="USER", help="As the policy has it.")],
    issuer: Annotated[
        str, typer.Option(help="That of one issuer only, by its name in the identity file.")
    ] = "",
) -> None:
    """Forget which subjects of which issuers a user is; end their sessions and personal tokens."""
    path = f"/v1/identities/{quote(user, safe='')}"
    if issuer:
        hub.call("DELETE", f"{path}/{quote(issuer, safe='')}")
        typer.echo(f"{user} is not known by {issuer} any more, and signed out where it was that")
        return
    hub.call("DELETE", path)
    typer.echo(f"{user} is signed out everywhere; the next sign-in as {user} is a new one")


@admin_app.command()
@with_hub
def accounts(hub: Hub, as_json: AsJson = False) -> None:
    """Show the tree of accounts: weights, decayed use, what runs and waits."""
    found = hub.accounts()
    if as_json:
        tables.print_json(found)
    else:
        tables.console_of().print(tables.accounts_table(found))


@admin_app.command()
@with_hub
def jobs(
    hub: Hub,
    limit: Annotated[int, typer.Option(min=1, max=500)] = 50,
    as_json: AsJson = False,
) -> None:
    """List everybody's jobs, newest first (admin scope)."""
    page = hub.jobs(limit=limit)
    if as_json:
        tables.print_json(page)
    else:
        tables.console_of().print(tables.jobs_table(page, tables.local_now(), people=True))


@version_app.command()
def version(as_json: AsJson = False) -> None:
    """Show the version of Commonpool, of Python and of Ray."""
    ray = importlib.metadata.version("ray") if importlib.util.find_spec("ray") else None
    found = Versions(
        commonpool=importlib.metadata.version("commonpool"),
        python=platform.python_version(),
        ray=ray,
    )
    if as_json:
        tables.print_json(found)
    else:
        typer.echo(f"commonpool {found.commonpool}, Python {found.python}, Ray {ray or 'absent'}")


class Versions(BaseModel):
    """What `commonpool version` says."""

    commonpool: str
    python: str
    ray: str | None


def _write_secret(file: Path, secret: str) -> None:
    file.touch(mode=0o600)
    file.chmod(0o600)
    file.write_text(secret + "\n", encoding="utf-8")
