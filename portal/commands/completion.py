"""What the shell completes from the hub: ids and names, quickly or not at all.

A person waits with a finger on Tab, so nobody is asked for longer than a moment, and whatever goes
wrong, no token, no hub, no answer, completes to nothing and prints nothing.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import httpx
import typer

from portal.client.hub import Hub, HubProblem, HubUnreachable
from portal.commands.doors import DEFAULT_DATA, named_hub

_TIMES = httpx.Timeout(0.5, connect=0.3)
_MOST = 100


def job_ids(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete a job's id."""
    return _found(ctx, incomplete, lambda hub: (job.id for job in hub.jobs(limit=_MOST).jobs))


def pool_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete a pool's name."""
    return _found(ctx, incomplete, lambda hub: (pool.pool for pool in hub.pools().pools))


def account_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete an account's name."""
    return _found(ctx, incomplete, lambda hub: (one.account for one in hub.accounts().accounts))


class _Quick(httpx.Client):
    """Gives up in a moment, however long its caller would wait."""

    def send(self, request: httpx.Request, **given: Any) -> httpx.Response:  # noqa: ANN401  # httpx's
        request.extensions = {**request.extensions, "timeout": _TIMES.as_dict()}
        return super().send(request, **given)


def _found(ctx: typer.Context, incomplete: str, names: Callable[[Hub], Iterable[str]]) -> list[str]:
    try:
        with _Quick(trust_env=False) as client:
            hub = named_hub(_given(ctx), client)
            return [name for name in names(hub) if name.startswith(incomplete)]
    except (HubProblem, HubUnreachable, typer.BadParameter, OSError):
        return []


def _given(ctx: typer.Context) -> tuple[str, str, Path | None, str, Path]:
    said = ctx.params
    return (
        said.get("url") or "",
        said.get("token") or "",
        said.get("token_file"),
        said.get("person") or "",
        said.get("data") or DEFAULT_DATA,
    )
