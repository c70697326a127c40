"""Drafts of pages, each person's own: they survive a closed tab, a restart, another replica."""

import json
from typing import Annotated

from fastapi import APIRouter, Depends, Path
from starlette.requests import Request
from starlette.responses import Response

from scheduler.api import body, examples_dry_run
from scheduler.api.auth import Caller
from scheduler.api.deps import current_user, hub_of
from scheduler.api.openapi import accepts, answers
from scheduler.db.drafts import DraftRow, drop_draft, find_draft, keep_draft
from scheduler.errors import Refused
from scheduler.wire.drafts import MOST_BYTES, Draft, DraftRequest

router = APIRouter(prefix="/v1/drafts", tags=["drafts"])
User = Annotated[Caller, Depends(current_user)]
Page = Annotated[
    str, Path(pattern=r"^[a-z][a-z0-9_-]{0,62}$", description="The page", examples=["submit"])
]


@router.put(
    "/{page}",
    response_model=Draft,
    openapi_extra=accepts(DraftRequest, examples_dry_run.DRAFT_REQUEST),
    responses=answers(examples_dry_run.DRAFT),
)
async def put_draft(page: Page, request: Request, user: User) -> Response:
    """Keep a draft in place of the page's earlier one."""
    asked = await body.read(request, DraftRequest)
    content = json.dumps(asked.content, ensure_ascii=False)
    size = len(content.encode())
    if size > MOST_BYTES:
        raise Refused(
            title="Too large",
            detail=f"The draft has {size:,} bytes.",
            status=413,
            field="content",
            limit=f"{MOST_BYTES:,} bytes",
            next_step="Keep files and results elsewhere; a draft is what was filled in.",
        )
    hub = hub_of(request)
    row = DraftRow(page, content, hub.clock.now())
    async with hub.db.transaction() as conn:
        await keep_draft(conn, user.subject, row)
    return body.reply(_view(row))


@router.get("/{page}", response_model=Draft, responses=answers(examples_dry_run.DRAFT))
async def get_draft(page: Page, request: Request, user: User) -> Response:
    """Return the caller's draft of a page."""
    async with hub_of(request).db.reading() as conn:
        found = await find_draft(conn, user.subject, page)
    if found is None:
        raise Refused(
            title="Not found",
            detail="You have no draft of that page.",
            status=404,
            field="page",
            value=page,
            next_step="There is nothing to take up: begin anew.",
        )
    return body.reply(_view(found))


@router.delete("/{page}", status_code=204, responses={204: {"description": "There is none now"}})
async def delete_draft(page: Page, request: Request, user: User) -> Response:
    """Throw a draft away. Twice is once."""
    async with hub_of(request).db.transaction() as conn:
        await drop_draft(conn, user.subject, page)
    return Response(status_code=204)


def _view(row: DraftRow) -> Draft:
    return Draft(page=row.page, content=json.loads(row.content), updated_at=row.updated_at)
