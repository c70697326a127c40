"""What was decided before on the like of a request: the nearest first, then the newest.

Near is what the same account asked for, then its institution, then anybody. A draft, and what
still waits, decides nothing and is no precedent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from scheduler.core.approvals import RequestState
from scheduler.core.model import AccountName
from scheduler.core.policy import Policy
from scheduler.core.request_kinds import RequestKind
from scheduler.core.roles import institution

DECIDED = frozenset({RequestState.APPROVED, RequestState.APPLIED, RequestState.DENIED})
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Past:
    """As much of a request as tells how near it is to another."""

    id: str
    kind: RequestKind
    account: AccountName | None
    state: RequestState
    created_at: datetime


def similar(asked: Past, past: Sequence[Past], policy: Policy, most: int = SHOWN) -> list[str]:
    """Return the ids of what was decided on requests of the same kind, the nearest first."""
    home = _home(policy, asked.account)

    def near(one: Past) -> tuple[bool, bool, datetime]:
        same = one.account == asked.account
        sibling = home is not None and _home(policy, one.account) == home
        return same, sibling, one.created_at

    decided = [
        one
        for one in past
        if one.id != asked.id and one.kind is asked.kind and one.state in DECIDED
    ]
    return [one.id for one in sorted(decided, key=near, reverse=True)[:most]]


def _home(policy: Policy, account: AccountName | None) -> AccountName | None:
    return None if account is None else institution(policy, account)


def counted(states: Sequence[RequestState]) -> Mapping[RequestState, int]:
    """Return how many requests stand how; states that none is in are left out."""
    return {state: states.count(state) for state in RequestState if state in states}
