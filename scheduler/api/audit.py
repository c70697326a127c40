"""The audit log: read it, follow its chain, take it away. Each reading is in the log itself."""

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from scheduler.api import body
from scheduler.api import examples_audit as examples
from scheduler.api.audited import who
from scheduler.api.auth import Caller
from scheduler.api.deps import HubState, hub_of, require
from scheduler.api.openapi import answers
from scheduler.core.audit import Entry, Head
from scheduler.core.roles import Action
from scheduler.db import audit
from scheduler.db.audit_counts import count_rows
from scheduler.db.audit_reading import lines, verify, view_of
from scheduler.errors import Refused
from scheduler.wire.accounts import Scope
from scheduler.wire.audit import AuditCount, AuditCounts, AuditPage, AuditVerdict, Checkpoint
from scheduler.wire.nodes import Instant

router = APIRouter(prefix="/v1/audit", tags=["audit"])

_NUMBER = 2**53
_MOST_DAYS = timedelta(days=92)


Reader = Annotated[Caller, Depends(require(Scope.ADMIN, action=Action.READ_AUDIT))]


def _written(value: object) -> object:
    """Refuse numbers: pydantic would take them for seconds since 1970."""
    if isinstance(value, str) and not _INSTANT.fullmatch(value):
        raise ValueError("an instant with its offset, such as 2026-03-02T12:00:00Z")
    return value


_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:\d\d)")
WrittenInstant = Annotated[Instant, BeforeValidator(_written)]


class _Narrowing(BaseModel):
    """Which rows; a parameter that is not here is refused, not ignored."""

    model_config = ConfigDict(extra="forbid")

    actor: str | None = Field(
        default=None, max_length=120, description="Did it, or it was done for", examples=["ops"]
    )
    action: str | None = Field(
        default=None, max_length=64, description="`node.` is all that begin so", examples=["node."]
    )
    object: str | None = Field(default=None, max_length=200, examples=["job:jq4k2mzx7wab"])
    decision: str | None = Field(default=None, max_length=64)
    since: WrittenInstant | None = None
    until: WrittenInstant | None = None

    def wanted(self) -> audit.Wanted:
        """Return the same for the database."""
        return audit.Wanted(
            self.actor, self.action, self.object, self.decision, self.since, self.until
        )


class CountQuery(_Narrowing):
    """Which rows to count."""

    days: int = Field(
        default=14, ge=1, le=92, description="Back from `until`, where `since` is not said"
    )


class AuditQuery(_Narrowing):
    """Which rows to list."""

    before: int | None = Field(
        default=None, ge=1, le=_NUMBER, description="The `next` of the page before"
    )
    limit: int = Field(default=50, ge=1, le=500)


class PartQuery(BaseModel):
    """Which rows, by number; without any, all."""

    model_config = ConfigDict(extra="forbid")

    first: int = Field(default=1, ge=1, le=_NUMBER)
    last: int | None = Field(default=None, ge=1, le=_NUMBER)


class VerifyQuery(PartQuery):
    """Which part to follow, and a checkpoint that was kept elsewhere."""

    sequence: int | None = Field(default=None, ge=0, le=_NUMBER, description="The checkpoint's")
    hash: str | None = Field(default=None, pattern="^[0-9a-f]{64}$", description="The checkpoint's")


@router.get("", response_model=AuditPage, responses=answers(examples.AUDIT_PAGE))
async def audit_rows(
    request: Request, caller: Reader, query: Annotated[AuditQuery, Query()]
) -> Response:
    """List what was done, newest first: by whom, for whom, why, and what changed."""
    hub = hub_of(request)
    async with hub.db.reading() as conn:
        found = await audit.list_rows(conn, query.wanted(), query.before, query.limit + 1)
    await _note(hub, caller, "audit.read", query)
    page = found[: query.limit]
    more = page[-1].sequence if len(found) > query.limit else None
    return body.reply(AuditPage(rows=tuple(view_of(row) for row in page), next=more))


@router.get("/counts", response_model=AuditCounts, responses=answers(examples.AUDIT_COUNTS))
async def audit_counts(
    request: Request, caller: Reader, query: Annotated[CountQuery, Query()]
) -> Response:
    """Count what was done by day and action, over 92 days at most."""
    hub = hub_of(request)
    until = query.until or hub.clock.now()
    since = query.since or until - timedelta(days=query.days)
    if until - since > _MOST_DAYS:
        raise Refused(
            title="Too many days",
            detail=f"{(until - since).days} days are more than can be counted at once.",
            field="since",
            value=since.isoformat(),
            limit=f"{_MOST_DAYS.days} days",
            next_step="Ask for fewer days, or for one part after the other.",
        )
    wanted = replace(query.wanted(), since=since)
    async with hub.db.reading() as conn:
        found = await count_rows(conn, wanted)
    await _note(hub, caller, "audit.count", query)
    counts = tuple(AuditCount(day=c.day, action=c.action, count=c.count) for c in found)
    return body.reply(AuditCounts(since=since, until=until, counts=counts))


@router.get("/checkpoint", response_model=Checkpoint, responses=answers(examples.CHECKPOINT))
async def audit_checkpoint(request: Request, caller: Reader) -> Response:
    """Say where the chain ends now: to be kept elsewhere, and verified against later."""
    del caller  # It tells nothing of what was done, so it is no reading.
    hub = hub_of(request)
    async with hub.db.reading() as conn:
        head = await audit.head_of(conn)
    return body.reply(Checkpoint(sequence=head.sequence, hash=head.hash, at=hub.clock.now()))


@router.get("/verify", response_model=AuditVerdict, responses=answers(examples.AUDIT_VERDICT))
async def audit_verify(
    request: Request, caller: Reader, query: Annotated[VerifyQuery, Query()]
) -> Response:
    """Follow the chain: name the first row that was changed, taken out or moved, if any."""
    if (query.sequence is None) != (query.hash is None):
        raise Refused(
            title="Half a checkpoint",
            detail="A checkpoint is a row's number and its hash",
            field="hash" if query.hash is None else "sequence",
            next_step="Send sequence and hash, or neither.",
        )
    known = None if query.sequence is None else Head(query.sequence, query.hash or "")
    hub = hub_of(request)
    async with hub.db.reading() as conn:
        verdict = await verify(conn, query.first, query.last, known)
    await _note(hub, caller, "audit.verify", query)
    return body.reply(verdict)


_LINES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A line of JSON per row, and a seal over them all",
        "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
    }
}


@router.get("/export", response_class=StreamingResponse, responses=_LINES)
async def audit_export(
    request: Request, caller: Reader, query: Annotated[PartQuery, Query()]
) -> Response:
    """Return rows as JSON lines that end with a seal; `commonpool audit verify --file` checks."""
    hub = hub_of(request)
    await _note(hub, caller, "audit.export", query)
    return StreamingResponse(_exported(hub, query), media_type="application/x-ndjson")


async def _exported(hub: HubState, query: PartQuery) -> AsyncIterator[str]:
    async with hub.db.reading() as conn:
        async for text in lines(conn, query.first, query.last):
            yield text


async def _note(hub: HubState, caller: Caller, action: str, query: BaseModel) -> None:
    now: datetime = hub.clock.now()
    asked = query.model_dump(mode="json", exclude_defaults=True)
    async with hub.db.transaction() as conn:
        await audit.record(conn, [Entry(now, who(caller), action, "audit", after=asked)])
