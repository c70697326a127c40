"""What a real machine tells the hub of itself: facts, for the hub to judge."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from secrets import token_hex
from typing import TypeVar

from agents.node.attribution import Holder, Standing
from agents.node.samples import Gpu, GpuSample, NodeView, Statistic
from scheduler.wire.launches import LauncherReport
from scheduler.wire.reports import (
    CelsiusOver,
    ForeignUse,
    GpuReport,
    GpuUse,
    MemoryOver,
    NodeReport,
    RatioOver,
    RunUse,
    SamplerState,
    WattsOver,
    XidCount,
)

_MIB = 1024 * 1024
_VENDOR = frozenset({"nvidia", "tesla", "graphics", "device"})
_FAMILIES = frozenset({"geforce", "rtx", "quadro", "titan"})
_LONGEST_MODEL, _LONGEST_WHY, _LONGEST_RUN = 40, 200, 80
_MOST_XIDS, _MOST_FOREIGN = 64, 256
_SEVERAL, _MOST_RUNS = 2, 16
_MOST_WATTS, _MOST_CELSIUS, _MOST_TIMES, _MOST_ACTION = 10_000.0, 1000.0, 2**31 - 1, 15

Over = TypeVar("Over", RatioOver, MemoryOver, WattsOver, CelsiusOver)


@dataclass(frozen=True, slots=True)
class Told:
    """What an operator said of the machine. `model`: what to call its GPUs; empty: by name.

    `exporter`: where its /metrics is; empty: nowhere.
    """

    node: str
    pool: str
    block: str = ""
    model: str = ""
    exporter: str = ""


@dataclass(frozen=True, slots=True)
class Process:
    """The process that reports, by which the hub tells a later one from an earlier."""

    boot_id: str
    started_at: datetime
    now: datetime

    @classmethod
    def begun(cls, now: datetime) -> "Process":
        """Return a new one, as it is at its first report."""
        return cls(token_hex(8), now, now)


@dataclass(frozen=True, slots=True)
class Known:
    """What the agent knows; `windows` since the last report that was taken."""

    view: NodeView
    windows: Mapping[str, Mapping[str, Statistic]] = field(default_factory=dict)
    holders: tuple[Holder, ...] = ()
    launcher: LauncherReport | None = None
    lease_digest: str = ""


def report(told: Told, known: Known, process: Process, sequence: int) -> NodeReport | None:
    """Return the report; None while there is no GPU to speak of."""
    view = known.view
    if not view.gpus or view.state is SamplerState.STARTING:
        return None
    return NodeReport(
        node=told.node,
        pool=told.pool,
        boot_id=process.boot_id,
        sequence=sequence,
        sampled_at=process.now,
        started_at=process.started_at,
        gpus=tuple(_gpu(view, gpu, told.model) for gpu in view.gpus),
        block=told.block,
        sampler=view.state,
        use=tuple(
            _use(gpu, known.windows[gpu.uuid], tuple(_runs(known, gpu)))
            for gpu in view.gpus
            if gpu.uuid in known.windows
        ),
        foreign=tuple(_foreign(known.holders))[:_MOST_FOREIGN],
        launcher=known.launcher,
        exporter=told.exporter,
        lease_digest=known.lease_digest,
        tells_runs=_tells_runs(view),
    )


def model_of(name: str) -> str:
    """Return a GPU's model as pools call it: `H100` of `NVIDIA H100 80GB HBM3`."""
    words = [word for word in name.split() if word.lower() not in _VENDOR] or [name]
    family = words[0].lower() in _FAMILIES
    model = "-".join(words) if family else words[0].partition("-")[0]
    return (model or name)[:_LONGEST_MODEL]


def ailment(view: NodeView, gpu: Gpu) -> str:
    """Say why nothing is known of a GPU; empty where the hub can judge it by its facts."""
    if view.state is not SamplerState.OK:
        return f"sampler {view.state}: {view.detail}"
    sample = view.samples.get(gpu.uuid)
    if sample is None:
        return "no fresh sample"
    return "" if sample.fault is None else f"GPU {sample.fault}"


