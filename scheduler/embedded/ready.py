"""When a part is ready: real conditions, asked of the part itself, never a pause."""

import httpx

from scheduler.embedded.layout import Layout

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
    response = _get(f"{hub}/v1/nodes?limit=1000", {"Authorization": f"Bearer {token}"})
    if response is None:
        return 0
    return sum(bool(node["usable"]) for node in response.json()["nodes"])


def agents_connected(hub: str, layout: Layout, sites: tuple[str, ...]) -> bool:
    """Return whether every site's agent has spoken with the hub that runs now."""
    response = _get(f"{hub}/metrics", {"Authorization": f"Bearer {layout.token('admin')}"})
    return response is not None and all(f'site="{site}"' in response.text for site in sites)


def _get(url: str, headers: dict[str, str]) -> httpx.Response | None:
    try:
        with httpx.Client(trust_env=False, timeout=_ANSWER_SECONDS) as client:
            response = client.get(url, headers=headers)
    except httpx.HTTPError:
        return None
    return response if response.is_success else None
