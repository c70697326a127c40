"""`commonpool node-agent --gateway`: gather a site's reports, and deliver them together.

A batch costs the hub a tenth of what its reports would cost one by one. Agents speak to
the gateway as they would to the hub, with the token of their site, which is the gateway's
too. While the hub is away their reports wait here, and not in their thousands at its door.
"""

import asyncio
import contextlib
import hmac
import signal
from collections.abc import Sequence
from secrets import SystemRandom
from typing import Protocol

import msgspec
import structlog

from agents.config import GatewaySettings, TokenUnreadable
from agents.hub import Backoff, HttpHub, HubAway, HubRefused
from agents.node.gateway_leases import GatewayLeases
from agents.node.http_door import Answer, Asked, Door
from agents.node.spool import Spool
from scheduler.clock import Clock, SystemClock
from scheduler.wire import reports as wire
from scheduler.wire.nodes import NodeRefused, NodeReportReply
from scheduler.wire.reports import NodeReport

log = structlog.get_logger(__name__)

PATHS = frozenset({"/v1/nodes/report", "/v1/nodes/reports"})
_EVERY_SECONDS = 5.0
_BATCH = 200
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_TOO_LARGE = 413
_LAST_SECONDS = 3.0


class Site(Protocol):
    """Where batches go; the tests have one without a network."""

    async def report_site(self, reports: Sequence[NodeReport]) -> NodeReportReply:
        """Deliver what a site's nodes said; what is refused is named in the reply."""
        ...

    async def report(self, reports: Sequence[NodeReport]) -> NodeReportReply:
        """Deliver what one node said, and return what the hub answers to it."""
        ...


class Token(Protocol):
    """Reads the token of the site anew: its file may be replaced."""

    def __call__(self) -> str:
        """Return it, or raise `TokenUnreadable`."""
        ...


class Gateway:
    """Takes reports from agents, and delivers them."""

    def __init__(
        self, hub: Site, token: Token, spool: Spool | None = None, clock: Clock | None = None
    ) -> None:
        """Deliver to `hub`; let in whoever has the same token."""
        self._hub, self._token = hub, token
        self._clock = SystemClock() if clock is None else clock
        self._leases = GatewayLeases(self._clock.monotonic)
        self.spool = Spool() if spool is None else spool
        self._refused: dict[str, NodeRefused] = {}
        self._notes: list[str] = []
        self._next_seconds = 15.0
        self._batch = _BATCH
        self._random = SystemRandom()

    async def take(self, asked: Asked) -> Answer:
        """Answer an agent: its reports are kept, or why not."""
        if asked.path.partition("?")[0] not in PATHS:
            return _problem(404, "Not found", "A gateway takes reports at /v1/nodes/report.")
        if asked.method != "POST":
            return _problem(405, "Method not allowed", "Reports are sent with POST.")
        return await self._taken(asked)

    async def _taken(self, asked: Asked) -> Answer:
        try:
            if not _is_let_in(asked, self._token()):
                return _problem(401, "Not authenticated", "This gateway has another token.")
            found = wire.decode(asked.body).reports
        except TokenUnreadable as error:
            return _problem(503, "No token", str(error))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return _problem(422, "Not valid", _invalid(str(error)))
        if any(report.launcher is not None for report in found):
            return await self._pass_on(found)
        return self._keep(found)

    async def _pass_on(self, found: Sequence[NodeReport]) -> Answer:
        """Let an agent that launches runs speak with the hub itself.

        Its orders are the answer to this very report, and it ends what it is not granted anew:
        a report that waited here would be answered too late.
        """
        try:
            reply = await self._hub.report(found)
        except HubAway as away:
            return _problem(503, "Hub away", f"The hub does not answer this gateway: {away}")
        except HubRefused as refused:
            return _problem(refused.status, "Refused by the hub", refused.detail)
        except TokenUnreadable as error:
            return _problem(503, "No token", str(error))
        return Answer(200, reply.model_dump_json().encode())

    def _keep(self, found: Sequence[NodeReport]) -> Answer:
        kept = [report for report in found if self.spool.offer(report)]
        if len(kept) < len(found):
            return _problem(507, "Full", "This gateway has as many nodes as it can hold.")
        refused = [self._refused.pop(r.node) for r in found if r.node in self._refused]
        leases, seconds_old = self._leases.told(found)
        reply = NodeReportReply(
            accepted=len(kept),
            next_report_seconds=self._next_seconds,
            refused=tuple(refused),
            leases=leases,
            leases_seconds_old=seconds_old,
        )
        return Answer(200, reply.model_dump_json().encode())

    async def deliver_forever(self) -> None:
        """Deliver what waits, every few seconds, as long as the hub takes it."""
        backoff = Backoff(_FIRST_PAUSE, _LONGEST_PAUSE)
        while True:
            try:
                await self.deliver_all()
                backoff.reset()
                # Gateways of many sites that began together drift apart.
                await asyncio.sleep(_EVERY_SECONDS * self._random.uniform(0.8, 1.2))
            except HubAway as away:
                log.warning("hub_away", why=str(away), waiting=len(self.spool))
                await backoff.pause()
            except (HubRefused, TokenUnreadable) as refused:
                if isinstance(refused, HubRefused) and refused.status == _TOO_LARGE:
                    self._batch = max(1, self._batch // 2)
                log.error("reports_refused", why=str(refused))  # noqa: TRY400  # its words say all
                await backoff.pause()

    async def deliver(self) -> int:
        """Deliver one batch; return how many reports were in it.

        Raises:
            HubAway: try again; nothing is lost here.
            HubRefused: someone must look.
        """
        batch = self.spool.batch(self._batch)
        if not batch:
            return 0
        asked_at = self._clock.monotonic()
        reply = await self._hub.report_site(batch)
        self.spool.delivered(batch)
        self._leases.heard(batch, reply, asked_at)
        self._next_seconds = reply.next_report_seconds
        for refused in reply.refused:
            self._refused[refused.node] = refused
            log.warning("report_refused", node=refused.node, why=refused.detail)
        for note in reply.notes:
            log.warning("hub_notes", note=note)
        return len(batch)

    async def deliver_all(self) -> None:
        """Deliver all that waits now; as `deliver`."""
        more = 1
        while more:
            more = await self.deliver()


async def gather_until_told(settings: GatewaySettings) -> None:
    """Gather and deliver until SIGTERM or Ctrl-C; then deliver what waits, if the hub is there.

    Raises:
        OSError: the address is taken, or not of this machine.
    """
    hub = HttpHub(settings.hub, settings.token_file)
    gateway = Gateway(hub, settings.token)
    door = Door(gateway.take)
    host, port = settings.address
    log.info("gateway_listens", host=host, port=await door.listen(host, port))
    delivering = asyncio.create_task(gateway.deliver_forever())
    for what in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(what, delivering.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await delivering
    await door.close()
    with contextlib.suppress(HubAway, HubRefused, TokenUnreadable, TimeoutError):
        async with asyncio.timeout(_LAST_SECONDS):
            await gateway.deliver_all()
    await hub.close()


def _invalid(said: str) -> str:
    """Return why a message cannot be read; one with an unknown field is of a newer agent."""
    newer = "the agent is newer than this gateway: upgrade the hub, then gateways, then agents"
    return f"{said}; {newer}" if "unknown field" in said else said


def _is_let_in(asked: Asked, token: str) -> bool:
    scheme, _, given = asked.headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(
        given.strip().encode(), token.encode()
    )


def _problem(status: int, title: str, detail: str) -> Answer:
    document = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return Answer(status, msgspec.json.encode(document))
