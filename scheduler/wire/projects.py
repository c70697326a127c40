"""Accounts as projects: who leads them, who belongs to them, and until when they are paid for."""

from pydantic import AwareDatetime, Field

from scheduler.core.model import Sector
from scheduler.core.roles import Role
from scheduler.wire.nodes import Message


class Person(Message):
    """Somebody with their roles on one account, given there or above."""

    user: str
    roles: tuple[Role, ...]


class ProjectBudget(Message):
    """A budget of an account, present or to come (R4)."""

    id: str
    h100e_hours: int
    valid_from: AwareDatetime
    valid_to: AwareDatetime


class ProjectView(Message):
    """An account, and who is what on it. Roles that were given above it count here."""

    account: str
    parent: str | None
    institution: str | None
    sector: Sector
    holds_queue: bool = Field(description="Jobs may be submitted to it: it has no account below")
    people: tuple[Person, ...]
    yours: tuple[Role, ...] = ()
    may_ask: bool = Field(description="You may ask for members to be added or removed")
    approvers: tuple[str, ...] = Field(description="Who decides on members, but for who asks")
    budgets: tuple[ProjectBudget, ...] = ()


class ProjectList(Message):
    """Every account that the caller may look into, parents before children."""

    projects: tuple[ProjectView, ...]
