"""What a gateway holds between its site's agents and the hub: bounded, in order, each once.

Reports of one node leave in the order of their numbers, and the oldest is dropped where a
node has too many: what is missing is told as missing, and the newest says how things are.
A batch stays here until the hub has it, and goes out again as it was; the hub knows numbers
that it has counted, so what it heard and did not answer is not counted twice.
"""

from collections import deque
from collections.abc import Sequence

from scheduler.wire.reports import NodeReport


class Spool:
    """Reports that wait, by node. `dropped` counts those that gave way."""

    def __init__(self, nodes: int = 5_000, each: int = 20) -> None:
        """Hold at most `each` reports of each of at most `nodes` nodes."""
        self._most_nodes, self._each = nodes, each
        self._waiting: dict[str, deque[NodeReport]] = {}
        self.dropped = 0

    def __len__(self) -> int:
        return sum(len(queue) for queue in self._waiting.values())

    def offer(self, report: NodeReport) -> bool:
        """Keep a report; False where it is of one node too many, and is not kept."""
        queue = self._waiting.get(report.node)
        if queue is None:
            if len(self._waiting) >= self._most_nodes:
                return False
            queue = self._waiting[report.node] = deque()
        if queue and _is_old(report, queue[-1]):
            return True
        if len(queue) >= self._each:
            queue.popleft()
            self.dropped += 1
        queue.append(report)
        return True

    def batch(self, most: int) -> tuple[NodeReport, ...]:
        """Return up to `most` reports, the oldest of each node first; they stay here."""
        found: list[NodeReport] = []
        deepest = max((len(queue) for queue in self._waiting.values()), default=0)
        for place in range(deepest):
            deep_enough = (queue for queue in self._waiting.values() if place < len(queue))
            for queue in deep_enough:
                if len(found) >= most:
                    return tuple(found)
                found.append(queue[place])
        return tuple(found)

    def delivered(self, batch: Sequence[NodeReport]) -> None:
        """Let go of what the hub has; nodes without any more give their place."""
        for report in batch:
            queue = self._waiting.get(report.node)
            # It may have given way meanwhile, and then its place is another's.
            if queue and queue[0] is report:
                queue.popleft()
            if not queue:
                self._waiting.pop(report.node, None)


def _is_old(report: NodeReport, last: NodeReport) -> bool:
    return report.boot_id == last.boot_id and report.sequence <= last.sequence
