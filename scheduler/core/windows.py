"""Advance reservations and maintenance: nodes that are kept from one time to another (R7).

Which nodes a reservation of a number gets does not depend on who holds them: the first
usable ones by rank that no overlapping reservation has. Nothing that would still run then is
started on them; what runs there all the same is told to end when its notice says so.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

from scheduler.core.budgets import is_released
from scheduler.core.model import JobId, QuotaClass, Reservation, ReservationId
from scheduler.core.placement import PoolNodes
from scheduler.core.snapshot import Claim
from scheduler.core.timeline import Reserved


class Window(NamedTuple):
    """A reservation that is not over, and all the GPUs of its nodes, by rank."""

    row: Reservation
    masks: Mapping[int, int]

    @property
    def planned(self) -> Reserved:
        """Return the window as something planned, which binds everyone."""
        row = self.row
        name = planned_name(row.id)
        return Reserved(name, QuotaClass.IN_QUOTA, row.starts_at, row.ends_at, self.masks)

    def is_open(self, now: datetime, end_at: datetime) -> bool:
        """Return whether a job of the reservation may run from now until then."""
        return self.row.starts_at <= now and end_at <= self.row.ends_at


def planned_name(reservation: ReservationId) -> JobId:
    """Return the name under which a reservation stands among planned starts."""
    return JobId(f"reservation {reservation}")


def windows(
    rows: Iterable[Reservation],
    nodes: PoolNodes,
    claims: Mapping[ReservationId, Claim],
    now: datetime,
) -> list[Window]:
    """Return a pool's reservations that are not over, by start, each with its nodes."""
    found: list[Window] = []
    for row in sorted(rows, key=lambda row: (row.starts_at, row.id)):
        if row.ends_at <= now or is_released(row, claims, now):
            continue
        others = {
            rank for window in found if window.row.ends_at > row.starts_at for rank in window.masks
        }
        found.append(Window(row, _masks(row, nodes, others)))
    return found


def _masks(row: Reservation, nodes: PoolNodes, others: set[int]) -> Mapping[int, int]:
    if row.nodes:
        named = (state for state in nodes.order if state.node.id in row.nodes)
        return {state.rank: state.healthy for state in named}
    free = (state for state in nodes.order if state.rank not in others)
    return {
        state.rank: state.healthy for _, state in zip(range(row.node_count), free, strict=False)
    }
