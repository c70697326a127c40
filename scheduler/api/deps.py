"""What endpoints are handed: the hub's parts, and the caller, checked.

Nothing here is looked up by name or imported as a global: `create_app(hub)` puts the
`HubState` into `app.state`, and `require(...)` is the only door to an endpoint.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from starlette.requests import HTTPConnection

from scheduler.api.auth import Caller, TokenCache, caller_of, secret_of, unauthorized, wrong_scope
from scheduler.api.group_commit import GroupCommit
from scheduler.api.insights import Insights
from scheduler.clock import Clock
from scheduler.config import HubSettings
from scheduler.core.eta import Eta, Score
from scheduler.core.policy import Policy
from scheduler.core.predict import Predictor
from scheduler.core.snapshot import Snapshot
from scheduler.core.whatif import Play
from scheduler.db.engine import Database
from scheduler.db.policies import PolicyCache
from scheduler.files import FileStore
from scheduler.fleet.launches import Launches
from scheduler.fleet.leases import LeaseBook
from scheduler.fleet.memory import Fleet
from scheduler.wake import Wake
from scheduler.wire.accounts import Scope

LookedAt = Callable[[], Awaitable[tuple[Policy, Snapshot] | None]]
Foresee = Callable[[str, str, int, str], timedelta | None]


def _all_well() -> str | None:
    return None


async def _not_looked() -> tuple[Policy, Snapshot] | None:
    return None


class PoolSites:
    """Which site each pool belongs to, looked up anew after some seconds.

    Reports ask for it thousands of times a second, and a policy comes into force seldom.
    """

    def __init__(self) -> None:
        self._known: tuple[float, dict[str, str]] | None = None

    async def known(self, hub: "HubState") -> Mapping[str, str]:
        """Return each pool's site."""
        now = hub.clock.monotonic()
        if self._known is None or now - self._known[0] > _KEEP_SITES_SECONDS:
            policy = await hub.policy()
            self._known = now, {str(pool.id): str(pool.site) for pool in policy.pools}
        return self._known[1]


_KEEP_SITES_SECONDS = 2.0


@dataclass(frozen=True)
class HubState:
    """The parts of a hub's process that endpoints use.

    `loops_fault` says why the loops of this process are not alive (None: they are);
    `forecasts` and `etas` are starts by job id, as the loops last forecast them; `run_times`
    and `score` are what those go by and how they did. `predictor` foresees the run time of a
    job from its user, account, GPUs and name; None where it cannot tell. `looked_at` is what the
    last cycle went by. `play` replays a history under a policy; None where the simulator is not
    there.
    """

    db: Database
    files: FileStore
    wake: Wake
    clock: Clock
    settings: HubSettings
    policies: PolicyCache
    loops_fault: Callable[[], str | None] = _all_well
    forecasts: Mapping[str, datetime] = field(default_factory=dict)
    etas: Mapping[str, Eta] = field(default_factory=dict)
    looked_at: LookedAt = _not_looked
    run_times: Predictor = field(default_factory=Predictor)
    score: Score = field(default_factory=Score)
    play: Play | None = None
    insights: Insights = field(default_factory=Insights)
    predictor: Foresee | None = None
    tokens: TokenCache = field(default_factory=TokenCache)
    pool_sites: PoolSites = field(default_factory=PoolSites)
    fleet: Fleet = field(default_factory=lambda: Fleet(fence_seconds=60))
    launches: Launches = field(default_factory=Launches)
    leases: LeaseBook = field(default_factory=LeaseBook)

    @cached_property
    def submissions(self) -> GroupCommit[Any, Any]:
        """Return the shared commits that submissions go through (see `submit`)."""
        return GroupCommit(self.db)

    async def settle(self) -> None:
        """Finish what requests began and did not wait for; to be called before `db` closes."""
        await self.submissions.settle()
        await self.tokens.settle()

    async def policy(self) -> Policy:
        """Return the policy in force."""
        async with self.db.reading() as conn:
            return await self.policies.current(conn)


def hub_of(conn: HTTPConnection) -> HubState:
    """Return the hub that serves this request or socket."""
    hub: HubState = conn.app.state.hub
    return hub


async def caller(conn: HTTPConnection) -> Caller:
    """Return whom the request's token speaks for, of whatever scope.

    Raises:
        Refused: 401, no token or one that is not valid.
    """
    hub = hub_of(conn)
    secret = secret_of(conn.headers)
    if secret is None:
        raise unauthorized("The request carries no token.")
    row = await hub.tokens.find(hub.db, hub.clock, secret)
    return caller_of(row, hub.clock.now())


def require(*scopes: Scope) -> Callable[[HTTPConnection], Awaitable[Caller]]:
    """Return a dependency that lets in callers of these scopes, and admins."""

    async def allowed(conn: HTTPConnection) -> Caller:
        found = await caller(conn)
        if found.scope not in scopes and found.scope is not Scope.ADMIN:
            raise wrong_scope(found, scopes)
        return found

    return allowed


current_user = require(Scope.USER)
"""The dependency of people's endpoints; `Caller.sees` is None for admins, who see all."""
