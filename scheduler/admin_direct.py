"""The operator's work on a database without a hub: whoever can write its folder is its admin."""

import asyncio
import getpass
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler import policy_file
from scheduler.clock import Clock, SystemClock
from scheduler.config import HubSettings
from scheduler.core.audit import Entry, Head, Who
from scheduler.core.policy import Policy
from scheduler.core.snapshot import Snapshot
from scheduler.db import audit, policies, tokens
from scheduler.db.audit import Wanted
from scheduler.db.audit_reading import lines, verify, view_of
from scheduler.db.engine import Database
from scheduler.db.planning import load_snapshot
from scheduler.db.policy_door import Change, replace_policy
from scheduler.errors import Fault, Refused
from scheduler.policy_text import PolicyProblem, decoded
from scheduler.wire.accounts import PolicyApplied, TokenIssued, TokenList, TokenRequest
from scheduler.wire.audit import AuditPage, AuditVerdict, Checkpoint

Answer = TypeVar("Answer")


class Direct:
    """A hub's database, opened for one command."""

    def __init__(self, data: Path, database_url: str = "", clock: Clock | None = None) -> None:
        """Use the SQLite database in `data`, or the one at `database_url`."""
        self._settings = HubSettings(data=data, database_url=database_url)
        self._clock = clock or SystemClock()

    @property
    def place(self) -> str:
        """Return what a person calls the database; never a URL, which may hold a password."""
        return "PostgreSQL" if self._settings.database_url else str(self._file)

    def must_exist(self) -> None:
        """Refuse to make a database by accident.

        Raises:
            Refused: there is none in the folder.
        """
        if not self._settings.database_url and not self._file.exists():
            raise Refused(
                title="No database",
                detail=f"there is no hub's database at {self._file}",
                status=404,
                next_step="to use a hub, give an admin token (--token-file, or --as admin);"
                " to make a database, commonpool admin migrate --data DIR",
            )

    def migrate(self) -> None:
        """Make the tables, or bring them to this program's version."""
        if not self._settings.database_url:
            self._settings.data.mkdir(parents=True, exist_ok=True)
        self._run(lambda db: db.migrate())

    def apply_policy(self, document: str, reason: str) -> PolicyApplied:
        """Store a policy as the next revision.

        Raises:
            PolicyRefused: it has problems.
            Refused: it leaves out what runs or jobs refer to.
        """
        new = policy_file.load(document, 0)

        async def save(conn: AsyncConnection) -> PolicyApplied:
            change = Change(document, new, _operator(), reason, alone=True)
            replaced = await replace_policy(conn, change, self._clock.now())
            await audit.record(conn, replaced.entries)
            return PolicyApplied(revision=replaced.revision, changed=replaced.changed)

        return self._write(save)

    def policy(self) -> str:
        """Return the policy in force.

        Raises:
            Refused: there is none yet.
        """
        stored = self._write(policies.current_policy)
        if stored is None:
            next_step = "commonpool policy apply FILE"
            raise Refused("No policy", "no policy was applied yet", 404, next_step=next_step)
        return stored.document

    def state(self, policy: Policy) -> Snapshot:
        """Return what the planner would look at now."""
        return self._write(lambda conn: load_snapshot(conn, policy))

    def issue_token(self, request: TokenRequest) -> TokenIssued:
        """Make a token."""

        async def issue(conn: AsyncConnection) -> TokenIssued:
            now = self._clock.now()
            issued = await tokens.issue_token(conn, request, now)
            await audit.record(conn, [tokens.token_entry(issued, _operator(), now)])
            return issued

        return self._write(issue)

    def tokens(self) -> TokenList:
        """Return every token, without secrets."""
        return TokenList(tokens=self._write(tokens.list_tokens))

    def revoke_token(self, token_id: str) -> None:
        """End a token.

        Raises:
            Refused: there is no such token that still works.
        """

        async def revoke(conn: AsyncConnection) -> bool:
            now = self._clock.now()
            if not await tokens.revoke_token(conn, token_id, now):
                return False
            entry = Entry(now, _operator(), "token.revoke", f"token:{token_id}")
            await audit.record(conn, [entry])
            return True

        if not self._write(revoke):
            raise Refused(
                "No such token", f"no working token has the id {token_id}", 404, field="id"
            )

    def audit_page(self, wanted: Wanted, before: int | None, limit: int) -> AuditPage:
        """Return a page of the audit log, newest first; that it was read is in it after."""

        async def read(conn: AsyncConnection) -> AuditPage:
            found = await audit.list_rows(conn, wanted, before, limit + 1)
            await audit.record(conn, [self._read("audit.read")])
            page = found[:limit]
            more = page[-1].sequence if len(found) > limit else None
            return AuditPage(rows=tuple(view_of(row) for row in page), next=more)

        return self._write(read)

    def audit_verdict(self, first: int, last: int | None, known: Head | None) -> AuditVerdict:
        """Follow the audit log's chain; nothing is written, so that a copy can be checked."""
        return self._write(lambda conn: verify(conn, first, last, known))

    def audit_checkpoint(self) -> Checkpoint:
        """Return where the audit log ends now."""
        head = self._write(audit.head_of)
        return Checkpoint(sequence=head.sequence, hash=head.hash, at=self._clock.now())

    def audit_export(self, first: int, last: int | None) -> str:
        """Return rows of the audit log as JSON lines with their seal."""

        async def export(conn: AsyncConnection) -> str:
            text = "".join([piece async for piece in lines(conn, first, last)])
            await audit.record(conn, [self._read("audit.export")])
            return text

        return self._write(export)

    def _read(self, action: str) -> Entry:
        return Entry(self._clock.now(), _operator(), action, "audit")

    def is_there(self) -> bool:
        """Return whether there is a database to look at."""
        return bool(self._settings.database_url) or self._file.exists()

    @property
    def _file(self) -> Path:
        return self._settings.data / "hub.db"

    def _write(self, work: Callable[[AsyncConnection], Awaitable[Answer]]) -> Answer:
        async def inside(db: Database) -> Answer:
            async with db.transaction() as conn:
                return await work(conn)

        self.must_exist()
        return self._run(inside)

    def _run(self, work: Callable[[Database], Awaitable[Answer]]) -> Answer:
        async def opened() -> Answer:
            db = Database(self._settings.sqlalchemy_url)
            try:
                return await work(db)
            finally:
                await db.close()

        return asyncio.run(opened())


def _operator() -> Who:
    """Return who works on the database itself: whoever the machine says runs this command."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container may have users without names
        name = "unknown"
    return Who(f"{name} on the machine", "command")


def read_policy(file: Path) -> str:
    """Return a policy's text once every rule of the file holds.

    Raises:
        Refused: it cannot be read, or each of its problems.
    """
    try:
        document = decoded(file.read_bytes())
    except OSError as error:
        told = f"{file} cannot be read: {error.strerror or error}"
        raise Refused("Policy refused", told, field="FILE", value=str(file)) from error
    if isinstance(document, PolicyProblem):
        raise _refused(file, [document])
    problems = policy_file.check(document)
    if problems:
        raise _refused(file, problems)
    return document


def _refused(file: Path, problems: Sequence[PolicyProblem]) -> Refused:
    count = f"{len(problems)} problems" if len(problems) > 1 else "a problem"
    return Refused(
        title=f"{file} has {count}",
        detail=f"{file} has {count}",
        faults=tuple(Fault(p.field, p.reason, p.line) for p in problems),
        next_step=f"correct it and run commonpool policy check {file}; nothing was changed",
    )
