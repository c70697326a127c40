"""Projects at the hub, and asking for another member."""

from portal.client.hub import Hub
from portal.client.requests import Requests
from scheduler.core.request_kinds import RequestKind
from scheduler.core.roles import Role
from scheduler.wire.projects import ProjectList
from scheduler.wire.requests import MembershipChange, NewRequest, RequestView


def projects(hub: Hub) -> ProjectList:
    """Return every account with its people."""
    return hub.ask(ProjectList, "/v1/projects", {})


def change_member(hub: Hub, change: MembershipChange, reason: str) -> RequestView:
    """Ask for people to get or lose a role; the hub tells the approvers."""
    return Requests(hub).create(NewRequest(change=change, reason=reason))


def membership(account: str, role: Role, add: str = "", remove: str = "") -> MembershipChange:
    """Return the change that gives or takes a role.

    Raises:
        ValidationError: a name is none.
    """
    return MembershipChange.model_validate(
        {
            "kind": RequestKind.MEMBERSHIP,
            "account": account,
            "role": role,
            "add": (add,) if add else (),
            "remove": (remove,) if remove else (),
        }
    )
