"""The site agent: what the hub wants and what is here, brought together again and again.

Two loops. One talks to the hub: it says what is, at once when that changed, and waits in
a long poll for other orders. One looks at the clock. Both end in `step`, which does what
`reconcile` says. When the agent stops, runs go on; the next one adopts them.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping
from datetime import timedelta
from functools import partial
from secrets import token_hex

import structlog

from agents.config import SiteSettings, TokenUnreadable
from agents.hub import Backoff, Hub, HubAway, HubRefused
from agents.site import processes
from agents.site.backends.base import Backend
from agents.site.carry import Carrier
from agents.site.launched import Launched
from agents.site.reconcile import (
    Action,
    Attend,
    Begin,
    Close,
    Discard,
    End,
    Entomb,
    Forget,
    Renew,
    Signal,
    Site,
    reconcile,
)
from agents.site.records import Ledger, Phase, RecordStore, RunRecord
from scheduler.clock import Clock
from scheduler.core.model import Backend as BackendName
from scheduler.wire.sites import DesiredLease, ObservedRun, SiteOrders, SiteSync

log = structlog.get_logger(__name__)

Work = Coroutine[None, None, None]
_ECHOES = 10_000
_VERSION_SECONDS = 60
_KILL_SECONDS = 15
_SKEW = timedelta(seconds=2)
_ROUNDS = 10
_FAULT_POLLS = 5


class SiteAgent:
    """One site's agent; `run` goes on until it is cancelled."""

    def __init__(
        self,
        settings: SiteSettings,
        hub: Hub,
        store: RecordStore,
        backends: Mapping[BackendName, Backend],
        clock: Clock,
        launched: Launched | None = None,
    ) -> None:
        """Serve a site; `launched` where its node agents start the Ray nodes of runs."""
        self._settings, self._hub, self._store, self._clock = settings, hub, store, clock
        self._launched = launched
        self._carrier = Carrier(settings, hub, store, backends, clock, self._tell)
        self._instance, self._sequence = token_hex(8), 0
        self._orders: dict[str, DesiredLease] | None = None
        self._revision = ""
        self._ray_version: str | None = None
        self._storage = ""  # why records cannot be written
        self._changed, self._wake = asyncio.Event(), asyncio.Event()
        self._attending: dict[str, asyncio.Task[None]] = {}
        self._closing: dict[str, asyncio.Task[None]] = {}
        self._errands: set[asyncio.Task[None]] = set()
        self._forgotten: OrderedDict[str, None] = OrderedDict()

    async def run(self) -> None:
        """Serve the site; when cancelled, leave the runs going."""
        log.info("agent_started", site=self._settings.site, runs=len(self._store.records))
        try:
            async with asyncio.TaskGroup() as loops:
                loops.create_task(self._watch_clock())
                loops.create_task(self._watch_versions())
                loops.create_task(self._talk())
        finally:
            await self._leave()

    async def _leave(self) -> None:
        tasks = [*self._attending.values(), *self._closing.values(), *self._errands]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._carrier.leave()
        log.info("agent_stopped", site=self._settings.site, runs=len(self._store.records))

    def _tell(self) -> None:
        """Note that a record has changed: the hub is told, and deadlines are looked at."""
        self._changed.set()
        self._wake.set()

    async def _watch_clock(self) -> None:
        while True:
            self._wake.clear()
            self.step()
            # Not wait_for: in Python 3.11 it can swallow a cancellation that comes with the wake.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.tick_seconds):
                    await self._wake.wait()

    async def _watch_versions(self) -> None:
        while True:
            version = await self._carrier.version()
            if version is not None and version != self._ray_version:
                self._ray_version = version
                self._changed.set()
            await asyncio.sleep(_VERSION_SECONDS if version else self._settings.poll_seconds)

    async def _talk(self) -> None:
        """Keep the conversation with the hub going, however often it breaks."""
        backoff = Backoff()
        while True:
            try:
                await self._exchange()
                backoff.reset()
            except HubAway as away:
                log.warning("hub_away", why=str(away))
                await backoff.pause()
            except (HubRefused, TokenUnreadable) as refused:
                log.error("hub_refused", why=str(refused))  # noqa: TRY400  # its words say all
                await backoff.pause()

    async def _exchange(self) -> None:
        """Say what is; then wait for orders, unless there is news to say meanwhile.

        Only a poll that carries no news is given up: its orders can wait, and a message
        with news is always answered, or a busy site would never hear any.
        """
        news = self._changed.is_set() or self._orders is None
        self._changed.clear()
        message = self._message(0 if news else None)
        asking = asyncio.create_task(self._hub.sync(self._settings.site, message))
        try:
            if not news:
                changed = asyncio.create_task(self._changed.wait())
                await asyncio.wait({asking, changed}, return_when=asyncio.FIRST_COMPLETED)
                changed.cancel()
                if not asking.done():
                    return
            self._obey(await asking, message.sequence)
        except (HubAway, HubRefused, TokenUnreadable):
            self._changed.set()  # What was said may not have been heard.
            raise
        finally:
            await _ended(asking)

    def _message(self, wait_seconds: float | None) -> SiteSync:
        self._sequence += 1
        return SiteSync(
            instance=self._instance,
            sequence=self._sequence,
            runs=self.observed(),
            ray_version=self._ray_version,
            seen_revision=self._revision,
            wait_seconds=self._settings.wait_seconds if wait_seconds is None else wait_seconds,
            launches=self._launched and self._launched.wanted(self._store.records, self._sequence),
        )

    def observed(self) -> tuple[ObservedRun, ...]:
        """Return every run as the hub is told it."""
        now = self._clock.now()
        return tuple(
            record.observed(now, self._carrier.log_bytes(run))
            for run, record in self._store.records.items()
        )

    def _obey(self, orders: SiteOrders, sequence: int) -> None:
        if abs(orders.server_time - self._clock.now()) > _SKEW:
            log.warning("clock_skewed", hub=orders.server_time, site=self._clock.now())
        self._orders = {lease.run: lease for lease in orders.leases}
        self._revision = orders.revision
        if self._launched is not None:
            self._launched.heard(sequence, orders.launched)
        self.step()

    def step(self) -> None:
        """Do what is to be done now; on a disk that takes no record, nothing is."""
        try:
            for _ in range(_ROUNDS):
                actions = reconcile(self._orders, self._site(), self._clock.now())
                for action in actions:
                    self._do(action)
                if not actions:
                    break
        except OSError as error:
            if self._storage != str(error):  # Once, not at every tick of a full disk.
                log.error("record_not_written", why=str(error))  # noqa: TRY400  # its words say all
            self._storage = str(error)
        else:
            self._storage = ""

    def _site(self) -> Site:
        return Site(
            self._store.records,
            frozenset(self._attending),
            frozenset(self._closing),
            frozenset(self._store.damaged),
            frozenset(self._forgotten),
        )

    def _do(self, action: Action) -> None:  # noqa: C901, PLR0912  # one case per action
        log.debug("action", action=repr(action))
        match action:
            case Begin(lease):
                log.info("run_begun", run_id=lease.run, backend=str(lease.backend))
                self._store.reserve(RunRecord(lease=lease, reserved_at=self._clock.now()))
            case Renew(lease):
                ledger = self._ledger(lease.run)
                ledger.write(lease=ledger.record.renewed(lease))
            case Attend(run):
                self._spawn(self._attending, run, self._carrier.attend)
            case Signal(run):
                self._signal(run)
            case End(run, why):
                self._ledger(run).write(ending=why)
                log.info("run_ending", run_id=run, why=str(why))
                self._changed.set()
            case Close(run):
                self._spawn(self._closing, run, self._closed)
            case Entomb():
                self._entomb(action)
            case Forget(run):
                self._forget(run)
            case Discard(run):
                self._discard(run)

    def _signal(self, run: str) -> None:
        record = self._store.records[run]
        leave_by = record.lease.stop_at
        if leave_by is None:
            leave_by = self._clock.now() + timedelta(seconds=record.lease.grace_seconds)
        reason = record.lease.stop_reason
        self._carrier.signals.ask(run, str(reason or "time_limit"), leave_by)
        self._ledger(run).write(signalled_at=self._clock.now())
        log.info("run_signalled", run_id=run, leave_by=leave_by)
        self._changed.set()

    async def _closed(self, run: str) -> None:
        """Close a run once nobody else works on it."""
        if attending := self._attending.get(run):
            await _ended(attending)
        await self._carrier.close(run)

    def _entomb(self, action: Entomb) -> None:
        now = self._clock.now()
        phase = Phase.FENCED if action.fenced else Phase.ENDED
        record = RunRecord(lease=action.lease, reserved_at=now, ended_at=now, phase=phase)
        told = {"outcome": action.outcome, "message": action.message}
        self._store.save(record.model_copy(update=told))
        self._store.damaged.discard(record.run)
        log.info("run_not_started", run_id=record.run, why=action.message)
        self._changed.set()

    def _forget(self, run: str) -> None:
        record = self._store.records[run]
        self._store.drop(run)
        self._forgotten[run] = None
        while len(self._forgotten) > _ECHOES:
            self._forgotten.popitem(last=False)
        self._errand(run, partial(self._carrier.forget, record))
        self._changed.set()

    def _discard(self, run: str) -> None:
        async def discard() -> None:
            if await processes.end_all(run, None, self._clock, _KILL_SECONDS):
                self._store.drop(run)

        log.error("record_unreadable", run_id=run)
        self._store.damaged.discard(run)
        self._errand(run, discard)

    def _ledger(self, run: str) -> Ledger:
        return Ledger(self._store, run)

    def _spawn(
        self, tasks: dict[str, asyncio.Task[None]], run: str, work: Callable[[str], Work]
    ) -> None:
        task = asyncio.create_task(self._guarded(run, partial(work, run)))
        tasks[run] = task
        task.add_done_callback(lambda done: self._left(tasks, run, done))

    def _left(
        self, tasks: dict[str, asyncio.Task[None]], run: str, task: asyncio.Task[None]
    ) -> None:
        """Take note that a task is over; `reconcile` asks for it again if it should not be."""
        if tasks.get(run) is task:
            del tasks[run]
        self._wake.set()

    async def _guarded(self, run: str, work: Callable[[], Work]) -> None:
        """Do a run's work; after a fault (a full disk, a defect) wait before the next try."""
        try:
            await work()
        except Exception:
            log.exception("task_failed", run_id=run)
            await asyncio.sleep(_FAULT_POLLS * self._settings.poll_seconds)

    def _errand(self, run: str, work: Callable[[], Work]) -> None:
        task = asyncio.create_task(self._guarded(run, work))
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)


async def _ended(task: asyncio.Task[object] | asyncio.Task[None]) -> None:
    """Cancel a task and wait until it has really ended, whatever it raises."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()  # Taken, so that asyncio does not complain that nobody looked.
