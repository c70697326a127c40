"""The simulated nodes that one process speaks for: looked at like real ones, every few seconds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agents.node import injected
from agents.node.attribution import By, Holder, Standing
from agents.node.injected import Injected
from agents.node.pretended import IDLE_CORES, Programs, Work
from agents.node.report import Known
from agents.node.samples import Fault, Gpu, NodeView, Statistic
from agents.node.simulated import Load, SimulatedNode, sample, xids_of
from agents.node.windows import Windows, merged
from scheduler.clock import Clock
from scheduler.wire.reports import SamplerState

LOOK_SECONDS = 3.0
_STRANGER = 2**22
"""A pid past the largest that Linux gives out: of a process that nobody has started."""


@dataclass(slots=True)
class _Seen:
    """What a node looked like at the last look."""

    view: NodeView
    holders: tuple[Holder, ...] = ()
    injected: Injected = field(default_factory=Injected)


class Simulation:
    """What the simulated GPUs of some nodes do, and what was injected into them."""

    def __init__(
        self,
        nodes: Sequence[SimulatedNode],
        clock: Clock,
        faults: Path | None = None,
        programs: Programs | None = None,
    ) -> None:
        """Read what is injected from files in `faults`; None: nothing ever is.

        Raises:
            OSError: there can be no such files.
        """
        self._nodes, self._clock, self._faults = nodes, clock, faults
        self._programs = programs or Programs()
        self._windows = Windows()
        self._untold: Mapping[str, Mapping[str, Statistic]] = {}
        if faults is not None:
            injected.begin(faults, [node.name for node in nodes])
        # An agent's counters begin with its process, as a real driver's events do.
        self._before = {node.name: self._injected(node.name) for node in nodes}
        self._last_look = float("-inf")
        self._seen: dict[str, _Seen] = {}
        self.look()

    def is_due(self) -> bool:
        """Return whether it is time for the next look."""
        return self._clock.monotonic() - self._last_look >= LOOK_SECONDS

    def has_news(self) -> bool:
        """Return whether something was injected since the last look: that is told at once."""
        return any(
            self._injected(node.name) != self._seen[node.name].injected for node in self._nodes
        )

    def look(self) -> None:
        """Look at every node once."""
        now = self._last_look = self._clock.monotonic()
        works = self._programs.look(now)
        for node in self._nodes:
            seen = self._seen[node.name] = self._look_at(node, works, now)
            for one in seen.view.samples.values():
                if one.fault is None:
                    self._windows.add(one)

    def gather(self) -> None:
        """Take what was measured since the last report that was taken together."""
        self._untold = merged(self._untold, self._windows.take())

    def told(self) -> None:
        """Drop what a report brought to the hub."""
        self._untold = {}

    def known(self, node: SimulatedNode) -> Known:
        """Return what there is to report of a node."""
        seen = self._seen[node.name]
        uuids = {gpu.uuid for gpu in seen.view.gpus}
        windows = {uuid: window for uuid, window in self._untold.items() if uuid in uuids}
        return Known(seen.view, windows, seen.holders)

    def view(self, name: str) -> NodeView:
        """Return a node as it was at the last look."""
        return self._seen[name].view

    def holders(self, name: str) -> tuple[Holder, ...]:
        """Return whose processes are on a node's GPUs."""
        return self._seen[name].holders

    def _injected(self, name: str) -> Injected:
        if self._faults is None:
            return Injected()
        return injected.load(injected.file_of(self._faults, name))

    def _look_at(self, node: SimulatedNode, works: Sequence[Work], now: float) -> _Seen:
        wanted, gpus = self._injected(node.name), node.gpus_of()
        before, after = self._before[node.name].xids, wanted.xids
        holders = tuple(_holders(node.name, gpus, works, wanted))
        samples = {
            gpu.uuid: sample(gpu, _load(node.name, gpu, works, wanted), now, IDLE_CORES)
            for gpu in gpus
        }
        xids = xids_of({key: count - before.get(key, 0) for key, count in after.items()}, gpus)
        view = NodeView(
            SamplerState.OK,
            gpus=gpus,
            samples=samples,
            xids=xids,
            last_xids={uuid: xid for (uuid, xid), count in xids.items() if count},
            hears_xids=True,
        )
        return _Seen(view, holders, wanted)


def _load(node: str, gpu: Gpu, works: Sequence[Work], wanted: Injected) -> Load:
    if gpu.index in wanted.lost:
        return Load(fault=Fault.LOST)
    cores = {work.pid: work.cores for work in works if gpu.index in work.gpus.get(node, ())}
    if gpu.index in wanted.foreign:
        # Somebody who works there without a lease.
        cores[_STRANGER] = 1.0
    return Load(cores)


def _holders(
    node: str, gpus: Sequence[Gpu], works: Sequence[Work], wanted: Injected
) -> Iterator[Holder]:
    for gpu in gpus:
        if gpu.index in wanted.lost:
            continue
        for work in works:
            if gpu.index in work.gpus.get(node, ()):
                yield Holder(
                    gpu,
                    work.pid,
                    Standing.LEASED,
                    work.run,
                    By.LEASE,
                    said_job=work.job,
                    guest=work.guest,
                )
        if gpu.index in wanted.foreign:
            yield Holder(gpu, _STRANGER, Standing.FOREIGN, why="injected")
