"""Looks at every GPU once a second in a thread of its own, and never lets a driver stop the rest.

A driver call can hang for ever and then cannot be ended, so whoever wants to know something
reads what the thread left behind: `view` never waits for it. A look that takes too long is a
state, «stuck», seen from outside by the clock.
"""

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from agents.node.inventory import settled
from agents.node.kernel_log import Place, place
from agents.node.nvml import Events
from agents.node.refusals import Declined, DriverAway, DriverReplaced, GpuAway
from agents.node.samples import (
    Driver,
    Fault,
    Gpu,
    GpuSample,
    NodeView,
    Statistic,
    Xid,
)
from agents.node.session import Session
from agents.node.windows import Windows
from scheduler.clock import Clock
from scheduler.wire.reports import SamplerState


@dataclass(frozen=True, slots=True)
class Pace:
    """How often, in seconds."""

    interval: float = 1
    """Between looks."""
    condition: float = 15
    """Between looks at what changes seldom."""
    stuck_after: float = 10
    """A look that takes longer is stuck."""
    reopen: float = 60
    """Between new sessions while a GPU is away: only a new one lists it again."""
    relist: float = 3600
    """Between new sessions while all is well: only a new one lists a GPU that was added."""
    longest_pause: float = 15
    """Between tries while there is no driver."""
    xid_wait: float = 2
    """Of one wait for XIDs, and so of an end: a wait cannot be broken off."""

    @property
    def fresh(self) -> float:
        """How old a sample may be before it counts as missing."""
        return max(5.0, 3 * self.interval)


@dataclass(slots=True)
class _Left:
    """What the thread left behind; under the lock."""

    state: SamplerState = SamplerState.STARTING
    detail: str = ""
    driver: Driver | None = None
    gpus: tuple[Gpu, ...] = ()
    samples: Mapping[str, GpuSample] = field(default_factory=dict)
    taken_at: float = 0
    unreadable: int = 0
    errors: Mapping[tuple[str, str], int] = field(default_factory=dict)
    xids: Counter[tuple[str, int]] = field(default_factory=Counter)
    logged_xids: Counter[tuple[str, int]] = field(default_factory=Counter)
    last_xids: dict[str, int] = field(default_factory=dict)
    passes: int = 0
    pass_seconds: float | None = None
    news: int = 0
    """How often something changed that is told at once: a state, a fault, an XID."""


