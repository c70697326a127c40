"""Look at the policy's texts: earlier revisions, a check, and what another would change."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Path
from starlette.requests import Request
from starlette.responses import Response

from scheduler import policy_file
from scheduler.api import body
from scheduler.api import examples_requests as examples
from scheduler.api.auth import Caller
from scheduler.api.deps import current_user, hub_of
from scheduler.api.openapi import accepts_media, answers
from scheduler.api.policy import DOCUMENT, YAML, document_of
from scheduler.api.request_views import impact
from scheduler.core.request_kinds import RequestKind
from scheduler.db.policies import policy_texts, revisions
from scheduler.errors import Refused
from scheduler.policy_text import PolicyProblem
from scheduler.wire.policies import PolicyChecked, PolicyFault, PolicyRevision, PolicyRevisions
from scheduler.wire.requests import PolicyChange, RequestImpact

router = APIRouter(prefix="/v1/policy", tags=["policy"])
User = Annotated[Caller, Depends(current_user)]
_MOST = 200


@router.get(
    "/revisions", response_model=PolicyRevisions, responses=answers(examples.POLICY_REVISIONS)
)
async def policy_revisions(request: Request, _: User) -> Response:
    """List the policy's revisions, newest first."""
    async with hub_of(request).db.reading() as conn:
        found = await revisions(conn, _MOST)
    return body.reply(
        PolicyRevisions(
            revisions=tuple(
                PolicyRevision(
                    revision=row.revision,
                    applied_at=row.applied_at,
                    applied_by=row.applied_by,
                    sha256=row.sha256,
                    lines=row.document.count("\n"),
                )
                for row in found
            )
        )
    )


@router.get(
    "/revisions/{revision}",
    response_class=Response,
    responses={200: {"content": {YAML: {"schema": DOCUMENT, "example": examples.POLICY_TEXT}}}},
)
async def policy_revision(
    request: Request,
    _: User,
    revision: Annotated[int, Path(ge=1, le=2**31 - 1, examples=[1])],
) -> Response:
    """Return a revision of the policy, as it was written."""
    async with hub_of(request).db.reading() as conn:
        text = (await policy_texts(conn, [revision])).get(revision)
    if text is None:
        raise Refused(
            title="Not found",
            detail=f"The policy has no revision {revision}.",
            status=404,
            field="revision",
            value=str(revision),
            next_step="GET /v1/policy/revisions lists them.",
        )
    return Response(text, media_type=YAML, headers={"ETag": f'"{revision}"'})


@router.post(
    "/check",
    response_model=PolicyChecked,
    openapi_extra=accepts_media(YAML, DOCUMENT, examples.POLICY_TEXT),
    responses=answers(examples.POLICY_CHECKED),
)
async def check_policy(request: Request, _: User) -> Response:
    """Check a text: every problem and every oddity, with line and field. Nothing is changed."""
    text = await document_of(request)
    now = hub_of(request).clock.now()
    problems = await asyncio.to_thread(policy_file.check, text)
    odd = () if problems else await asyncio.to_thread(policy_file.warnings, text, now)
    return body.reply(
        PolicyChecked(
            problems=tuple(map(_fault, problems[:_MOST])), warnings=tuple(map(_fault, odd[:_MOST]))
        )
    )


@router.post(
    "/diff",
    response_model=RequestImpact,
    openapi_extra=accepts_media(YAML, DOCUMENT, examples.POLICY_TEXT),
    responses=answers(examples.REQUEST_IMPACT),
)
async def diff_policy(request: Request, caller: User) -> Response:
    """Say what a text would change for whom, by planning the present under both."""
    text = await document_of(request)
    hub = hub_of(request)
    base = (await hub.policy()).revision
    change = PolicyChange(kind=RequestKind.POLICY, base_revision=base, document=text)
    return body.reply(await impact(hub, change, caller))


def _fault(problem: PolicyProblem) -> PolicyFault:
    return PolicyFault(line=problem.line, field=problem.field, reason=problem.reason)
