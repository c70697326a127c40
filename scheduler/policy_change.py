"""What a request would change: in a sentence, in the policy's text, and whose word counts."""

from collections.abc import Sequence
from datetime import UTC, datetime, time
from typing import Any, assert_never

from scheduler.core.approvals import sides
from scheduler.core.model import AccountName, Sector
from scheduler.core.policy import Policy
from scheduler.core.policy_found import ACCOUNT_PEOPLE
from scheduler.core.roles import Role
from scheduler.errors import Refused
from scheduler.policy_edit import Put, edited, rows_of
from scheduler.wire.requests import (
    AgreementChange,
    BudgetChange,
    Change,
    MembershipChange,
    PolicyChange,
    ProjectChange,
    ReservationChange,
    ThresholdChange,
)

_FIELD_OF = dict(zip(Role, ACCOUNT_PEOPLE, strict=True))


def title(change: Change) -> str:  # noqa: PLR0911  # one sentence for each kind
    """Return what is asked for, as the end of "asks for ..."."""
    match change:
        case ProjectChange():
            return f"a new account {change.name} below {change.parent}"
        case BudgetChange():
            ends = f"{change.valid_to:%Y-%m-%d}"
            return f"{change.h100e_hours:,} H100e-hours for {change.account} until {ends}"
        case AgreementChange():
            who = change.borrower_account or f"the {change.borrower_sector} sector"
            pools = ", ".join(change.pools)
            return f"{change.lender} to lend {who} up to {change.cap:,} GPUs of {pools}"
        case ReservationChange():
            nodes = f"{change.node_count} node{'s' * (change.node_count != 1)}"
            when = f"{change.starts_at:%Y-%m-%d %H:%M} to {change.ends_at:%Y-%m-%d %H:%M} UTC"
            return f"{nodes} of {change.pool} for {change.account}, {when}"
        case MembershipChange():
            return f"{_people(change)} on {change.account}"
        case ThresholdChange():
            return f"{change.model_line} of {change.account} to go beyond {change.threshold}"
        case PolicyChange():
            return f"another policy in place of revision {change.base_revision}"
        case _:
            assert_never(change)


def _people(change: MembershipChange) -> str:
    said = [f"{', '.join(change.add)} as {change.role}"] if change.add else []
    said += [f"{', '.join(change.remove)} no longer as {change.role}"] if change.remove else []
    return " and ".join(said) or "nobody"


def account_of(change: Change) -> AccountName | None:
    """Return whom a request is about; None is the whole."""
    match change:
        case ProjectChange():
            return AccountName(change.parent)
        case AgreementChange():
            return AccountName(change.lender)
        case PolicyChange():
            return None
        case _:
            return AccountName(change.account)


def counts_on(policy: Policy, change: Change) -> frozenset[AccountName] | None:
    """Return on which accounts an approver's word counts; None is the institutions' council.

    A threshold of training compute is everybody's matter (R17), as the whole policy is.
    """
    match change:
        case AgreementChange():
            borrower = change.borrower_sector or AccountName(change.borrower_account or "")
            return sides(policy, AccountName(change.lender), borrower)
        case PolicyChange() | ThresholdChange():
            return None
        case _:
            account = account_of(change)
            return frozenset() if account is None else frozenset({account})


def document_after(document: str, policy: Policy, change: Change) -> str:
    """Return the policy's text with what is asked for.

    A crossing is a row of it as soon as the policy has thresholds; before, jobs wait for none.

    Raises:
        Refused: 409, the policy in force no longer fits; it says what is in the way.
    """
    if isinstance(change, ThresholdChange) and not policy.thresholds:
        return document
    if isinstance(change, PolicyChange):
        if change.base_revision != policy.revision:
            raise outdated(change.base_revision, policy.revision)
        return change.document
    return edited(document, _puts(document, policy, change))


def outdated(base: int, now: int) -> Refused:
    """Return the refusal of a text that was written against another revision."""
    return Refused(
        title="The policy changed meanwhile",
        detail=f"this text was written against revision {base}, and revision {now} is in force",
        status=409,
        field="base_revision",
        value=str(base),
        limit=str(now),
        next_step="Take over what changed (commonpool policy show), and propose it again.",
    )


