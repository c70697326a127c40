"""What a person sees first, at the hub."""

from portal.client.hub import Hub
from scheduler.wire.overview import Overview


def overview(hub: Hub, jobs: int) -> Overview:
    """Return who looks, their newest jobs, what waits for them, and what quotas have left."""
    return hub.ask(Overview, "/v1/overview", {"jobs": jobs})
