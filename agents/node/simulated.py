"""Nodes that do not exist, reported with the messages that real ones will use.

Every report says `simulated`, and every GPU's id starts with `SIM-`.
"""

import re
from dataclasses import dataclass
from datetime import datetime

from scheduler.wire.reports import GpuReport, NodeReport

_SPEC = re.compile(r"(?P<count>[0-9]{1,3})x(?P<model>[A-Za-z0-9][A-Za-z0-9._-]{0,39})")
_MOST = 64


@dataclass(frozen=True, slots=True)
class SimulatedGpus:
    """What each simulated node has."""

    count: int
    model: str


def parse(text: str) -> SimulatedGpus:
    """Read `<n>x<model>`, e.g. `8xH100`.

    Raises:
        ValueError: it is something else, or not 1 to 64 GPUs.
    """
    found = _SPEC.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not <number>x<model>, such as 8xH100")
    count = int(found["count"])
    if not 1 <= count <= _MOST:
        raise ValueError(f"{text!r}: a node has 1 to {_MOST} GPUs")
    return SimulatedGpus(count, found["model"])


@dataclass(frozen=True, slots=True)
class SimulatedNode:
    """A node of a pool, as it reports itself."""

    name: str
    pool: str
    gpus: SimulatedGpus
    boot_id: str
    block: str = ""
    started_at: datetime | None = None

    def report(self, sequence: int, now: datetime) -> NodeReport:
        """Return how the node is now: always well, and idle as far as a driver could tell."""
        return NodeReport(
            node=self.name,
            pool=self.pool,
            boot_id=self.boot_id,
            sequence=sequence,
            sampled_at=now,
            gpus=tuple(
                GpuReport(index=i, uuid=f"SIM-{self.name}-{i}", model=self.gpus.model)
                for i in range(self.gpus.count)
            ),
            block=self.block,
            started_at=self.started_at,
            simulated=True,
        )
