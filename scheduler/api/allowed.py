"""What somebody's roles allow on an account; whoever is kept out is told by which and by whom."""

from scheduler.api.auth import Caller
from scheduler.core.model import AccountName
from scheduler.core.policy import Policy
from scheduler.core.roles import ALLOWED, Action, Role, holders, may, root
from scheduler.errors import Refused
from scheduler.wire.accounts import Scope


def allows(policy: Policy, caller: Caller, action: Action, account: str | None = None) -> bool:
    """Return whether a caller may act on an account (None: the whole hub); admins may."""
    if caller.scope is Scope.ADMIN:
        return True
    at = None if account is None else AccountName(account)
    return may(policy, caller.subject, action, at)


def refuse_unless(
    policy: Policy, caller: Caller, action: Action, account: str | None = None
) -> None:
    """Let a caller act on an account, or say which role that needs and who has it.

    Raises:
        Refused: 403.
    """
    if allows(policy, caller, action, account):
        return
    at = root(policy) if account is None else AccountName(account)
    roles = sorted(ALLOWED[action])
    words = " or ".join(roles) or "admin"
    raise Refused(
        title="Not allowed",
        detail=f"{caller.subject} may not {action.value.replace('_', ' ')} on {at}",
        status=403,
        field="role",
        value=caller.subject,
        limit=f"the role {words} there or above",
        next_step=_ask(policy, at, roles),
    )


def _ask(policy: Policy, at: AccountName | None, roles: list[Role]) -> str:
    people = sorted({name for role in roles for name in (holders(policy, role, at) if at else ())})
    has = f"Who may: {', '.join(people[:5])}" if people else "Nobody may yet"
    return f"{has}. Roles are given by policy: ask for one with a request for members."