def _puts(  # noqa: PLR0911  # one answer for each kind
    document: str, policy: Policy, change: Change
) -> Sequence[Put]:
    match change:
        case ProjectChange():
            return _project(policy, change)
        case BudgetChange():
            _known(policy, change.account)
            return [Put("budgets", _plain(change), ("id",))]
        case AgreementChange():
            _known(policy, change.lender)
            return [Put("agreements", _agreement(change), ("id",))]
        case ReservationChange():
            _known(policy, change.account)
            return [Put("reservations", _plain(change), ("id",))]
        case MembershipChange():
            return _membership(document, policy, change)
        case ThresholdChange():
            return [_crossing(policy, change)]
        case _:
            return []


def _project(policy: Policy, change: ProjectChange) -> Sequence[Put]:
    parent = policy.account(AccountName(change.parent))
    if parent is None:
        raise _gone(change.parent)
    if policy.account(AccountName(change.name)) is not None:
        raise _misfit("name", change.name, f"there is an account {change.name} already")
    row: dict[str, Any] = {
        "name": change.name,
        "parent": change.parent,
        "sector": (change.sector or parent.sector).value,
    }
    if change.weight != 1:
        row["weight"] = change.weight
    people = {"members": change.members, "leads": change.leads}
    row |= {name: list(some) for name, some in people.items() if some}
    quotas = [
        Put("quotas", {"account": change.name, **_plain(quota)}, ("account", "pool"))
        for quota in change.quotas
    ]
    new = _new_users(policy, (*change.members, *change.leads))
    return [*new, Put("accounts", row, ("name",)), *quotas]


def _membership(document: str, policy: Policy, change: MembershipChange) -> Sequence[Put]:
    _known(policy, change.account)
    row = next(row for row in rows_of(document, "accounts") if row["name"] == change.account)
    field = _FIELD_OF[change.role]
    kept = [name for name in row.get(field, ()) if name not in change.remove]
    people = [*kept, *(name for name in change.add if name not in kept)]
    row = {**row, field: people}
    if not people:
        del row[field]
    return [*_new_users(policy, change.add), Put("accounts", row, ("name",))]


def _crossing(policy: Policy, change: ThresholdChange) -> Put:
    """Return the row by which jobs of the line go on; an earlier one of the same is replaced."""
    _known(policy, change.account)
    names = sorted(row.name for row in policy.thresholds)
    if change.threshold not in names:
        detail = f"no threshold is named '{change.threshold}'; there are {', '.join(names)}"
        raise _misfit("threshold", change.threshold, detail)
    return Put("crossings", _plain(change), ("account", "model_line", "threshold", "job"))


def _new_users(policy: Policy, people: Sequence[str]) -> list[Put]:
    known = {user.name for user in policy.users}
    return [
        Put("users", {"name": name, "labels": ["public"]}, ("name",))
        for name in dict.fromkeys(people)
        if name not in known
    ]


def _agreement(change: AgreementChange) -> dict[str, Any]:
    row = _plain(change)
    account, sector = row.pop("borrower_account", None), row.pop("borrower_sector", None)
    borrower = {"account": account} if account else {"sector": sector}
    return {"id": row.pop("id"), "lender": row.pop("lender"), "borrower": borrower, **row}


def _plain(change: Any) -> dict[str, Any]:  # noqa: ANN401  # any of the messages above
    """Return a message as a policy's row: without what was left out."""
    return {
        name: _value(value)
        for name, value in change
        if name != "kind" and value is not None and value != ()
    }


def _value(value: object) -> object:
    match value:
        case datetime():
            at = value.astimezone(UTC)
            return f"{at:%Y-%m-%d}" if at.time() == time() else f"{at:%Y-%m-%dT%H:%M:%SZ}"
        case Sector():
            return value.value
        case tuple():
            return list(value)
        case _:
            return value


def _known(policy: Policy, account: str) -> None:
    if policy.account(AccountName(account)) is None:
        raise _gone(account)


def _gone(account: str) -> Refused:
    return _misfit("account", account, f"the policy in force has no account {account}")


def _misfit(field: str, value: str, detail: str) -> Refused:
    return Refused(
        title="It does not fit the policy in force",
        detail=detail,
        status=409,
        field=field,
        value=value,
        next_step="Edit the request, or withdraw it.",
    )
