"""The policy: read it as it was written, replace it whole or not at all."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from scheduler import policy_file
from scheduler.api import body, examples
from scheduler.api.audited import who
from scheduler.api.auth import Caller
from scheduler.api.deps import current_user, hub_of, require
from scheduler.api.openapi import accepts_media, answers
from scheduler.core.roles import Action
from scheduler.db import audit
from scheduler.db.policies import current_policy
from scheduler.db.policy_door import Change, replace_policy
from scheduler.errors import Fault, Refused
from scheduler.wire.accounts import PolicyApplied, Scope

router = APIRouter(prefix="/v1/policy", tags=["policy"])

YAML = "text/yaml"
DOCUMENT = {"description": "YAML by scheduler/policy.schema.json (docs/policy.md)"}
_TAKEN = frozenset({YAML, "application/yaml", "application/x-yaml", "text/plain"})


@router.get(
    "",
    response_class=Response,
    responses={
        200: {"content": {YAML: {"schema": DOCUMENT, "example": examples.POLICY}}},
    },
)
async def policy(request: Request, _: Annotated[Caller, Depends(current_user)]) -> Response:
    """Return the policy in force, as it was written; its revision is in `ETag`."""
    async with hub_of(request).db.reading() as conn:
        stored = await current_policy(conn)
    if stored is None:
        raise Refused(
            title="No policy yet",
            detail="This hub has no policy, so it knows no accounts and no pools.",
            status=404,
            next_step="An admin loads one with `commonpool policy apply FILE`.",
        )
    return Response(stored.document, media_type=YAML, headers={"ETag": f'"{stored.revision}"'})


@router.put(
    "",
    response_model=PolicyApplied,
    openapi_extra=accepts_media(YAML, DOCUMENT, examples.POLICY),
    responses=answers(examples.POLICY_APPLIED),
)
async def apply_policy(
    request: Request,
    caller: Annotated[Caller, Depends(require(Scope.ADMIN, action=Action.APPLY_POLICY))],
    reason: Annotated[
        str,
        Query(max_length=500, description="Why, where a policy is in force already"),
    ] = "",
) -> Response:
    """Replace the policy, alone: the way around two people, so it says why.

    A document with any fault leaves the old one in force.
    """
    text = await document_of(request)
    try:
        # Parsing holds the interpreter for as long as the file is large.
        new = await asyncio.to_thread(policy_file.load, text, 0)
    except policy_file.PolicyRefused as error:
        raise _faulty(error) from None
    hub = hub_of(request)
    async with hub.db.transaction() as conn:
        change = Change(text, new, who(caller), reason, alone=True)
        replaced = await replace_policy(conn, change, hub.clock.now())
        await audit.record(conn, replaced.entries)
    if replaced.changed:
        hub.wake.ring("cycle")
        hub.wake.ring("idle")
    return body.reply(PolicyApplied(revision=replaced.revision, changed=replaced.changed))


async def document_of(request: Request) -> str:
    """Return the YAML of a request's body.

    Raises:
        Refused: it is of another media type, or no text.
    """
    given = request.headers.get("content-type", "")
    if given.partition(";")[0].strip().lower() not in _TAKEN:
        raise body.unsupported_media(YAML, given)
    try:
        text = (await request.body()).decode()
    except UnicodeDecodeError as error:
        raise Refused(
            title="Policy refused",
            detail=f"The document is not UTF-8: byte {error.start}.",
            field="body",
            next_step="Save it as UTF-8.",
        ) from None
    if "\x00" in text:
        raise Refused(
            title="Policy refused",
            detail="The document holds NUL, which is not a character.",
            field="body",
            next_step="Remove it.",
        )
    return text


def _faulty(error: policy_file.PolicyRefused) -> Refused:
    first = error.problems[0]
    count = len(error.problems)
    return Refused(
        title="Policy refused",
        detail=f"{first}" if count == 1 else f"{count} problems; the first: {first}",
        field=first.field or None,
        next_step="Correct every problem that is listed; the old policy stays in force.",
        faults=tuple(Fault(p.field, p.reason, p.line) for p in error.problems),
    )
