"""`/metrics` of a machine: a drop-in for dcgm-exporter, and `commonpool_*` beside it.

What the driver does not say has no series, and neither has what is not fresh: a gauge that
stands still looks like a GPU that does. Per-GPU series name no job, because each job would
make them all anew; `commonpool_gpu_job_info` is there to join with.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.registry import Collector

from agents.metric_sets import MetricSet, is_in
from agents.node.attribution import Holder, Standing
from agents.node.samples import Gpu, GpuSample, NodeView
from agents.node.scrapes import Labels, Page, serve_pages
from agents.node.series import DEVICE, OURS, PROFILING, SLICE, Series, nvlink_kib
from scheduler.wire.reports import SamplerState


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a scrape is answered from. `holders`: None where they are not known now."""

    view: NodeView
    holders: tuple[Holder, ...] | None = None
    restarts: int = 0
    """How often the agent began anew because the driver was replaced."""
    reports: Mapping[str, int] = field(default_factory=dict)
    """Reports to the hub by outcome."""


class Exporter(Collector):
    """Answers scrapes from what is known, without waiting for anything."""

    def __init__(
        self,
        facts: Callable[[], Facts],
        host: str,
        host_label: str,
        metrics: MetricSet = MetricSet.DEFAULT,
    ) -> None:
        """Name this machine `host` under `host_label`: dcgm-exporter has used two spellings."""
        self._facts, self._host, self._metrics = facts, Labels({host_label: host}), metrics
        self._dcgm = _chosen((*DEVICE, *PROFILING), metrics)
        self._own = _chosen(OURS, metrics)
        self._known: dict[Gpu, tuple[Labels, Labels]] = {}

    def describe(self) -> Iterable[Metric]:
        """Return nothing: names depend on what the driver supports."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield every series that there is something to say about."""
        facts = self._facts()
        whole = [
            (sample, self._labels(sample.gpu))
            for sample in facts.view.samples.values()
            if sample.fault is None
        ]
        whole.sort(key=lambda pair: pair[0].gpu.index)
        for metric in self._of_gpus(facts, whole):
            if is_in(self._metrics, metric.name):
                yield metric
        yield from _of_agent(facts, self._host)

    def _of_gpus(self, facts: Facts, whole: Sequence[tuple[GpuSample, Labels]]) -> Iterator[Metric]:
        yield from _counted_by_dcgm(self._dcgm, whole)
        short = [(sample, self._short(sample.gpu)) for sample, _ in whole]
        for series in self._own:  # Without dcgm-exporter's labels, which are camelCase.
            yield _metric(series, short)
        yield self._xids_last(facts.view)
        yield self._xids(facts.view)
        yield self._up(facts.view)
        if facts.holders is not None:
            yield from self._of_holders(facts.holders, [sample for sample, _ in whole])

    def _labels(self, gpu: Gpu) -> Labels:
        return self._both(gpu)[0]

    def _short(self, gpu: Gpu) -> Labels:
        return self._both(gpu)[1]

    def _both(self, gpu: Gpu) -> tuple[Labels, Labels]:
        """Return dcgm-exporter's labels of a GPU and ours, the same at each scrape."""
        both = self._known.get(gpu)
        if both is None:
            short = {"gpu": str(gpu.index), "UUID": gpu.uuid, **self._host}
            device = f"nvidia{gpu.index if gpu.minor is None else gpu.minor}"
            more = {"pci_bus_id": gpu.bus_id, "device": device, "modelName": gpu.model}
            both = self._known[gpu] = Labels(short | more), Labels(short)
        return both

    def _xids_last(self, view: NodeView) -> Metric:
        last = Metric("DCGM_FI_DEV_XID_ERRORS", "Value of the last XID error.", "gauge")
        for gpu in view.gpus if view.hears_xids else ():
            last.add_sample(last.name, self._labels(gpu), view.last_xids.get(gpu.uuid, 0))
        return last

    def _xids(self, view: NodeView) -> Metric:
        """Count what the gauge of the last XID hides: that the same one came again."""
        xids = Metric("commonpool_gpu_xid_events", "XIDs that the driver announced.", "counter")
        for gpu in view.gpus:
            for (uuid, number), count in view.xids.items():
                if uuid == gpu.uuid:
                    labels = {**self._short(gpu), "xid": str(number)}
                    xids.add_sample("commonpool_gpu_xid_events_total", labels, count)
        return xids

    def _up(self, view: NodeView) -> Metric:
        text = (
            "Whether a GPU of this machine answers: not if lost, missing, or the sampler is stuck."
        )
        up = Metric("commonpool_gpu_up", text, "gauge")
        for gpu in view.gpus:
            sample = view.samples.get(gpu.uuid)
            up.add_sample(up.name, self._short(gpu), sample is not None and sample.fault is None)
        return up

    def _of_holders(
        self, holders: Iterable[Holder], samples: Iterable[GpuSample]
    ) -> Iterator[Metric]:
        """Yield which jobs are on which GPU, and how many processes are there without a lease."""
        info = Metric("commonpool_gpu_job_info", "Which job is on a GPU; to join with.", "gauge")
        counts = {
            standing: Metric(f"commonpool_gpu_{standing}_processes", text, "gauge")
            for standing, text in _STANDINGS.items()
        }
        by_gpu: dict[str, list[Holder]] = {}
        for holder in holders:
            by_gpu.setdefault(holder.gpu.uuid, []).append(holder)
        for sample in samples:
            if sample.processes is None:
                continue
            here, labels = by_gpu.get(sample.gpu.uuid, []), self._short(sample.gpu)
            for standing, metric in counts.items():
                metric.add_sample(metric.name, labels, sum(h.standing is standing for h in here))
            for job, run in sorted({(h.job, h.run) for h in here if h.standing is Standing.LEASED}):
                info.add_sample(info.name, {**labels, "job_id": job, "run_id": run}, 1)
        yield info
        yield from counts.values()


