"""`/metrics` of simulated nodes: several machines behind one port, each under its own name.

`/metrics` is of all of them; `/metrics?node=NAME` of one, as a machine of its own would have
it, which is what the hub tells Prometheus to ask for.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.registry import Collector

from agents.metric_sets import MetricSet
from agents.node.exporter import Exporter, Facts
from agents.node.scrapes import Page, serve_pages
from agents.node.simulation import Simulation

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment


@dataclass(frozen=True, slots=True)
class Shown:
    """How a page is to be: the spelling of the host's label, and which names per GPU."""

    host_label: str = "Hostname"
    metrics: MetricSet = MetricSet.DEFAULT


class Together(Collector):
    """Several exporters as one: Prometheus takes each name once."""

    def __init__(self, exporters: Sequence[Exporter]) -> None:
        self._exporters = exporters

    def describe(self) -> Iterable[Metric]:
        """Return nothing, as each of them."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield every series of all of them, those of one name together."""
        found: dict[str, Metric] = {}
        for exporter in self._exporters:
            for metric in exporter.collect():
                known = found.setdefault(metric.name, metric)
                if known is not metric:
                    known.samples.extend(metric.samples)
        yield from found.values()


class Pages:
    """Answers with the page of the node that is asked for, or that of all."""

    def __init__(self, exporters: Mapping[str, Exporter]) -> None:
        self._whole = _page(Together(tuple(exporters.values())))
        self._pages = {name: _page(exporter) for name, exporter in exporters.items()}

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Answer a request."""
        asked = parse_qs(environ.get("QUERY_STRING", "")).get("node")
        page = self._whole if asked is None else self._pages.get(asked[-1])
        if page is not None:
            return page(environ, start_response)
        start_response("404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
        return [f"no such node here: there are {', '.join(self._pages)}\n".encode()]


def _page(collector: Collector) -> Page:
    return Page(collector, ProcessCollector(registry=CollectorRegistry()))


def serve_simulated(
    simulation: Simulation, names: Sequence[str], shown: Shown, address: str, port: int
) -> Callable[[], None]:
    """Serve `/metrics` of these nodes in threads of its own; return what ends it.

    Raises:
        OSError: the address cannot be listened on, because it is taken, say.
    """

    def facts_of(name: str) -> Callable[[], Facts]:
        return lambda: Facts(simulation.view(name), simulation.holders(name))

    exporters = {
        name: Exporter(facts_of(name), name, shown.host_label, shown.metrics) for name in names
    }
    return serve_pages(Pages(exporters), address, port)
