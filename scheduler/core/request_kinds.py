"""What may be asked for, and how many must agree: a part of the policy."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class RequestKind(StrEnum):
    """What somebody asks for that others decide on."""

    PROJECT = "project"  # a new account
    BUDGET = "budget"
    AGREEMENT = "agreement"
    RESERVATION = "reservation"
    MEMBERSHIP = "membership"
    THRESHOLD = "threshold"  # runs of a model line beyond a threshold of FLOP (R17)
    POLICY = "policy"  # any change, as the whole text


@dataclass(frozen=True, slots=True)
class ApprovalRule:
    """How many approvers a kind of request needs, from how many institutions, and for how long.

    A request that nobody decided on within `expires` is over.
    """

    kind: RequestKind
    approvers: int = 1
    institutions: int = 1
    expires: timedelta = timedelta(days=14)

    @property
    def name(self) -> str:
        """Return what the rule is called where rows of a policy are compared."""
        return self.kind.value


_TWO = {RequestKind.AGREEMENT, RequestKind.THRESHOLD}


def rule_for(rules: Iterable[ApprovalRule], kind: RequestKind) -> ApprovalRule:
    """Return a kind's rule: the policy's, else the default.

    By default agreements and threshold crossings (R17) need two approvers from different
    institutions, and all others one: with who asks, two people.
    """
    for rule in rules:
        if rule.kind is kind:
            return rule
    two = 1 + (kind in _TWO)
    return ApprovalRule(kind, approvers=two, institutions=two)
