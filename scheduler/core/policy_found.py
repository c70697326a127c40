"""A problem of a policy: where it stands and what is wrong, and what every check looks at."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from scheduler.core.model import Account, AccountName

LONGEST = timedelta(days=3660)
"""No duration of a policy is longer: ten years, far beyond any campaign."""

ACCOUNT_PEOPLE = ("members", "leads", "approvers", "operators", "auditors")
"""The fields of an account that name people; `roles.py` says what each may do."""

Path = tuple[str | int, ...]


class Found(NamedTuple):
    """A problem: where it stands, and what is wrong with it."""

    path: Path
    reason: str


def ancestors(accounts: Mapping[AccountName, Account], name: AccountName) -> list[AccountName]:
    """Return the account and all above it, upwards; stops where the tree is broken."""
    chain: list[AccountName] = []
    at: AccountName | None = name
    while at is not None and at in accounts and at not in chain:
        chain.append(at)
        at = accounts[at].parent
    return chain


def not_backwards(
    path: Path, start: tuple[str, datetime], end: tuple[str, datetime]
) -> Iterator[Found]:
    """Find a period, its two fields by name, that ends before it begins, or as it does."""
    if end[1] <= start[1]:
        told = f"{end[1].isoformat()} is not after {start[0]} {start[1].isoformat()}"
        yield Found((*path, end[0]), told)


def not_too_long(path: Path, value: timedelta) -> Iterator[Found]:
    """Find a duration that nobody can have meant."""
    if value > LONGEST:
        yield Found(path, f"longer than {LONGEST.days} days")
