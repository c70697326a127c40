"""When a part is ready: real conditions, asked of the part itself, never a pause."""

import asyncio
from datetime import datetime

import httpx

from scheduler.config import HubSettings
from scheduler.db.engine import Database
from scheduler.db.sites import sites_heard
from scheduler.embedded.layout import Layout
from scheduler.errors import StorageUnavailable

_ANSWER_SECONDS = 3.0


def answers(url: str) -> bool:
    """Return whether a GET of `url` is answered with success."""
    return _get(url, {}) is not None


def ray_is_alive(head: str) -> bool:
    """Return whether a Ray head has a living node: only then does it take jobs."""
    response = _get(f"{head}/nodes?view=summary", {})
    return response is not None and '"state": "ALIVE"' in response.text


def usable_nodes(hub: str, token: str) -> int:
    """Return how many nodes report and may take work; 0 while the hub is away."""
    response = _get(f"{hub}/v1/nodes?limit=500", {"Authorization": f"Bearer {token}"})
    if response is None:
        return 0
    return sum(bool(node["usable"]) for node in response.json()["nodes"])


def agents_connected(layout: Layout, sites: tuple[str, ...], since: datetime) -> bool:
    """Return whether every site's agent has spoken with the hub since an instant."""
    return asyncio.run(_heard(layout, since)) >= frozenset(sites)


async def _heard(layout: Layout, since: datetime) -> frozenset[str]:
    db = Database(HubSettings(data=layout.data, database_url="").sqlalchemy_url)
    try:
        async with db.reading() as conn:
            return await sites_heard(conn, since)
    except StorageUnavailable:
        return frozenset()  # the hub writes just now: the next look will tell
    finally:
        await db.close()


def _get(url: str, headers: dict[str, str]) -> httpx.Response | None:
    try:
        with httpx.Client(trust_env=False, timeout=_ANSWER_SECONDS) as client:
            response = client.get(url, headers=headers)
    except httpx.HTTPError:
        return None
    return response if response.is_success else None
