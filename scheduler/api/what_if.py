"""What if the policy had been another one? The hub's own history, played again."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Annotated, assert_never

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from scheduler.api import body, examples_planner
from scheduler.api.auth import Caller
from scheduler.api.deps import hub_of, require
from scheduler.api.openapi import accepts, answers
from scheduler.clock import Clock
from scheduler.core.model import AccountName, AgreementId, PoolId
from scheduler.core.roles import Action
from scheduler.core.whatif import (
    CapChange,
    Change,
    Comparison,
    Fared,
    GpuChange,
    Outcome,
    QuotaChange,
    Unfit,
    WeightChange,
    what_if,
)
from scheduler.db.past import Past, past_window
from scheduler.errors import Fault, Refused
from scheduler.wire.accounts import Scope
from scheduler.wire.what_if import (
    AgreementWish,
    FaredView,
    GpusWish,
    OutcomeView,
    QuotaWish,
    WeightWish,
    WhatIf,
    WhatIfRequest,
    Wish,
)

router = APIRouter(prefix="/v1/what-if", tags=["diagnostics"])

MOST_SECONDS = 300.0
"""A play that takes longer is ended: it has its thread, but the core is everybody's."""


@router.post(
    "",
    response_model=WhatIf,
    openapi_extra=accepts(WhatIfRequest, examples_planner.WHAT_IF_REQUEST),
    responses=answers(examples_planner.WHAT_IF),
)
async def ask_what_if(
    request: Request, _: Annotated[Caller, Depends(require(Scope.ADMIN, action=Action.DIAGNOSE))]
) -> Response:
    """Play the recent past with and without changes; nothing is changed by asking."""
    asked = await body.read(request, WhatIfRequest)
    hub = hub_of(request)
    if hub.play is None:
        raise Refused("No simulator", "This hub has no simulator.", status=503)
    until = (asked.until or hub.clock.now()).astimezone(UTC)
    since = (asked.since or until - timedelta(hours=asked.hours)).astimezone(UTC)
    async with hub.db.reading() as conn:
        policy = await hub.policies.current(conn)
        past = await past_window(conn, since, until, asked.jobs)
    changes = [change_of(wish) for wish in asked.changes]
    async with hub.insights.plays:
        told = _Deadline(hub.clock, len(past.jobs))
        found = await asyncio.to_thread(what_if, policy, changes, past.jobs, hub.play, told)
    if not isinstance(found, Comparison):
        raise refused(found)
    return body.reply(view_of(found, _taken(past, since, until)))


class _Deadline:
    """Ends a play that takes too long."""

    def __init__(self, clock: Clock, jobs: int) -> None:
        self._clock = clock
        self._jobs = jobs
        self._ends = clock.monotonic() + MOST_SECONDS

    def __call__(self, over: int) -> None:
        if self._clock.monotonic() > self._ends:
            raise Refused(
                title="Too long a past",
                detail=f"Playing {_jobs(self._jobs)} twice was ended after {MOST_SECONDS:.0f} s, "
                f"with {over:,} of {2 * self._jobs:,} over; the hub has other work",
                status=503,
                field="jobs",
                next_step="Ask for fewer jobs, or a shorter window; or play recordings yourself.",
            )


def _taken(past: Past, since: datetime, until: datetime) -> str:
    """Say what was taken of the past."""
    window = f"between {since:%Y-%m-%d %H:%M} and {until:%Y-%m-%d %H:%M} UTC"
    if not past.more:
        return f"Taken: {_jobs(len(past.jobs))} that ended {window}, all there were."
    return (
        f"Taken: the latest {_jobs(len(past.jobs))} that ended {window}; earlier ones were "
        "left out (more with jobs, or in another window)."
    )


def _jobs(count: int) -> str:
    return f"{count:,} job" if count == 1 else f"{count:,} jobs"


def refused(unfit: tuple[Unfit, ...]) -> Refused:
    """Return the refusal of changes that make no policy, all reasons at once."""
    faults = tuple(
        Fault("changes" if one.change is None else f"changes.{one.change}", one.reason)
        for one in unfit
    )
    return Refused(
        title="These changes make no policy",
        detail=f"These changes make no policy: {faults[0].reason}",
        field=faults[0].field,
        next_step="Change what contradicts it as well, in the same request.",
        faults=faults if len(faults) > 1 else (),
    )


def change_of(wish: Wish) -> Change:
    """Return what a message asks for as the core's value."""
    match wish:
        case QuotaWish():
            return QuotaChange(
                AccountName(wish.account),
                PoolId(wish.pool),
                wish.nominal,
                wish.lend_max,
                wish.borrow_max,
            )
        case WeightWish():
            return WeightChange(AccountName(wish.account), wish.weight)
        case AgreementWish():
            return CapChange(AgreementId(wish.agreement), wish.cap)
        case GpusWish():
            return GpuChange(PoolId(wish.pool), wish.gpus)
        case _:
            assert_never(wish)


def view_of(found: Comparison, note: str) -> WhatIf:
    """Return a comparison as a message; `note` says what was taken of the past."""
    before, after = _outcome(found.before), _outcome(found.after)
    return WhatIf(jobs=found.jobs, note=note, before=before, after=after)


def _outcome(outcome: Outcome) -> OutcomeView:
    return OutcomeView(
        utilisation=outcome.utilisation,
        total=_fared(outcome.total),
        accounts=tuple(_fared(one) for one in outcome.accounts),
    )


def _fared(one: Fared) -> FaredView:
    return FaredView(
        account=one.account,
        jobs=one.jobs,
        unfinished=one.unfinished,
        mean_wait_seconds=one.mean_wait,
        p95_wait_seconds=one.p95_wait,
        gpu_hours=one.gpu_hours,
        preemptions=one.preemptions,
    )
