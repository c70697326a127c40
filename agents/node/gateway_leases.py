"""What a gateway knows of its nodes' leases: each agent is told at its next report."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from scheduler.wire.nodes import NodeLeases, NodeReportReply
from scheduler.wire.reports import NodeReport

_MOST = 10_000


@dataclass(frozen=True, slots=True)
class _Known:
    """A node's list as the hub had it at `as_of`, in seconds of this process's clock.

    `leases` None: the hub said that the agent has it, and it was told before this began.
    """

    digest: str
    leases: NodeLeases | None
    as_of: float


class GatewayLeases:
    """The lists of the nodes that report here. `monotonic` is in seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._known: dict[str, _Known] = {}

    def heard(self, batch: Sequence[NodeReport], reply: NodeReportReply, asked_at: float) -> None:
        """Take in what the hub answered to a batch that was sent at `asked_at`."""
        if reply.leases_seconds_old is None:
            return
        news = {one.node: one for one in reply.leases}
        as_of = asked_at - reply.leases_seconds_old
        for report in batch:
            before = self._known.pop(report.node, None)
            leases = news.get(report.node) or _unchanged(report, before)
            digest = report.lease_digest if leases is None else leases.digest
            self._known[report.node] = _Known(digest, leases, as_of)
        while len(self._known) > _MOST:
            self._known.pop(next(iter(self._known)))

    def told(self, found: Sequence[NodeReport]) -> tuple[tuple[NodeLeases, ...], float | None]:
        """Return the lists that these agents do not have, and how old all are at most.

        Where one of them is not known there is no age, which says that nothing is known.
        """
        news, as_of = [], []
        for report in found:
            known = self._known.get(report.node)
            if known is None:
                return (), None
            if known.digest != report.lease_digest:
                if known.leases is None:
                    return (), None
                news.append(known.leases)
            as_of.append(known.as_of)
        return tuple(news), self._monotonic() - min(as_of)


def _unchanged(report: NodeReport, before: _Known | None) -> NodeLeases | None:
    """Return the list that the report says its agent has, if it is known here."""
    if not report.lease_digest:
        return NodeLeases(node=report.node)
    return before.leases if before and before.digest == report.lease_digest else None
