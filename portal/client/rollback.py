"""An earlier revision of the policy proposed anew: what it would change, and the request for it.

It goes the way of every proposal: a second person approves it, and it comes into force as a new
revision. No revision is taken out of the history.
"""

import difflib
from dataclasses import dataclass

from portal.client.requests import PolicyTexts
from scheduler.core.request_kinds import RequestKind
from scheduler.wire.requests import NewRequest, PolicyChange


class NothingToRollBack(ValueError):  # noqa: N818  # a state, told by its name
    """The earlier revision says what is in force already."""


@dataclass(frozen=True, slots=True)
class Rollback:
    """An earlier revision's text, and the one in force that it would take the place of."""

    revision: int
    text: str
    base: int
    in_force: str

    def difference(self) -> str:
        """Return what would change, as a unified difference."""
        names = (f"revision {self.base}, in force", f"revision {self.revision}, again")
        return difference(self.in_force, self.text, names)

    @property
    def change(self) -> PolicyChange:
        """Return what is proposed."""
        return PolicyChange(kind=RequestKind.POLICY, base_revision=self.base, document=self.text)

    @property
    def because(self) -> str:
        """Return how the reason begins, so that approvers see which revision it is."""
        return f"Back to revision {self.revision}: "

    def request(self, why: str) -> NewRequest:
        """Return the proposal.

        Raises:
            ValidationError: the reason is missing.
        """
        return NewRequest(change=self.change, reason=f"{self.because}{why}" if why.strip() else "")


def rollback_to(texts: PolicyTexts, revision: int) -> Rollback:
    """Return how to go back to a revision.

    Raises:
        NothingToRollBack: it says what is in force.
    """
    base = texts.revisions().revisions[0].revision
    found = Rollback(revision, texts.text(revision), base, texts.text(base))
    if found.text == found.in_force:
        raise NothingToRollBack(
            f"revision {revision} says what revision {base}, in force, says: nothing would change"
        )
    return found


def difference(old: str, new: str, names: tuple[str, str]) -> str:
    """Return what differs between two texts, as a unified difference; empty where nothing does."""
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), *names, lineterm="", n=2)
    return "\n".join(lines)
