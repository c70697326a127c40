"""Other people's jobs by a role on their account: who leads it sees them, and may end them.

Only Commonpool's own API looks here. Ray's keeps to one's own jobs, for its tools list and stop
without asking whose a job is, and so does submitting a job again, which takes its files along.
"""

from scheduler.api.auth import Caller
from scheduler.core.model import AccountName
from scheduler.core.policy import Policy
from scheduler.core.policy_found import ancestors
from scheduler.core.roles import Action, accounts_for
from scheduler.errors import Refused
from scheduler.wire.accounts import Scope


def led(policy: Policy, caller: Caller, action: Action) -> frozenset[AccountName]:
    """Return the accounts on which a caller's roles allow an action.

    A personal token without the power `manage` has no role, and a session that is for one
    institution has none in another.
    """
    if caller.scope is not Scope.USER or not caller.manages:
        return frozenset()
    return accounts_for(policy, caller.actor, action)


def below(policy: Policy, account: str, among: frozenset[AccountName]) -> frozenset[AccountName]:
    """Return those of some accounts that are an account or lie below it."""
    accounts = {known.name: known for known in policy.accounts}
    return frozenset(name for name in among if account in ancestors(accounts, name))


def leads_nothing(caller: Caller) -> Refused:
    """Return the refusal of a list of accounts' jobs to somebody who leads no account."""
    return Refused(
        title="Not allowed",
        detail=f"{caller.subject} has no role that sees other people's jobs on any account.",
        status=403,
        field="scope",
        value="accounts",
        limit="lead, operator or auditor of an account",
        next_step="Leave scope out for your own jobs, or ask a lead for the role: "
        "`commonpool request create membership`.",
    )


def needs_reason() -> Refused:
    """Return the refusal of ending somebody else's job without saying why."""
    return Refused(
        title="Not valid",
        detail="whose job it is reads why you end it, and so may auditors",
        field="reason",
        limit="1 to 500 characters",
        next_step="Say why: --reason, or ?reason= over HTTP.",
    )
