"""Drafts: what a person has begun to fill in on a page, kept until it is sent or thrown away."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.db.draft_tables import drafts
from scheduler.db.engine import insert_into
from scheduler.errors import Refused

MOST_OF_A_PERSON = 50


@dataclass(frozen=True, slots=True)
class DraftRow:
    """A page's draft, as JSON text."""

    page: str
    content: str
    updated_at: datetime


async def keep_draft(conn: AsyncConnection, user: str, draft: DraftRow) -> None:
    """Keep a draft in place of the page's earlier one.

    Raises:
        Refused: 409, the person has too many on other pages.
    """
    others = select(func.count()).where(drafts.c.user == user, drafts.c.page != draft.page)
    count = (await conn.execute(others)).scalar_one()
    if count >= MOST_OF_A_PERSON:
        raise Refused(
            title="Too many drafts",
            detail=f"You have {count} drafts on other pages already.",
            status=409,
            field="page",
            value=draft.page,
            limit=f"{MOST_OF_A_PERSON} drafts of a person",
            next_step="Delete one that is no longer wanted: DELETE /v1/drafts/{page}.",
        )
    row = {"content": draft.content, "updated_at": draft.updated_at}
    statement = insert_into(conn, drafts).values(user=user, page=draft.page, **row)
    await conn.execute(statement.on_conflict_do_update(index_elements=["user", "page"], set_=row))


async def find_draft(conn: AsyncConnection, user: str, page: str) -> DraftRow | None:
    """Return a person's draft of a page, where there is one."""
    query = select(drafts).where(drafts.c.user == user, drafts.c.page == page)
    row = (await conn.execute(query)).one_or_none()
    return None if row is None else DraftRow(row.page, row.content, row.updated_at)


async def drop_draft(conn: AsyncConnection, user: str, page: str) -> None:
    """Throw a draft away; one that is not there is thrown away already."""
    await conn.execute(delete(drafts).where(drafts.c.user == user, drafts.c.page == page))
