"""What endpoints are handed: the hub's parts, and the caller, checked.

Nothing here is looked up by name or imported as a global: `create_app(hub)` puts the
`HubState` into `app.state`, and `require(...)` is the only door to an endpoint.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

import structlog
from starlette.requests import HTTPConnection

from scheduler.api.auth import (
    Caller,
    caller_of,
    caller_of_personal,
    caller_of_session,
    check_is_known,
    is_known,
    missing_power,
    missing_role,
    secret_of,
    session_ended,
    unauthorized,
    wrong_scope,
)
from scheduler.api.callers import Callers
from scheduler.api.cookies import check_same_origin, session_cookie
from scheduler.api.group_commit import GroupCommit
from scheduler.api.insights import Insights
from scheduler.api.together import Together
from scheduler.clock import Clock
from scheduler.config import HubSettings
from scheduler.core.eta import Eta, Score
from scheduler.core.policy import Policy
from scheduler.core.predict import Predictor
from scheduler.core.roles import Action, Actor, may
from scheduler.core.snapshot import Snapshot
from scheduler.core.whatif import Play
from scheduler.db import personal_tokens, sessions
from scheduler.db.engine import Database
from scheduler.db.policies import PolicyCache
from scheduler.db.sessions import SessionRow
from scheduler.errors import StorageUnavailable
from scheduler.files import FileStore
from scheduler.fleet.launches import Launches
from scheduler.fleet.leases import LeaseBook
from scheduler.fleet.memory import Fleet
from scheduler.identity.desk import Desk
from scheduler.wake import Wake
from scheduler.wire.accounts import Scope
from scheduler.wire.identity import Power

log = structlog.get_logger()

LookedAt = Callable[[], Awaitable[tuple[Policy, Snapshot] | None]]
Foresee = Callable[[str, str, int, str], timedelta | None]


def _all_well() -> str | None:
    return None


async def _not_looked() -> tuple[Policy, Snapshot] | None:
    return None


class PoolSites:
    """Which site each pool belongs to, looked up anew after some seconds.

    Reports ask for it thousands of times a second, and a policy comes into force seldom. While
    the database is away it stays what it was, so that a fleet's reports are heard all the same.
    """

    def __init__(self) -> None:
        self._known: tuple[float, dict[str, str]] | None = None

    async def known(self, hub: "HubState") -> Mapping[str, str]:
        """Return each pool's site.

        Raises:
            Refused: there is no policy yet.
            StorageUnavailable: the database is away, and nothing was known before.
        """
        now = hub.clock.monotonic()
        if self._known is None or now - self._known[0] > _KEEP_SITES_SECONDS:
            found = await self._look(hub)
            self._known = hub.clock.monotonic(), found
        return self._known[1]

    async def _look(self, hub: "HubState") -> dict[str, str]:
        try:
            policy = await hub.policy()
        except StorageUnavailable as error:
            if self._known is None:
                raise
            log.warning("pools_not_read", why=str(error))
            return self._known[1]
        return {str(pool.id): str(pool.site) for pool in policy.pools}


_KEEP_SITES_SECONDS = 2.0


@dataclass(frozen=True)
class HubState:
    """The parts of a hub's process that endpoints use.

    `loops_fault` says why the loops of this process are not alive (None: they are);
    `forecasts` and `etas` are starts by job id, as the loops last forecast them; `run_times`
    and `score` are what those go by and how they did. `predictor` foresees the run time of a
    job from its user, account, GPUs and name; None where it cannot tell. `looked_at` is what the
    last cycle went by. `play` replays a history under a policy; None where the simulator is not
    there. `placing` are the looks at the open runs of each site, for `launches`; whoever
    reads a large batch of reports holds `hearing`.
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
    pool_sites: PoolSites = field(default_factory=PoolSites)
    fleet: Fleet = field(default_factory=lambda: Fleet(fence_seconds=60))
    launches: Launches = field(default_factory=Launches)
    placing: dict[str, Together[None]] = field(default_factory=dict)
    hearing: asyncio.Lock = field(default_factory=asyncio.Lock)
    leases: LeaseBook = field(default_factory=LeaseBook)
    desk: Desk = field(default_factory=Desk)

    @cached_property
    def callers(self) -> Callers:
        """Return the sessions and tokens that were seen lately."""
        return Callers(self.db, self.clock)

    @cached_property
    def submissions(self) -> GroupCommit[Any, Any]:
        """Return the shared commits that submissions go through (see `submit`)."""
        return GroupCommit(self.db)

    async def settle(self) -> None:
        """Finish what requests began and did not wait for; to be called before `db` closes."""
        await self.submissions.settle()
        await self.callers.settle()
        await self._policy.settle()
        for look in self.placing.values():
            await look.settle()

    async def policy(self) -> Policy:
        """Return the policy in force, by one query for all who ask at once."""
        return await self._policy.ask()

    @cached_property
    def _policy(self) -> Together[Policy]:
        return Together(self._policy_in_force)

    async def _policy_in_force(self) -> Policy:
        async with self.db.reading() as conn:
            return await self.policies.current(conn)


