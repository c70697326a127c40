"""`/metrics` of simulated nodes: several machines behind one port, each under its own name."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client import Metric
from prometheus_client.registry import Collector

from agents.node.exporter import Exporter, Facts, serve
from agents.node.simulation import Simulation


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


def serve_simulated(
    simulation: Simulation, names: Sequence[str], host_label: str, address: str, port: int
) -> Callable[[], None]:
    """Serve `/metrics` of these nodes in threads of its own; return what ends it.

    Raises:
        OSError: the address cannot be listened on, because it is taken, say.
    """

    def facts_of(name: str) -> Callable[[], Facts]:
        return lambda: Facts(simulation.view(name), simulation.holders(name))

    exporters = tuple(Exporter(facts_of(name), name, host_label) for name in names)
    return serve(Together(exporters), address, port)
