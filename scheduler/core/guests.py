"""Background work on idle leases: who starts on GPUs that others have leased and leave idle (R18).

After all that a cycle starts on free GPUs, background jobs that still wait may be seated on
lent leases, accounts in turn by least share. Rules of place hold as for any start: candidate
pools, planned starts, windows, agreements, people's limits. A job sits on one lease and no
more, so that one owner's recall ends no more than it must; and two labels never meet on a GPU.
"""

from collections.abc import Mapping
from heapq import heapify, heappop, heapreplace

from scheduler.core import wording
from scheduler.core.cycle import Cycle
from scheduler.core.decisions import Start
from scheduler.core.model import AccountName, Job, NodeId, PoolId, QuotaClass, Run, RunId, Slot
from scheduler.core.ordering import Entry, Kind, in_order
from scheduler.core.placement import lowest, mask_of
from scheduler.core.policy import Order
from scheduler.core.terms import guest_terms
from scheduler.core.turns import Tree, Turns
from scheduler.core.world import EVERYBODY

_TURN = QuotaClass.BACKGROUND


def seat(cycle: Cycle, usage: Mapping[AccountName, float]) -> None:
    """Start waiting background jobs on lent leases; free of cost where nothing is lent."""
    if cycle.world.lending.hosts and cycle.world.waiting.kinds_of[_TURN] and not cycle.is_over:
        _Seating(cycle).run(usage)


class _Seating:
    """What is open on lent leases in this cycle, and who tries for it."""

    def __init__(self, cycle: Cycle) -> None:
        self._cycle = cycle
        self._world = cycle.world
        self._open: dict[RunId, dict[NodeId, int]] = {}
        self._hosts: dict[int, dict[RunId, Run]] = {}
        self._mask = 0
        for name in sorted(self._world.lending.hosts):
            host = self._world.lending.hosts[name]
            bit = self._world.rooms.bits.get(host.pool)
            left = self._world.lending.open_on(host)
            if bit is not None and any(left.values()) and host.ends_by > cycle.now:
                self._open[name] = left
                self._hosts.setdefault(bit, {})[name] = host
                self._mask |= 1 << bit

    def run(self, usage: Mapping[AccountName, float]) -> None:
        """Let accounts take turns until nobody finds a place."""
        if not self._mask:
            return
        waiting = self._world.waiting
        groups = [EVERYBODY]
        if self._cycle.rules.order is not Order.FIFO:
            groups = [
                a for a in waiting.accounts() if waiting.reach(a).places[_TURN].union & self._mask
            ]
        index = self._world.index
        turns = Turns(index, usage, Tree.of(index, groups))
        queues: dict[AccountName, list[tuple[Entry, int, Kind]]] = {}
        while (group := turns.take()) is not None:
            if group not in queues:
                queues[group] = self._queue(group)
            turns.give_back(0.0, self._serve(queues[group]))

    def _queue(self, group: AccountName) -> list[tuple[Entry, int, Kind]]:
        waiting = self._world.waiting
        kinds = list(waiting.kinds()) if group == EVERYBODY else waiting.of(group)
        mine = [kind for kind in kinds if kind.within(_TURN) & self._mask]
        firsts = ((kind.queue.after(None), number, kind) for number, kind in enumerate(mine))
        heads = [(place, number, kind) for place, number, kind in firsts if place is not None]
        heapify(heads)
        return heads

    def _serve(self, heads: list[tuple[Entry, int, Kind]]) -> bool:
        """Seat a group's next job; return whether it may have more. A kind is refused once."""
        while heads:
            place, number, kind = heads[0]
            job = self._world.jobs[place[3]]
            ready = self._is_ready(kind, job)
            seated = ready and self._seat(kind, job)
            following = kind.queue.after(place) if seated or not ready else None
            if following is None:
                heappop(heads)
            else:
                heapreplace(heads, (following, number, kind))
            if seated:
                return bool(heads)
        return False

    def _is_ready(self, kind: Kind, job: Job) -> bool:
        if not self._cycle.is_ready(job):
            return False
        return not kind.user or self._cycle.user_has_room(kind)

    def _seat(self, kind: Kind, job: Job) -> bool:
        for bit in in_order(kind, kind.within(_TURN) & self._mask):
            pool = self._world.rooms.pools[bit]
            granted = guest_terms(self._world, kind, bit, self._cycle.now)
            if granted is None or self._cycle.own_tier_start(kind, pool) is not None:
                continue
            # The fullest lease that still fits: so that large ones stay open for gangs.
            hosts = self._hosts[bit].values()
            for host in sorted(hosts, key=lambda host: (_size(self._open[host.id]), host.id)):
                slots = self._slots(kind, bit, job, host)
                if slots is not None:
                    agreement = granted.agreement.id if granted.agreement else None
                    why = wording.guest(pool, host)
                    start = Start(job.id, pool.id, slots, _TURN, why, agreement, over=host.id)
                    self._take(kind, job, start)
                    return True
        return False

    def _take(self, kind: Kind, job: Job, start: Start) -> None:
        left = self._open[start.over] if start.over is not None else {}
        for slot in start.slots:
            left[slot.node] &= ~mask_of(slot.gpus)
        self._cycle.seat(kind, job, start)

    def _slots(self, kind: Kind, bit: int, job: Job, host: Run) -> tuple[Slot, ...] | None:
        """Return GPUs of a host for the whole gang, on the nodes with the fewest left, or None."""
        left, fit = self._open[host.id], kind.fits.fits[bit]
        if host.shape.label != kind.shape.label or _size(left) < fit.gpus:
            return None
        blocked = self._blocked(host.pool, job)
        rooms = []
        for node, mask in left.items():
            state = self._world.floor.nodes.get(node)
            if state is None or state.node.pool != host.pool or not state.node.usable:
                continue
            room = mask & state.healthy & ~blocked.get(state.rank, 0)
            if room.bit_count() >= fit.gpus_per_node:
                rooms.append((room.bit_count(), node, room))
        if len(rooms) < fit.nodes:
            return None
        chosen = sorted(rooms)[: fit.nodes]
        slots = (Slot(node, lowest(room, fit.gpus_per_node)) for _, node, room in chosen)
        return tuple(sorted(slots))

    def _blocked(self, pool: PoolId, job: Job) -> Mapping[int, int]:
        """Return what planned starts and windows keep from a run that ends by the job's limit."""
        nodes = self._world.floor.pool(pool)
        plans = self._cycle.reservations.pool(pool, nodes)
        return plans.blocked(self._cycle.now + job.time_limit, _TURN, job.id)


def _size(left: Mapping[NodeId, int]) -> int:
    return sum(mask.bit_count() for mask in left.values())
