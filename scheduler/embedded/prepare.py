"""Fills a data folder before the hub starts: tables, the first policy, tokens.

It writes to the database directly, for there is no hub yet; what is there already is
kept, so that a second `up` on the same folder finds its jobs, policy and tokens again.
"""

import asyncio
from pathlib import Path

from scheduler import policy_file
from scheduler.clock import Clock, SystemClock
from scheduler.config import HubSettings
from scheduler.core.audit import Who
from scheduler.core.policy import Policy
from scheduler.db import audit, policies, tokens
from scheduler.db.engine import Database
from scheduler.db.policy_door import Change, replace_policy
from scheduler.embedded.layout import Layout
from scheduler.embedded.trouble import Trouble
from scheduler.wire.accounts import Scope, TokenRequest

# The repository's own copy is the only one; an installed package names a file.
DEMO_POLICY = Path(__file__).parents[2] / "infra" / "policies" / "demo.yaml"
_TOKEN_DAYS = 366
_WHO = Who("commonpool up", "command")


def prepare(layout: Layout, policy: Path | None, clock: Clock | None = None) -> Policy:
    """Bring the folder to the state in which processes can start; return the policy in force.

    `policy` replaces the one in force; None keeps it, or applies the demo's to a new folder.

    Raises:
        Trouble: the policy file cannot be read or is refused.
    """
    return asyncio.run(_prepare(layout, policy, clock or SystemClock()))


async def _prepare(layout: Layout, file: Path | None, clock: Clock) -> Policy:
    db = Database(HubSettings(data=layout.data, database_url="").sqlalchemy_url)
    try:
        await db.migrate()
        policy = await _policy(db, layout, file, clock)
        for name, request in _wanted_tokens(policy):
            await _token(db, layout.tokens / f"{name}.token", request, clock)
    finally:
        await db.close()
    return policy


async def _policy(db: Database, layout: Layout, file: Path | None, clock: Clock) -> Policy:
    async with db.transaction() as conn:
        stored = await policies.current_policy(conn)
        if stored is not None and file is None:
            return policy_file.load(stored.document, stored.revision)
        document = read_policy(file or DEMO_POLICY)
        new = policy_file.load(document, 0)
        change = Change(document, new, _WHO, "the file that `commonpool up` was given")
        replaced = await replace_policy(conn, change, clock.now())
        await audit.record(conn, replaced.entries)
    layout.policy.write_text(document)
    return policy_file.load(document, replaced.revision)


def read_policy(file: Path) -> str:
    """Return a policy file's text once it is known to be a good one.

    Raises:
        Trouble: it cannot be read, or each of its problems with its line.
    """
    try:
        document = file.read_text()
    except OSError as error:
        what = f"the policy {file} cannot be read: {error.strerror}"
        raise Trouble(what, "name a policy with --policy FILE") from error
    problems = policy_file.check(document)
    if problems:
        lines = "\n".join(f"line {p.line}: {p.field}: {p.reason}" for p in problems)
        raise Trouble(f"{file} is not a valid policy", "correct these lines", lines)
    return document


def _wanted_tokens(policy: Policy) -> list[tuple[str, TokenRequest]]:
    """Return a token's file name and request for each door: admin, people, sites, reporters."""

    def request(subject: str, scope: Scope) -> TokenRequest:
        return TokenRequest(subject=subject, scope=scope, expires_in_days=_TOKEN_DAYS)

    wanted = [("admin", request("admin", Scope.ADMIN))]
    wanted += [(user.name, request(user.name, Scope.USER)) for user in policy.users]
    for site in policy.sites:
        wanted.append((f"{site.id}-site", request(site.id, Scope.SITE)))
        wanted.append((f"{site.id}-node", request(site.id, Scope.NODE)))
    wanted.append(("prometheus", request("all-sites", Scope.METRICS)))
    return wanted


async def _token(db: Database, file: Path, request: TokenRequest, clock: Clock) -> None:
    """Keep a token that still works; else issue one, readable by its owner only."""
    now = clock.now()
    async with db.transaction() as conn:
        row = await tokens.find_token(conn, _secret(file), now)
        if row is not None and not row.has_expired(now):
            return
        issued = await tokens.issue_token(conn, request, now)
        await audit.record(conn, [tokens.token_entry(issued, _WHO, now)])
    write_secret(file, issued.token)


def _secret(file: Path) -> str:
    return file.read_text().strip() if file.exists() else ""


def write_secret(file: Path, secret: str) -> None:
    """Write a token that only the file's owner may read, from its first byte on."""
    file.touch(mode=0o600)
    file.chmod(0o600)
    file.write_text(secret + "\n")
