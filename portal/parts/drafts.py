"""Drafts of pages, kept by the hub: convenience, so a hub that is away takes nothing else along."""

from typing import Any

from portal.client.hub import Hub, HubProblem, HubUnreachable
from scheduler.wire.drafts import Draft, DraftRequest


def load(hub: Hub, page: str) -> Draft | None:
    """Return the person's draft of a page, where there is one and the hub answers."""
    try:
        return hub.exchange(Draft, "GET", f"/v1/drafts/{page}")
    except (HubProblem, HubUnreachable):
        return None


def kept(hub: Hub, page: str, content: dict[str, Any]) -> bool:
    """Keep a draft; return whether the hub took it."""
    message = DraftRequest(content=content).model_dump(mode="json")
    try:
        hub.exchange(Draft, "PUT", f"/v1/drafts/{page}", json=message)
    except (HubProblem, HubUnreachable):
        return False
    return True


def discard(hub: Hub, page: str) -> bool:
    """Throw a draft away; return whether the hub did."""
    try:
        hub.call("DELETE", f"/v1/drafts/{page}")
    except (HubProblem, HubUnreachable):
        return False
    return True
