"""The long-lived process of `commonpool node-agent` on a machine with GPUs.

It replaces the process that read the command line, because that one has loaded what only a
command line needs, and replaces itself by a new one when the driver was: an old library
stays mapped for as long as the process lives. Threads: one looks at the GPUs, one waits for
XIDs, one looks processes up, one reports, some answer scrapes; the first one watches.
"""

import contextlib
import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from agents.metric_sets import MetricSet
from agents.node import inventory, report
from agents.node.delivery import Delivery, Reply
from agents.node.exporter import Exporter, Facts, serve
from agents.node.handover import Settings, become
from agents.node.kernel_log import KernelLog
from agents.node.launch import launcher_of
from agents.node.launch_files import uptime
from agents.node.launch_ray import CannotLaunch
from agents.node.leases import KnownLeases
from agents.node.lines import log
from agents.node.look_up import LookUp
from agents.node.sampler import Pace, Sampler
from agents.node.samples import Gpu, NodeView, Statistic
from agents.node.windows import merged
from scheduler.clock import Clock, SystemClock
from scheduler.garbage import keep_what_is_there
from scheduler.wire.reports import NodeReport, SamplerState

_WATCH_SECONDS, _CALM_WATCH_SECONDS = 1.0, 5.0
_PATIENCE_SECONDS = 5.0
_FIRST_RESTART_SECONDS, _LONGEST_RESTART_SECONDS = 5.0, 300.0
_REFUSED, _BROKEN = 2, 1
INVENTORY = "inventory.json"

Write = Callable[..., None]


class Agent:
    """The parts of the process, and what they know together."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        """Put the parts together.

        Raises:
            ValueError: the kept inventory cannot be read.
            CannotLaunch: it is to launch runs, and this machine cannot.
        """
        self._settings, self._clock = settings, clock
        self._process = report.Process.begun(clock.now())
        exporter = f":{settings.exporter_port}" if settings.exporter_port else ""
        self._told = report.Told(
            settings.node, settings.pool, settings.block, settings.model, exporter
        )
        self._untold: Mapping[str, Mapping[str, Statistic]] = {}
        self._file = Path(settings.data) / INVENTORY if settings.data else None
        known = inventory.load(self._file) if self._file else ()
        pace = Pace(interval=settings.interval, stuck_after=settings.stuck_after)
        self.sampler = Sampler(clock, pace, known, self._keep)
        self.kernel_log = KernelLog(self.sampler.heard_by_the_kernel, clock)
        self._leases = KnownLeases(settings.node)
        self.look_up = LookUp(settings.node, clock, self.sampler, self._leases)
        token_file = Path(settings.token_file)
        self.launcher = launcher_of(settings) if settings.launch else None
        self._asked_at = 0.0
        self.delivery = Delivery(settings.hub, token_file, self._report, self._taken)

    def facts(self) -> Facts:
        """Return what a scrape is answered from."""
        return Facts(
            view=self.sampler.view(),
            holders=self.look_up.known(),
            restarts=self._settings.restarts,
            reports=dict(self.delivery.outcomes),
        )

    @property
    def is_broken(self) -> bool:
        """Whether a thread ended by a fault of ours: then a new process is better than half."""
        return not (self.look_up.is_alive and self.delivery.is_alive)

    def _report(self, sequence: int) -> NodeReport | None:
        self._asked_at = uptime()
        self._untold = merged(self._untold, self.sampler.windows())
        launcher = self.launcher.report() if self.launcher else None
        holders = self.look_up.known() or ()
        digest = self._leases.digest
        known = report.Known(self.sampler.view(), self._untold, holders, launcher, digest)
        process = replace(self._process, now=self._clock.now())
        return report.report(self._told, known, process, sequence)

    def _taken(self, reply: Reply) -> None:
        self._untold = {}
        self._leases.heard(reply.leases, reply.leases_seconds_old, self._asked_at)
        if reply.leases:
            self.look_up.hurry()
        if self.launcher is not None:
            self.launcher.obey(reply.launches, self._asked_at)

    def _keep(self, gpus: Sequence[Gpu]) -> None:
        log.info("inventory_changed", gpus=[gpu.uuid for gpu in gpus])
        if self._file is not None:
            try:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                inventory.save(self._file, gpus)
            except OSError as error:
                log.error("inventory_not_kept", why=str(error))


def run(settings: Settings) -> int:
    """Watch this machine's GPUs until told to end; return the process's exit status."""
    log.configure(settings.log_format)
    told = threading.Event()
    _set_by_signals(told)
    with contextlib.ExitStack() as stack:
        try:
            agent = Agent(settings, SystemClock())
            if settings.exporter_port:
                metrics = MetricSet(settings.metrics)
                exporter = Exporter(agent.facts, settings.node, settings.host_label, metrics)
                stack.callback(serve(exporter, settings.exporter_address, settings.exporter_port))
        except (ValueError, OSError, CannotLaunch) as error:
            log.error("agent_not_started", why=_why(error, settings))
            return _REFUSED
        _set_by_signals(told, agent.sampler.stirred)
        _start(agent, stack)
        keep_what_is_there()
        last = _watch(agent, told, settings)
        if last.state is not SamplerState.DRIVER_REPLACED:
            return 0 if told.is_set() else _BROKEN
        in_vain = 0 if last.passes else settings.in_vain + 1
        if told.wait(_pause_before_anew(in_vain, last)):
            return 0
    return become(replace(settings, restarts=settings.restarts + 1, in_vain=in_vain))


def _why(error: Exception, settings: Settings) -> str:
    if isinstance(error, OSError):
        place = f"{settings.exporter_address}:{settings.exporter_port}"
        return (
            f"/metrics on {place}: {error.strerror}; choose another --exporter-port, or 0 for none"
        )
    return str(error)


def _start(agent: Agent, stack: contextlib.ExitStack) -> None:
    """Start the threads, and let them end in the opposite order, the driver's last."""
    agent.sampler.start()
    stack.callback(_let_go, agent.sampler)
    for part in (agent.kernel_log, agent.look_up, agent.delivery):
        part.start()
        stack.callback(part.stop, _PATIENCE_SECONDS)