_STANDINGS = {
    Standing.LEASED: "Processes of the run that has the GPU leased.",
    Standing.FOREIGN: "Processes that the GPU is not leased to.",
    Standing.UNKNOWN: "Processes whose run cannot be known.",
}


def _chosen(series: Iterable[Series], metrics: MetricSet) -> tuple[Series, ...]:
    return tuple(one for one in series if is_in(metrics, one.name))


def _counted_by_dcgm(
    chosen: Iterable[Series], whole: Iterable[tuple[GpuSample, Labels]]
) -> Iterator[Metric]:
    for series in chosen:
        metric = _metric(series, whole)
        _add_slices(metric, whole)
        yield metric
    links = Metric("DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL", "NVLink data (in KiB).", "unknown")
    for sample, labels in whole:
        value = nvlink_kib(sample)
        if value is not None:
            links.add_sample(links.name, labels, value)
    yield links


def _metric(series: Series, whole: Iterable[tuple[GpuSample, Labels]]) -> Metric:
    metric = Metric(series.name, series.help, series.kind)
    for sample, labels in whole:
        value = series.of(sample)
        if value is not None:
            metric.add_sample(series.name, labels, value)
    return metric


def _add_slices(metric: Metric, whole: Iterable[tuple[GpuSample, Labels]]) -> None:
    """Add a name's series of MIG slices, labelled as dcgm-exporter does."""
    series = _SLICE_SERIES.get(metric.name)
    if series is None:
        return
    for sample, labels in whole:
        for mig in sample.mig:
            value = series.of(mig)
            if value is not None:
                of_slice = {"GPU_I_PROFILE": mig.profile, "GPU_I_ID": str(mig.gpu_instance)}
                metric.add_sample(metric.name, {**labels, **of_slice}, value)


_SLICE_SERIES = {series.name: series for series in SLICE}


def _of_agent(facts: Facts, host: Labels) -> Iterator[Metric]:
    """Yield how the agent itself is; every state is there from the start."""
    view = facts.view
    state = Metric("commonpool_agent_sampler_state", "How the reading of GPUs goes.", "gauge")
    for one in SamplerState:
        state.add_sample(state.name, {**host, "state": one.value}, one is view.state)
    yield state
    gpus = Metric("commonpool_agent_gpus", "GPUs of this machine by what is known.", "gauge")
    up = sum(sample.fault is None for sample in view.samples.values())
    for name, count in (
        ("expected", len(view.gpus) + view.unreadable),
        ("up", up),
        ("unreadable", view.unreadable),
    ):
        gpus.add_sample(gpus.name, {**host, "state": name}, count)
    yield gpus
    yield from _counters(facts, host)
    if view.pass_seconds is not None:
        text = "How long the last look at all GPUs took, the driver's time with it."
        took = Metric("commonpool_agent_look_seconds", text, "gauge")
        took.add_sample(took.name, host, view.pass_seconds)
        yield took
    if view.driver is not None:
        info = Metric("commonpool_agent_driver", "The driver under the GPUs.", "info")
        labels = {**host, "driver": view.driver.version, "cuda": view.driver.cuda}
        info.add_sample("commonpool_agent_driver_info", labels, 1)
        yield info


def _counters(facts: Facts, host: Labels) -> Iterator[Metric]:
    looks = Metric("commonpool_agent_looks", "Looks at all GPUs.", "counter")
    looks.add_sample("commonpool_agent_looks_total", host, facts.view.passes)
    yield looks
    text = "Times that the agent began anew because the driver was replaced."
    restarts = Metric("commonpool_agent_restarts", text, "counter")
    restarts.add_sample("commonpool_agent_restarts_total", host, facts.restarts)
    yield restarts
    errors = Metric("commonpool_agent_nvml_errors", "Driver calls that failed.", "counter")
    for (function, error), count in facts.view.errors.items():
        labels = {**host, "function": function, "error": error}
        errors.add_sample("commonpool_agent_nvml_errors_total", labels, count)
    yield errors
    reports = Metric("commonpool_agent_reports", "Reports to the hub by outcome.", "counter")
    for outcome, count in facts.reports.items():
        reports.add_sample("commonpool_agent_reports_total", {**host, "outcome": outcome}, count)
    yield reports


def serve(exporter: Collector, address: str, port: int) -> Callable[[], None]:
    """Serve `/metrics` in threads of its own; return what ends it.

    Raises:
        OSError: the address cannot be listened on, because it is taken, say.
    """
    process = ProcessCollector(registry=CollectorRegistry())
    return serve_pages(Page(exporter, process), address, port)
