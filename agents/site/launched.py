"""What node agents started for this site's runs, as the hub passes it on.

The site agent says which runs it wants up in each of its messages, by their records; an
answer says how each member stands. A run counts as down for the hub only by an answer to a
message that no longer wanted it, so the numbers of messages are kept.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence

from agents.site.records import Phase, RunRecord
from scheduler.core.model import Backend
from scheduler.wire.launches import LaunchPhase
from scheduler.wire.sites import NodeLaunched

_WANTED = frozenset({Phase.LAUNCHING, Phase.SUBMITTING, Phase.SUBMITTED})
_OVER = frozenset({LaunchPhase.ENDING, LaunchPhase.FENCED})
_NOTHING = frozenset({LaunchPhase.NONE, LaunchPhase.FENCED})


class Launched:
    """The members of runs, by run."""

    def __init__(self) -> None:
        self._members: dict[str, tuple[NodeLaunched, ...]] = {}
        self._wanted_in: dict[str, int] = {}
        self._answered = -1
        self._news = asyncio.Event()

    def wanted(self, records: Mapping[str, RunRecord], sequence: int) -> tuple[str, ...]:
        """Return the runs that should be up, to be said in the message of that number."""
        runs = tuple(
            run
            for run, record in records.items()
            if record.lease.backend is Backend.RAY_PRIVATE and record.phase in _WANTED
        )
        self._wanted_in.update(dict.fromkeys(runs, sequence))
        return runs

    def heard(self, sequence: int, launched: Sequence[NodeLaunched]) -> None:
        """Take in the answer to the message of that number."""
        if sequence < self._answered:
            return
        self._answered = sequence
        runs = {member.run for member in launched}
        self._members = {
            run: tuple(member for member in launched if member.run == run) for run in runs
        }
        self._wanted_in = {
            run: number
            for run, number in self._wanted_in.items()
            if run in runs or number > sequence
        }
        self._news.set()
        self._news = asyncio.Event()

    async def news(self, seconds: float) -> None:
        """Wait for the next answer, but not for longer."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()

    def head(self, record: RunRecord) -> NodeLaunched | None:
        """Return the member that leads a run, once it is up."""
        node = record.lease.nodes[0].node
        members = self._members.get(record.run, ())
        return next((m for m in members if m.node == node and m.api), None)

    def missing(self, record: RunRecord) -> str:
        """Return the nodes that have not bound, with what is known of them; empty: all have."""
        phases = {m.node: m.phase for m in self._members.get(record.run, ())}
        return ", ".join(
            f"{node.node} ({phases.get(node.node, LaunchPhase.UNKNOWN)})"
            for node in record.lease.nodes
            if phases.get(node.node) is not LaunchPhase.UP
        )

    def failed(self, run: str) -> str:
        """Say which member is over, and why; empty while none is."""
        over = (m for m in self._members.get(run, ()) if m.phase in _OVER)
        return "; ".join(f"{m.node}: {m.why or m.phase}" for m in over)

    def is_fenced(self, run: str) -> bool:
        """Return whether nothing is left of a run that is no longer wanted."""
        if self._answered <= self._wanted_in.get(run, -1) or self._answered < 0:
            return False
        return all(m.phase in _NOTHING for m in self._members.get(run, ()))