def _let_go(sampler: Sampler) -> None:
    if not sampler.stop(_PATIENCE_SECONDS):
        log.error("driver_does_not_let_go", detail=sampler.view().detail)


def _set_by_signals(*events: threading.Event) -> None:
    def heard(*_: object) -> None:
        for event in events:
            event.set()

    for what in (signal.SIGTERM, signal.SIGINT):
        signal.signal(what, heard)


def _watch(agent: Agent, told: threading.Event, settings: Settings) -> NodeView:
    """Tell what changes, until told to end or the sampler cannot go on; return the last view."""
    view, known = NodeView(SamplerState.STARTING), None
    # What is seen wakes this thread; that a look does not end, it has to see by the clock.
    calm = min(_CALM_WATCH_SECONDS, settings.stuck_after)
    pause = _WATCH_SECONDS if agent.launcher is not None else calm
    while True:
        agent.sampler.stirred.clear()
        news = agent.sampler.news()  # Taken before the view, which then is as new at least.
        if news != known:
            before, view, known = view, agent.sampler.view(), news
            _tell(agent, before, view)
        if agent.launcher is not None and agent.launcher.has_news():
            agent.delivery.hurry()
        over = view.state in {SamplerState.DRIVER_REPLACED, SamplerState.ENDED}
        if over or told.is_set() or agent.is_broken:
            return agent.sampler.view()
        agent.sampler.stirred.wait(pause)


def _tell(agent: Agent, before: NodeView, now: NodeView) -> None:
    news = tuple(changes(before, now))
    for write, event, facts in news:
        write(event, **facts)
    if news:
        agent.delivery.hurry()


def changes(before: NodeView, now: NodeView) -> Iterator[tuple[Write, str, dict[str, object]]]:
    """Yield what is new: a state of the sampler, a GPU that fails or answers again, XIDs."""
    if now.state is not before.state:
        write = log.info if now.state is SamplerState.OK else log.warning
        yield write, "sampler_changed", {"state": now.state.value, "detail": now.detail}
    for uuid, sample in now.samples.items():
        old = before.samples.get(uuid)
        if sample.fault is (old.fault if old else None):
            continue
        facts: dict[str, object] = {"uuid": uuid, "index": sample.gpu.index}
        if sample.fault is None:
            yield log.info, "gpu_answers_again", facts
        else:
            yield log.error, "gpu_failed", {**facts, "fault": sample.fault.value}
    for (uuid, number), count in now.xids.items():
        if count > before.xids.get((uuid, number), 0):
            yield log.warning, "xid_announced", {"uuid": uuid, "xid": number, "times": count}


def _pause_before_anew(in_vain: int, last: NodeView) -> float:
    """Return how long to wait for a driver that matches: longer each time that it is in vain."""
    longer = min(_FIRST_RESTART_SECONDS * 2.0**in_vain, _LONGEST_RESTART_SECONDS)
    pause = longer if in_vain else 0.0
    log.warning("driver_replaced", detail=last.detail, begins_anew_in_seconds=pause)
    return pause


if __name__ == "__main__":
    sys.exit(run(Settings(**json.loads(sys.argv[1]))))
