"""Requests and the policy's texts at the hub: one method per endpoint."""

from collections.abc import Mapping
from urllib.parse import quote

from portal.client.hub import Hub
from scheduler.wire.policies import PolicyChecked, PolicyRevisions
from scheduler.wire.precedents import Precedents
from scheduler.wire.requests import (
    NewRequest,
    RequestComment,
    RequestDecision,
    RequestEdit,
    RequestImpact,
    RequestPage,
    RequestView,
)

_PATH = "/v1/requests"


class Requests:
    """One person's view of what is asked for."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def create(self, asked: NewRequest) -> RequestView:
        """Ask for something."""
        return self._hub.tell(RequestView, _PATH, asked)

    def page(
        self, asked: Mapping[str, str | None], after: str | None = None, limit: int = 50
    ) -> RequestPage:
        """Return a page of requests, newest first, narrowed by state, kind, who, awaiting."""
        return self._hub.ask(RequestPage, _PATH, {**asked, "after": after, "limit": limit})

    def show(self, name: str) -> RequestView:
        """Return a request with all that is known of it."""
        return self._hub.ask(RequestView, _at(name))

    def impact(self, name: str) -> RequestImpact:
        """Return what the next cycle would do otherwise."""
        return self._hub.ask(RequestImpact, _at(name, "/impact"))

    def precedents(self, name: str) -> Precedents:
        """Return what its requester asked for before, and what was decided on the like of it."""
        return self._hub.ask(Precedents, _at(name, "/precedents"))

    def edit(self, name: str, asked: RequestEdit) -> RequestView:
        """Replace what is asked for; what was approved counts no more."""
        return self._hub.tell(RequestView, _at(name), asked, "PUT")

    def decide(self, name: str, decision: RequestDecision) -> RequestView:
        """Approve or deny."""
        return self._hub.tell(RequestView, _at(name, "/decide"), decision)

    def comment(self, name: str, text: str) -> RequestView:
        """Ask or answer something."""
        return self._hub.tell(RequestView, _at(name, "/comment"), RequestComment(text=text))

    def withdraw(self, name: str, why: str) -> RequestView:
        """Take one's own request back."""
        return self._hub.tell(RequestView, _at(name, "/withdraw"), RequestComment(text=why))

    def send(self, name: str) -> RequestView:
        """Ask a draft's approvers."""
        return self._hub.tell(RequestView, _at(name, "/send"))

    def apply(self, name: str) -> RequestView:
        """Put in force what was approved and did not fit then."""
        return self._hub.tell(RequestView, _at(name, "/apply"))


class PolicyTexts:
    """The policy's revisions, and what is said of a text before it is proposed."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def revisions(self) -> PolicyRevisions:
        """Return the latest revisions, newest first."""
        return self._hub.ask(PolicyRevisions, "/v1/policy/revisions")

    def text(self, revision: int) -> str:
        """Return a revision as it was written."""
        return self._hub.fetch(f"/v1/policy/revisions/{revision}").decode()

    def check(self, document: str) -> PolicyChecked:
        """Return every problem of a text, and what is odd about it."""
        return self._hub.tell_text(PolicyChecked, "/v1/policy/check", document)

    def diff(self, document: str) -> RequestImpact:
        """Return what a text would change for whom."""
        return self._hub.tell_text(RequestImpact, "/v1/policy/diff", document)


def _at(name: str, rest: str = "") -> str:
    return f"{_PATH}/{quote(name, safe='')}{rest}"