def _gpu(view: NodeView, gpu: Gpu, model: str) -> GpuReport:
    sample = view.samples.get(gpu.uuid) or GpuSample(gpu)
    readings, why = sample.readings, ailment(view, gpu)
    total, errors = readings.memory_total_bytes, sample.condition.ecc_uncorrected
    return GpuReport(
        index=gpu.index,
        uuid=gpu.uuid,
        model=model or model_of(gpu.model),
        memory_mib=None if total is None else total // _MIB,
        healthy=not why,
        why_unhealthy=why[:_LONGEST_WHY],
        xids=tuple(_xids(view, gpu))[:_MOST_XIDS],
        ecc_uncorrected=None if errors is None else min(errors, _MOST_TIMES),
        remap_pending=_yes(readings.remap_pending),
        remap_failed=_yes(readings.remap_failed),
        recovery_action=_at_most(readings.recovery_action, _MOST_ACTION),
    )


def _xids(view: NodeView, gpu: Gpu) -> Iterator[XidCount]:
    for (uuid, number), count in sorted(view.xids.items()):
        if uuid == gpu.uuid and number > 0:
            yield XidCount(xid=number, count=min(count, _MOST_TIMES))


def _tells_runs(view: NodeView) -> bool:
    """Return whether the driver lists the processes on each GPU, and what memory each has."""
    return view.state is SamplerState.OK and all(
        sample.processes is not None and all(p.memory_bytes is not None for p in sample.processes)
        for sample in view.samples.values()
        if sample.fault is None
    )


def _runs(known: Known, gpu: Gpu) -> Iterator[RunUse]:
    """Yield what each run does on a GPU, where a guest is on it, or several runs are."""
    mine = [h for h in known.holders if h.gpu.uuid == gpu.uuid and h.standing is Standing.LEASED]
    runs = sorted({holder.run for holder in mine})
    sample = known.view.samples.get(gpu.uuid)
    if sample is None or (len(runs) < _SEVERAL and not any(holder.guest for holder in mine)):
        return
    processes = {process.pid: process for process in sample.processes or ()}
    for run in runs[:_MOST_RUNS]:
        pids = {holder.pid for holder in mine if holder.run == run}
        there = [processes[pid] for pid in sorted(pids) if pid in processes]
        memory = [p.memory_bytes for p in there if p.memory_bytes is not None]
        busy = [p.sm_active for p in there if p.sm_active is not None]
        yield RunUse(
            run=run[:_LONGEST_RUN],
            sm_active=min(1.0, sum(busy)) if busy else None,
            memory_mib=sum(memory) / _MIB if memory else None,
        )


def _use(gpu: Gpu, window: Mapping[str, Statistic], runs: tuple[RunUse, ...]) -> GpuUse:
    return GpuUse(
        index=gpu.index,
        runs=runs,
        sm_active=_over(RatioOver, window.get("sm_active"), 1, 1),
        tensor_active=_over(RatioOver, window.get("tensor"), 1, 1),
        memory_mib=_over(MemoryOver, window.get("memory_used_bytes"), _MIB, 2**30),
        power_watts=_over(WattsOver, window.get("power_milliwatts"), 1000, _MOST_WATTS),
        temperature_celsius=_over(CelsiusOver, window.get("temperature_celsius"), 1, _MOST_CELSIUS),
    )


def _over(
    kind: Callable[[float, float, float], Over], of: Statistic | None, divide: float, most: float
) -> Over | None:
    """Return a window in the wire's unit; a monitor's reading past the most is a rounding."""
    if of is None:
        return None
    return kind(*(min(value / divide, most) for value in (of.last, of.mean, of.most)))


def _foreign(holders: tuple[Holder, ...]) -> Iterator[ForeignUse]:
    strangers = [(h.gpu.index, h.run) for h in holders if h.standing is Standing.FOREIGN]
    for index, run in sorted(set(strangers)):
        count = strangers.count((index, run))
        yield ForeignUse(gpu=index, run=run[:_LONGEST_RUN], processes=count)


def _yes(value: int | None) -> bool | None:
    return None if value is None else value > 0


def _at_most(value: int | None, most: int) -> int | None:
    return None if value is None else min(value, most)
