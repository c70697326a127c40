"""Several requests decided with one reason: each by itself, each with its own result.

One that is refused takes no other with it. The same word sent twice is one, so whoever is
unsure whether all were decided may decide again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from portal.client.hub import HubProblem, HubUnreachable
from portal.client.requests import Requests
from scheduler.core.approvals import RequestState
from scheduler.wire.requests import RequestDecision, RequestView


@dataclass(frozen=True, slots=True)
class Chosen:
    """A request and the digest of the text that was read."""

    id: str
    title: str
    digest: str


class Decided(BaseModel):
    """What became of one request. `state` is None where its own is not known."""

    model_config = ConfigDict(frozen=True)

    id: str
    title: str
    ok: bool
    said: str
    state: RequestState | None = None
    standing: str = ""
    revision: int | None = None


def decide_each(
    desk: Requests, chosen: Sequence[Chosen], reason: str, *, approve: bool
) -> Iterator[Decided]:
    """Yield what became of each request, in the order in which they were chosen.

    Raises:
        ValidationError: the reason is missing; nothing was decided.
    """
    words = [RequestDecision(approve=approve, digest=one.digest, reason=reason) for one in chosen]
    away: HubUnreachable | None = None
    for one, word in zip(chosen, words, strict=True):
        if away is not None:  # One wait is enough; the rest says that it was not asked.
            yield _not_decided(one, f"Not sent. {away}")
            continue
        try:
            yield _decided(one, desk.decide(one.id, word), approve=approve)
        except HubProblem as problem:
            yield _not_decided(one, problem.sentence())
        except HubUnreachable as error:
            away = error
            yield _not_decided(one, f"It may have been decided or not: decide again. {error}")


def _not_decided(one: Chosen, why: str) -> Decided:
    return Decided(id=one.id, title=one.title, ok=False, said=why)


def _decided(one: Chosen, view: RequestView, *, approve: bool) -> Decided:
    return Decided(
        id=one.id,
        title=view.title,
        ok=True,
        said=outcome(view, approve=approve),
        state=view.state,
        standing=view.standing,
        revision=view.revision,
    )


def outcome(view: RequestView, *, approve: bool) -> str:
    """Return in words what a decision led to: in force, or what it still lacks."""
    match view.state:
        case RequestState.APPLIED if view.revision is None:
            return "Approved, and recorded."
        case RequestState.APPLIED:
            return f"Approved. It is in force as policy revision {view.revision}."
        case RequestState.APPROVED:
            return f"Approved, and not in force: {view.note}"
        case RequestState.OPEN:
            return f"Approved by you. It needs another approver: it has {view.standing}."
        case _:
            return "Denied." if not approve else f"It is {view.state}."
