"""On which nodes a start takes GPUs back, so that all guaranteed cells stay (R10, R11).

First where it delays no planned start. Only if an owner finds no such place, also where another
account's start is planned: that account has cells of its own, and finds room there within the
notice, as this owner does. What is promised to the aged (R12), to a reservation or to the owner's
own jobs is left alone.
"""

from collections.abc import Iterable

from scheduler.core import pinning, preemption
from scheduler.core.model import QuotaClass
from scheduler.core.placement import sum_of
from scheduler.core.preemptable import Asked, Preemptable
from scheduler.core.preemption import Found


def search(known: Preemptable, asked: Asked, is_aged: bool) -> Found | None:
    """Return whose runs end for a job and the GPUs that it gets, or None.

    Cells matter to a start that is in quota, which nobody may take back; and not to a job that
    has waited `hold_after` (R12).
    """
    for among, found in preemption.search(known, asked, _places(known, asked)):
        if (
            is_aged
            or not _is_within(known, asked, found)
            or _keeps_cells(known, asked, found, among)
        ):
            return found
    return None


def in_own_cells(known: Preemptable, asked: Asked) -> Found | None:
    """Return the same for a start in quota that leaves all cells, of which none is short now."""
    cells, account = known.nodes.cells, asked.job.account
    if cells is None or not cells.are_divided or any(cells.short_of(account, cells.sizes)):
        return None
    for among, found in preemption.search(known, asked, _places(known, asked)):
        if _is_within(known, asked, found) and _keeps_cells(known, asked, found, among):
            return found
    return None


def _places(known: Preemptable, asked: Asked) -> Iterable[int]:
    """Return sets of nodes to look at one after the other; a borrower looks at all at once."""
    if asked.turn is not QuotaClass.IN_QUOTA:
        return (-1,)
    return pinning.candidates(known.nodes, asked.job.account, asked.fit)


def _keeps_cells(known: Preemptable, asked: Asked, found: Found, among: int) -> bool:
    floor, account = known.world.floor, asked.job.account
    return pinning.keeps_cells(floor, known.nodes, account, found.slots, among == -1)


def _is_within(known: Preemptable, asked: Asked, found: Found) -> bool:
    """Return whether the start is in quota, once the victims are gone (R1)."""
    quota = known.world.quotas[known.pool]
    for run in found.victims:
        quota.charge_run(run, -1)
    over = quota.beyond(asked.job.account, sum_of(found.slots))
    for run in found.victims:
        quota.charge_run(run, 1)
    return over is None