def hub_of(conn: HTTPConnection) -> HubState:
    """Return the hub that serves this request or socket."""
    hub: HubState = conn.app.state.hub
    return hub


PASSIVE = "x-cp-passive"
"""The header of a page that looks again by itself: nobody acts, so a session goes on idling."""


async def caller(conn: HTTPConnection) -> Caller:
    """Return whom the request's token or session speaks for, of whatever scope.

    Raises:
        Refused: 401, neither, or one that is not valid; 403, a cookie from a foreign page.
    """
    hub = hub_of(conn)
    secret = secret_of(conn.headers)
    if secret is None:
        secret = session_cookie(conn)
        if secret is None:
            raise unauthorized("The request carries no token and no session.")
        check_same_origin(conn, hub.desk, secret)
    if secret.startswith(sessions.PREFIX):
        return await _session_caller(conn, hub, secret)
    if secret.startswith(personal_tokens.PREFIX):
        row = await hub.callers.personal(secret)
        return caller_of_personal(row, await hub.policy(), hub.clock.now())
    return caller_of(await hub.callers.token(secret), hub.clock.now())


async def _session_caller(conn: HTTPConnection, hub: HubState, secret: str) -> Caller:
    row = await hub.callers.session(secret)
    if row is None:
        raise session_ended("There is no such session.")
    policy = await hub.policy()
    check_is_known(row.user, policy)
    idle, now = idle_limit(hub, policy, row), hub.clock.now()
    if row.revoked_at is not None:
        raise session_ended("This session was ended.")
    if not row.alive(idle, now):
        minutes = int(idle.total_seconds() // 60)
        why = "its time was over" if row.ends_at <= now else f"{minutes} minutes without a click"
        raise session_ended(f"This session has ended: {why}.")
    if PASSIVE not in conn.headers:
        hub.callers.acted(secret, row)
    return caller_of_session(row, policy)


async def alive_session(conn: HTTPConnection) -> SessionRow | None:
    """Return the session of the browser, if it may still be used, by somebody who is known."""
    hub, secret = hub_of(conn), session_cookie(conn)
    row = None if secret is None else await hub.callers.session(secret)
    if row is None:
        return None
    policy = await hub.policy()
    alive = row.alive(idle_limit(hub, policy, row), hub.clock.now())
    return row if alive and is_known(row.user, policy) else None


def idle_limit(hub: HubState, policy: Policy, row: SessionRow) -> timedelta:
    """Return how long somebody may do nothing in a session and stay signed in."""
    times = hub.desk.file.sessions
    operates = may(policy, Actor(row.user, row.institution), Action.OPERATE_NODES)
    return min(times.idle, times.operator_idle) if operates else times.idle


_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def require(
    *scopes: Scope, action: Action | None = None
) -> Callable[[HTTPConnection], Awaitable[Caller]]:
    """Return a dependency that lets in callers of these scopes, and admins.

    With an `action`, people whose roles on the whole hub allow it are let in too.
    """

    async def allowed(conn: HTTPConnection) -> Caller:
        found = await caller(conn)
        if found.scope is Scope.ADMIN:
            return found
        by_role = action is not None and Scope.USER not in scopes
        _check_power(conn, found, by_role=by_role)
        if found.scope in scopes:
            return found
        if action is not None and found.scope is Scope.USER:
            policy = await hub_of(conn).policy()
            if may(policy, found.actor, action):
                return found
            raise missing_role(found, action, policy)
        raise wrong_scope(found, scopes)

    return allowed


_JOBS_PATHS = ("/v1/jobs", "/api/", "/v1/personal-tokens", "/v1/session")
"""Where a personal token for jobs changes something: jobs, packages, and its owner's sign-ins."""


def _check_power(conn: HTTPConnection, found: Caller, *, by_role: bool) -> None:
    """Hold a personal token to its powers; a path that only roles open takes all of them.

    Raises:
        Refused: 403, the token is for less.
    """
    if found.powers is None:
        return
    reads = conn.scope["type"] == "websocket" or conn.scope["method"] in _SAFE
    if by_role or not (reads or conn.scope["path"].startswith(_JOBS_PATHS)):
        needed = Power.MANAGE
    else:
        needed = Power.READ if reads else Power.JOBS
    if max(found.powers, key=_rank.__getitem__) not in _at_least(needed):
        raise missing_power(found, needed)


_rank = {power: place for place, power in enumerate(Power)}


def _at_least(needed: Power) -> frozenset[Power]:
    return frozenset(power for power in Power if _rank[power] >= _rank[needed])


current_user = require(Scope.USER)
"""The dependency of people's endpoints; `Caller.sees` is None for those who see all."""
