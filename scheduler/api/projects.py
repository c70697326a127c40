"""Projects and their members, as the policy in force has them.

Membership is a part of the policy: it changes by a request, which is audited and in force with
its last approval (`/v1/requests`, kind `membership`). Who is what is no secret, for the
policy is everybody's to read: so somebody who belongs to nothing finds whom to ask.
"""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from scheduler.api import body
from scheduler.api import examples_projects as examples
from scheduler.api.auth import Caller
from scheduler.api.deps import current_user, hub_of
from scheduler.api.openapi import answers
from scheduler.core.approvals import may_ask
from scheduler.core.model import Account
from scheduler.core.policy import Policy
from scheduler.core.request_kinds import RequestKind
from scheduler.core.roles import Actor, Role, holders, institution, roles_on
from scheduler.wire.projects import Person, ProjectBudget, ProjectList, ProjectView

router = APIRouter(prefix="/v1", tags=["accounts"])


@router.get("/projects", response_model=ProjectList, responses=answers(examples.PROJECT_LIST))
async def projects(request: Request, caller: Annotated[Caller, Depends(current_user)]) -> Response:
    """List accounts with who leads them, their members, who decides on those, and budgets."""
    hub = hub_of(request)
    async with hub.db.reading() as conn:
        policy = await hub.policies.current(conn)
    now = hub.clock.now()
    found = tuple(_view(policy, row, caller.actor, now) for row in policy.accounts)
    return body.reply(ProjectList(projects=found))


def _view(policy: Policy, row: Account, actor: Actor, now: datetime) -> ProjectView:
    held = {role: holders(policy, role, row.name) for role in Role}
    people = sorted(frozenset[str]().union(*held.values()))
    mine = roles_on(policy, actor, row.name)
    return ProjectView(
        account=row.name,
        parent=row.parent,
        institution=institution(policy, row.name),
        sector=row.sector,
        holds_queue=all(other.parent != row.name for other in policy.accounts),
        people=tuple(
            Person(user=name, roles=tuple(role for role in Role if name in held[role]))
            for name in people
        ),
        yours=tuple(role for role in Role if role in mine),
        may_ask=may_ask(policy, actor, RequestKind.MEMBERSHIP, row.name),
        approvers=tuple(sorted(held[Role.APPROVER])),
        budgets=tuple(
            ProjectBudget(
                id=budget.id,
                h100e_hours=budget.h100e_hours,
                valid_from=budget.valid_from,
                valid_to=budget.valid_to,
            )
            for budget in policy.budgets
            if budget.account == row.name and budget.valid_to > now
        ),
    )
