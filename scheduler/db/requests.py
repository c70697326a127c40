"""Requests in SQL: store, find, list; votes, history, and notices, in one transaction each."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Select, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.core.approvals import Request, RequestState, Vote
from scheduler.core.policy import Policy
from scheduler.core.request_kinds import RequestKind
from scheduler.db.engine import insert_into
from scheduler.db.request_tables import notices, request_events, request_votes, requests
from scheduler.policy_change import counts_on
from scheduler.wire.requests import Change

CHANGE: TypeAdapter[Change] = TypeAdapter(Change)


@dataclass(frozen=True, slots=True)
class RequestRow:
    """A request as it is stored, with its votes."""

    sequence: int
    id: str
    kind: RequestKind
    account: str | None
    requester: str
    state: RequestState
    title: str
    change: str
    reason: str
    version: int
    digest: str
    created_at: datetime
    expires_at: datetime
    note: str
    revision: int | None
    votes: tuple[Vote, ...] = ()

    def asked(self) -> Change:
        """Return what is asked for."""
        return CHANGE.validate_json(self.change)

    def under(self, policy: Policy) -> Request:
        """Return it as its rules look at it."""
        return Request(
            id=self.id,
            kind=self.kind,
            requester=self.requester,
            accounts=counts_on(policy, self.asked()),
            state=self.state,
            digest=self.digest,
            expires_at=self.expires_at,
            votes=self.votes,
        )


@dataclass(frozen=True, slots=True)
class Told:
    """A line of a request's history."""

    request_id: str
    at: datetime
    actor: str
    event: str
    text: str


@dataclass(frozen=True, slots=True)
class Notice:
    """What somebody is to be told, by whatever way the hub has."""

    recipient: str
    subject: str
    body: str
    link: str = ""


def digest_of(request_id: str, version: int, change: str, reason: str) -> str:
    """Return what an approval is of: this very text of this very request.

    With the version, so that words on a text do not come back when an edit does.
    """
    return sha256(f"{request_id}\n{version}\n{change}\n{reason}".encode()).hexdigest()


_COLUMNS = tuple(requests.c[name] for name in RequestRow.__slots__ if name != "votes")


async def insert_request(conn: AsyncConnection, row: Mapping[str, Any]) -> None:
    """Store a new request."""
    await conn.execute(insert(requests).values(**row))


async def find_request(
    conn: AsyncConnection, request_id: str, *, lock: bool = False
) -> RequestRow | None:
    """Return a request; `lock` keeps others who would decide waiting until this is committed."""
    query = select(*_COLUMNS).where(requests.c.id == request_id)
    row = (await conn.execute(query.with_for_update() if lock else query)).one_or_none()
    if row is None:
        return None
    (found,) = await _with_votes(conn, [row])
    return found


async def list_requests(
    conn: AsyncConnection,
    *,
    state: RequestState | None,
    kind: RequestKind | None,
    requester: str | None,
    before: int | None,
    limit: int,
) -> list[RequestRow]:
    """Return a page of requests, newest first."""
    query: Select[Any] = select(*_COLUMNS)
    wanted = {"state": state and state.value, "kind": kind and kind.value, "requester": requester}
    for name, value in wanted.items():
        if value is not None:
            query = query.where(requests.c[name] == value)
    if before is not None:
        query = query.where(requests.c.sequence < before)
    rows = (await conn.execute(query.order_by(requests.c.sequence.desc()).limit(limit))).all()
    return await _with_votes(conn, rows)


async def expired_requests(conn: AsyncConnection, now: datetime) -> list[RequestRow]:
    """Return requests that nobody decided on in time, and that do not say so yet."""
    waiting = [RequestState.OPEN.value, RequestState.DRAFT.value]
    query = select(*_COLUMNS).where(requests.c.state.in_(waiting), requests.c.expires_at <= now)
    rows = (await conn.execute(query.order_by(requests.c.sequence).with_for_update())).all()
    return await _with_votes(conn, rows)


async def _with_votes(conn: AsyncConnection, rows: Sequence[Any]) -> list[RequestRow]:
    votes: dict[str, list[Vote]] = {row.id: [] for row in rows}
    query = select(request_votes).where(request_votes.c.request_id.in_(list(votes)))
    if rows:
        for vote in (await conn.execute(query.order_by(request_votes.c.at))).mappings():
            votes[vote["request_id"]].append(
                Vote(
                    vote["by"],
                    vote["approves"],
                    vote["digest"],
                    vote["reason"],
                    vote["at"],
                    vote["institution"],
                )
            )
    return [
        RequestRow(
            **{
                **row._mapping,  # noqa: SLF001  # SQLAlchemy's documented name
                "kind": RequestKind(row.kind),
                "state": RequestState(row.state),
            },
            votes=tuple(votes[row.id]),
        )
        for row in rows
    ]


async def update_request(conn: AsyncConnection, request_id: str, **values: object) -> None:
    """Change what is stored of a request."""
    await conn.execute(update(requests).where(requests.c.id == request_id).values(**values))


async def save_vote(conn: AsyncConnection, request_id: str, vote: Vote) -> None:
    """Store somebody's word on a text; another word of theirs on it takes its place."""
    said = {
        "approves": vote.approves,
        "reason": vote.reason,
        "at": vote.at,
        "institution": vote.institution,
    }
    key = {"request_id": request_id, "digest": vote.digest, "by": vote.by}
    statement = insert_into(conn, request_votes).values(**key, **said)
    await conn.execute(statement.on_conflict_do_update(index_elements=list(key), set_=said))


async def tell(conn: AsyncConnection, told: Told, some: Iterable[Notice] = ()) -> None:
    """Add a line to a request's history, and what people are to be told of it."""
    await conn.execute(
        insert(request_events).values(
            request_id=told.request_id,
            at=told.at,
            actor=told.actor,
            event=told.event,
            text=told.text,
        )
    )
    rows = [
        {
            "at": told.at,
            "next_at": told.at,
            "recipient": notice.recipient,
            "subject": notice.subject[:200],
            "body": notice.body,
            "link": notice.link,
        }
        for notice in some
    ]
    if rows:
        await conn.execute(insert(notices), rows)


async def history_of(conn: AsyncConnection, request_id: str) -> list[Told]:
    """Return what happened to a request, oldest first."""
    query = select(
        request_events.c.request_id,
        request_events.c.at,
        request_events.c.actor,
        request_events.c.event,
        request_events.c.text,
    ).where(request_events.c.request_id == request_id)
    return [Told(*row) for row in await conn.execute(query.order_by(request_events.c.id))]
