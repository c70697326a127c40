"""Leases of two layers: who has its idle lease lent, and which background work sits on it (R18).

A *host* is a run that does nothing for so long that its lease is lent: it keeps its GPUs, its
place in quotas and its bill. A *guest* is background work on GPUs of one host: in sums and on
the floor its GPUs count as the host's, and no two guests have the same one. When the host has
ended, its guests stay as plain background work, which holds its GPUs like any other.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from scheduler.core.model import Backend, NodeId, Pool, Run, RunId, RunState
from scheduler.core.placement import mask_of


def may_be_lent(pool: Pool) -> bool:
    """Return whether leases of a pool can be lent at all.

    A shared Ray cluster counts its GPUs itself: there, those of an idle job are taken.
    """
    return pool.backend is not Backend.RAY_SHARED


def is_host(run: Run) -> bool:
    """Return whether background work may come to sit on a run's GPUs."""
    return run.lent and run.over is None and not run.draining and run.state is RunState.RUNNING


def left_alone(guest: Run, host: Run) -> Run:
    """Return a guest whose host has ended: plain background work, or on its way out.

    Where others were leased the host's GPUs it goes as well, as one who is waited for (R8.6).
    """
    return replace(guest, over=None, draining=guest.draining or host.draining)


def without_host(runs: Mapping[RunId, Run], host: RunId) -> dict[RunId, Run]:
    """Return runs without one that has ended: the plain meaning of `World.end_run`."""
    ended = runs.get(host)
    left = {name: run for name, run in runs.items() if name != host}
    if ended is None:
        return left
    guests = (run for run in left.values() if run.over == host)
    return left | {guest.id: left_alone(guest, ended) for guest in guests}


class Lending:
    """The hosts and guests of one world, brought forward as runs come and go."""

    __slots__ = ("_guests", "hosts")

    def __init__(self) -> None:
        self.hosts: dict[RunId, Run] = {}
        self._guests: dict[RunId, dict[RunId, Run]] = {}

    def put(self, run: Run) -> None:
        """Take note of a run that is either, and of nobody else."""
        if is_host(run):
            self.hosts[run.id] = run
        if run.over is not None:
            self._guests.setdefault(run.over, {})[run.id] = run

    def drop(self, run: Run) -> None:
        """Forget what `put` took note of."""
        self.hosts.pop(run.id, None)
        if run.over is not None:
            guests = self._guests[run.over]
            del guests[run.id]
            if not guests:
                del self._guests[run.over]

    def guests(self, host: RunId) -> tuple[Run, ...]:
        """Return who sits on a run's GPUs, by id; nearly always nobody."""
        known = self._guests.get(host)
        return () if known is None else tuple(known[name] for name in sorted(known))

    def open_on(self, host: Run) -> dict[NodeId, int]:
        """Return the GPUs of a host that no guest has, a bit each, by node."""
        left = {slot.node: mask_of(slot.gpus) for slot in host.slots}
        for guest in self.guests(host.id):
            for slot in guest.slots:
                left[slot.node] = left.get(slot.node, 0) & ~mask_of(slot.gpus)
        return left

    def state(self) -> Iterator[tuple[str, object]]:
        """Yield all that is known, for comparing worlds."""
        yield "hosts", dict(self.hosts)
        yield "guests", {host: dict(guests) for host, guests in self._guests.items()}