class Sampler:
    """The thread that looks, and what it saw."""

    def __init__(
        self,
        clock: Clock,
        pace: Pace,
        known: Sequence[Gpu] = (),
        keep: Callable[[Sequence[Gpu]], None] | None = None,
        session: Session | None = None,
    ) -> None:
        """Begin with the GPUs that were `known` before; `keep` is told when there are others."""
        self._clock, self._pace, self._keep = clock, pace, keep
        self._session = session or Session()
        self._left = _Left(gpus=tuple(known))
        self._windows = Windows()
        self._lock = threading.Lock()
        self.stirred = threading.Event()
        """Set when `news` are others because of what was seen; by the clock they change without."""
        self.moved = threading.Event()
        """Set when other processes are on a GPU than at the look before."""
        self._told = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self._busy_since: float | None = None
        self._at = ""
        self._watch: XidWatch | None = None

    def start(self) -> None:
        """Begin to look."""
        self._busy_since = self._clock.monotonic()
        self._thread.start()

    def stop(self, seconds: float) -> bool:
        """End the session with the driver; return whether it ended within `seconds`."""
        self._told.set()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def news(self) -> tuple[SamplerState, int]:
        """Return what is another if a view would tell something new; it costs next to nothing."""
        return self._state(self._clock.monotonic()), self._left.news

    def _state(self, now: float) -> SamplerState:
        state, busy = self._left.state, self._busy_since
        if self._thread.ident is not None and not self._thread.is_alive():
            replaced = state is SamplerState.DRIVER_REPLACED
            return state if replaced else SamplerState.ENDED
        stuck = busy is not None and now - busy > self._pace.stuck_after
        return SamplerState.STUCK if stuck else state

    def view(self) -> NodeView:
        """Return what is known now, whatever the driver does."""
        now, doing = self._clock.monotonic(), self._session.doing
        with self._lock:
            left = self._left
            state, detail = self._state(now), left.detail
            if state is SamplerState.STUCK:
                # No seconds: words that change with each report would each time be news.
                detail = f"{doing or 'a look'} {self._at} does not come back"
            fresh = now - left.taken_at <= self._pace.fresh
            return NodeView(
                state=state,
                detail=detail,
                driver=left.driver,
                gpus=left.gpus,
                samples=left.samples if fresh else {},
                unreadable=left.unreadable,
                xids=left.xids | left.logged_xids,
                last_xids=dict(left.last_xids),
                hears_xids=self._watch is not None and self._watch.hears,
                errors=left.errors,
                passes=left.passes,
                pass_seconds=left.pass_seconds,
            )

    def windows(self) -> Mapping[str, Mapping[str, Statistic]]:
        """Return each GPU's counters since the last call, by UUID and counter."""
        with self._lock:
            return self._windows.take()

    def heard_by_the_kernel(self, where: Place, number: int) -> None:
        """Take an XID of the kernel log: it counts if the driver does not announce as many."""
        with self._lock:
            for gpu in self._left.gpus:
                if place(gpu.bus_id) == where:
                    self._stir()
                    self._left.logged_xids[gpu.uuid, number] += 1
                    self._left.last_xids[gpu.uuid] = number

    def _run(self) -> None:
        pause = self._pace.interval
        while not self._told.is_set():
            passes = self._left.passes
            try:
                self._look_until_told(*self._begin())
            except DriverReplaced as why:
                self._note(SamplerState.DRIVER_REPLACED, str(why))
                break
            except (DriverAway, Declined, GpuAway) as why:
                self._note(SamplerState.NO_DRIVER, str(why))
            finally:
                self._finish()
            if self._left.state is not SamplerState.OK:
                pause = self._pace.interval if self._left.passes > passes else 2 * pause
                self._rest(min(pause, self._pace.longest_pause))
        self._busy_since = None

    def _begin(self) -> tuple[tuple[str, ...], tuple[Gpu, ...]]:
        """Open a session; return the UUIDs to look at, and the GPUs that should be there too."""
        found = self._session.open()
        gpus = settled(self._left.gpus, found.gpus)
        self._session.place(gpus)
        if gpus != self._left.gpus and self._keep is not None:
            self._keep(gpus)
        with self._lock:
            self._left.driver, self._left.gpus = found.driver, gpus
            self._left.unreadable = found.unreadable
        self._watch = XidWatch.over(self._session, self._heard, self._pace.xid_wait)
        listed = {gpu.uuid for gpu in found.gpus}
        here = tuple(gpu.uuid for gpu in gpus if gpu.uuid in listed)
        return here, tuple(gpu for gpu in gpus if gpu.uuid not in listed)

    def _look_until_told(self, here: Sequence[str], missing: Sequence[Gpu]) -> None:
        """Look again and again, until told to end or it is time for a new session."""
        opened = due = self._clock.monotonic()
        renew_at = opened
        while not self._told.is_set():
            began = self._clock.monotonic()
            self._look(here, missing, condition=began >= renew_at)
            if began >= renew_at:
                renew_at = began + self._pace.condition
            away = self._left.unreadable or any(s.fault for s in self._left.samples.values())
            if began - opened >= (self._pace.reopen if away else self._pace.relist):
                return
            now = self._clock.monotonic()
            due = max(due + self._pace.interval, now)  # A late look is not made up for.
            self._rest(due - now)

    def _look(self, here: Sequence[str], missing: Sequence[Gpu], *, condition: bool) -> None:
        began = self._clock.monotonic()
        samples = {gpu.uuid: GpuSample(gpu, Fault.MISSING) for gpu in missing}
        for uuid in here:
            self._at = uuid
            samples[uuid] = self._session.sample(uuid, condition=condition)
        self._at = ""
        now = self._clock.monotonic()
        with self._lock:
            left = self._left
            self._compare(left.samples, samples)
            left.state, left.detail = SamplerState.OK, ""
            left.samples, left.taken_at = samples, now
            left.errors = dict(self._session.errors)
            left.passes, left.pass_seconds = left.passes + 1, now - began
            for uuid in here:
                self._windows.add(samples[uuid])

    def _compare(self, before: Mapping[str, GpuSample], now: Mapping[str, GpuSample]) -> None:
        """Wake those who wait for a GPU to answer otherwise, or to have other processes."""
        for uuid, sample in now.items():
            old = before.get(uuid)
            if old is None or sample.fault is not old.fault:
                self._stir()
            if old is None or _pids(sample) != _pids(old):
                self.moved.set()

    def _stir(self) -> None:
        self._left.news += 1
        self.stirred.set()

    def _finish(self) -> None:
        if self._watch is not None:
            self._watch.stop()
            self._watch = None
        self._session.close()

    def _rest(self, seconds: float) -> None:
        self._busy_since = None
        self._told.wait(seconds)
        self._busy_since = self._clock.monotonic()

    def _note(self, state: SamplerState, detail: str) -> None:
        with self._lock:
            self._left.state, self._left.detail = state, detail
            self._left.samples = {}
            self._stir()

    def _heard(self, xid: Xid) -> None:
        with self._lock:
            self._stir()
            self._left.xids[xid.uuid, xid.number] += 1
            self._left.last_xids[xid.uuid] = xid.number


def _pids(sample: GpuSample) -> list[int]:
    return [process.pid for process in sample.processes or ()]


class XidWatch:
    """Waits for XIDs in a thread of its own, as NVML demands, for as long as a session."""

    def __init__(self, events: Events, heard: Callable[[Xid], None], seconds: float) -> None:
        self._events, self._heard, self._seconds = events, heard, seconds
        self.hears = True
        """Whether the last wait came to its end: without, no XID means nothing."""
        self._told = threading.Event()
        self._thread = threading.Thread(target=self._run, name="xids", daemon=True)

    @classmethod
    def over(
        cls, session: Session, heard: Callable[[Xid], None], seconds: float
    ) -> "XidWatch | None":
        """Begin to wait, or return None where the driver announces no XIDs."""
        try:
            watch = cls(session.events(), heard, seconds)
        except (Declined, GpuAway):
            return None
        watch._thread.start()
        return watch

    def stop(self) -> None:
        """End the wait, before its session is closed."""
        self._told.set()
        self._thread.join(self._seconds + 1)

    def _run(self) -> None:
        try:
            while not self._told.is_set():
                self._wait()
            self._events.close()
        except (DriverAway, DriverReplaced, Declined, GpuAway):
            self.hears = False  # The sampler meets the same, and says so.

    def _wait(self) -> None:
        try:
            xid = self._events.wait(int(self._seconds * 1000))
        except (Declined, GpuAway):  # At once, and perhaps again and again: no haste.
            self.hears = False
            self._told.wait(self._seconds)
            return
        self.hears = True
        if xid is not None:
            self._heard(xid)
