"""Whose runs end so that another starts: an owner's recall, and shares (R8, R9, R10).

Nodes are chosen first, each with the cheapest legal victims on it, so that every eviction
helps; victims are whole gangs, so one may free several nodes. Afterwards what was not
needed is given back, and the whole set is checked again: a victim that was legal may not
be so any more once others are gone (Kueue #14543).

An owner's in-quota job takes back what was lent. A borrower takes from background work, and
from a borrower whose share stays larger than its own, even with this job: so no two can take
from each other in turns. That three cannot do so either is up to `is_thrifty`. Nobody else
preempts.
"""

from collections.abc import Iterable, Iterator
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from scheduler.core.leaving import Leaving
from scheduler.core.model import AccountName, QuotaClass, Run, RunId, Slot
from scheduler.core.placement import bits, lowest
from scheduler.core.preemptable import Asked, Preemptable
from scheduler.core.victims import (
    Cost,
    has_larger_share,
    is_legal,
    is_thrifty,
    stays_at_nominal,
)

ATTEMPTS = 24
"""How often victims are chosen anew when one choice made another's victim illegal."""


class Found(NamedTuple):
    """Whose runs end, and the GPUs that the preemptor is leased at once (R8.6).

    `leaving` end already for somebody else, and hold some of these GPUs until then.
    """

    victims: tuple[Run, ...]
    slots: tuple[Slot, ...]
    leaving: tuple[Run, ...]


def search(known: Preemptable, asked: Asked, places: Iterable[int]) -> Iterator[tuple[int, Found]]:
    """Yield the cheapest victims found that let the job start, for each set of nodes that has any.

    `places` are sets of nodes to look at, a bit per rank. Depth first over "what if not this
    one": complete for few candidates, bounded for many.
    """
    if not known.is_worth_a_look(asked):
        return
    looking, any_found = _Search(known, asked), False
    if looking.is_hopeful():
        for among in places:
            found = looking.among(among)
            if found is not None:
                any_found = True
                yield among, found
    if not any_found and asked.turn is not QuotaClass.IN_QUOTA:
        known.failed()


class _Search:
    """Tries sets of victims on the world's quota, and leaves it as it was."""

    def __init__(self, known: Preemptable, asked: Asked) -> None:
        self._nodes = known.nodes
        self._quota = known.world.quotas[known.pool]
        self._known = known
        self._costs = known.costs
        self._job, self._fit, self._blocked, self._turn = asked
        self._gpus = asked.fit.gpus
        self._among = -1
        self._without: frozenset[RunId] = frozenset()
        self._gone: dict[RunId, Run] = {}
        self._richer: dict[AccountName, bool] = {}
        self.conflict = False
        self.tried: tuple[RunId, ...] = ()
        # Whoever is no legal victim now is none when others are gone: shares only fall.
        shares = self._turn is not QuotaClass.IN_QUOTA
        self._leaving = Leaving() if shares else known.leaving
        legal = self._legal_now() if shares else self._legal_to_owner()
        self._runs = {run.id: run for run in legal}

    def _legal_now(self) -> Iterator[Run]:
        """Yield the runs that are legal victims of a borrower: alike runs are so alike."""
        known: dict[tuple[AccountName, int, int], bool] = {}
        for run in self._known.movable:
            if run.quota_class is QuotaClass.BACKGROUND:
                yield run
                continue
            if self._is_out_of_reach(run.account):
                continue
            key = (run.account, run.gpus, run.preemptions)
            legal = known.get(key)
            if legal is None:
                legal = known[key] = self._is_legal(run)
            if legal:
                yield run

    def _legal_to_owner(self) -> Iterator[Run]:
        """Yield those of an owner: alike runs of an account are legal alike."""
        known: dict[tuple[AccountName, QuotaClass, int], bool] = {}
        for run in self._known.runs.values():
            key = (run.account, run.quota_class, len(run.slots))
            legal = known.get(key)
            if legal is None:
                legal = known[key] = self._is_legal(run)
            if legal:
                yield run

    def among(self, places: int) -> Found | None:
        """Return the cheapest victims found that let the job start on some of these nodes."""
        self._among = places
        waiting: list[frozenset[RunId]] = [frozenset()]
        seen: set[frozenset[RunId]] = set()
        for _ in range(ATTEMPTS):
            if not waiting:
                return None
            without = waiting.pop()
            seen.add(without)
            found = self.attempt(without)
            if found is not None:
                return found
            if self.conflict:
                more = (without | {run} for run in sorted(self.tried, reverse=True))
                waiting.extend(choice for choice in more if choice not in seen)
        return None

    def _is_out_of_reach(self, account: AccountName) -> bool:
        """Return whether a borrower need not look at an account's runs: the cheap part of it."""
        known = self._richer.get(account)
        if known is None:
            known = has_larger_share(self._quota, account, self._job.account, self._gpus)
            self._richer[account] = known
        return not known

    def is_hopeful(self) -> bool:
        """Return whether all legal victims together could do."""
        lent = sum(run.gpus for run in self._runs.values())
        return self._nodes.free + self._leaving.gpus + lent >= self._gpus

    def _is_legal(self, run: Run) -> bool:
        if self._turn is QuotaClass.IN_QUOTA:
            return is_legal(self._quota, run, self._job)
        if run.quota_class is QuotaClass.BACKGROUND:
            return True
        if not self._is_ripe(run) or not is_thrifty((run,), self._gpus):
            return False
        quota, account = self._quota, self._job.account
        return has_larger_share(quota, run.account, account, self._gpus) and stays_at_nominal(
            quota, run, account
        )

    def _is_ripe(self, run: Run) -> bool:
        """Return whether shares may move at all now: what is bounded in time or rate (R9)."""
        rules, now = self._known.world.policy.rules, self._known.now
        if now - self._job.submitted_at < rules.preempt_delay:
            return False
        if run.id not in self._known.ripe:
            return False
        moved = sum(1 for gone in self._gone.values() if gone.quota_class is QuotaClass.BORROWED)
        return moved < self._known.world.may_move(self._known.pool, now)

    def attempt(self, without: frozenset[RunId]) -> Found | None:
        """Choose among all but these; afterwards `tried` and `conflict` say why it failed."""
        self.conflict = False
        self._without = without
        try:
            ranks = self._choose_nodes()
            done = ranks is not None and self._free_quota()
            self.tried = tuple(self._gone)
            if ranks is None or not done:
                return None
            self._trim(ranks)
            if not self._holds(ranks):
                self.conflict = True
                return None
            victims = tuple(sorted(self._gone.values(), key=lambda run: run.id))
            slots = self._slots(ranks)
            leaving = sorted(self._leaving.holding(self._nodes, ranks, slots))
            return Found(victims, slots, tuple(self._known.world.runs[name] for name in leaving))
        finally:
            for run in list(self._gone.values()):
                self._put_back(run)

    def _choose_nodes(self) -> list[int] | None:
        """Take nodes one by one, cheapest first, with the victims that each needs."""
        heap = self._estimates()
        chosen: set[int] = set()
        while heap and len(chosen) < self._fit.nodes:
            price, rank = heappop(heap)
            if rank in chosen:
                continue
            victims = self._needed(rank)
            if victims is None or self._price(victims) > price:
                # The estimate was too low, or victims chosen meanwhile made another illegal.
                self._offer(heap, rank, victims)
                continue
            chosen.add(rank)
            for run in victims:
                self._take(run)
            # A whole gang ends: what it held elsewhere is cheaper now.
            for other in sorted({r for run in victims for r in self._known.ranks[run.id]} - chosen):
                self._offer(heap, other, self._needed(other))
        return sorted(chosen) if len(chosen) == self._fit.nodes else None

    def _offer(
        self, heap: list[tuple["_Price", int]], rank: int, victims: list[Run] | None
    ) -> None:
        if victims is not None:
            heappush(heap, (self._price(victims), rank))

    def _estimates(self) -> list[tuple["_Price", int]]:
        """Return each node's price if every victim were legal: never more than the real one."""
        wanted, order = self._fit.gpus_per_node, self._nodes.order
        heap: list[tuple[_Price, int]] = []
        for rank in bits(self._among & self._known.worth_looking_at(wanted)):
            state = order[rank]
            room = self._room(rank)
            victims: list[Run] = []
            for run in self._known.on_node.get(rank, ()):
                if room.bit_count() >= wanted:
                    break
                if run.id in self._runs and run.id not in self._without:
                    victims.append(run)
                    more = state.holders[run.id].mask & state.healthy
                    room |= more & ~self._blocked.get(rank, 0)
            if room.bit_count() >= wanted:
                heap.append((self._price(victims), rank))
        heapify(heap)
        return heap

    def _needed(self, rank: int) -> list[Run] | None:
        """Return the cheapest legal victims that make room on one node; None: nothing does."""
        if not self._among >> rank & 1:
            return None
        wanted = self._fit.gpus_per_node
        victims: list[Run] = []
        try:
            for run in self._known.on_node.get(rank, ()):
                if self._room(rank).bit_count() >= wanted:
                    break
                if run.id in self._gone or run.id in self._without or run.id not in self._runs:
                    continue
                if self._is_legal(run):
                    self._take(run)
                    victims.append(run)
                elif self._gone:
                    self.conflict = True
            enough = self._room(rank).bit_count() >= wanted
        finally:
            for run in victims:
                self._put_back(run)
        return victims if enough else None

    def _room(self, rank: int) -> int:
        """Return a node's GPUs that are free once the chosen victims are gone."""
        state = self._nodes.order[rank]
        room, leaving = state.free, self._leaving.on(rank)
        if self._gone or leaving:
            held = 0
            for run, holder in state.holders.items():
                if run not in self._gone and run not in leaving:
                    held |= holder.mask
            room = state.healthy & ~held
        return room & ~self._blocked.get(rank, 0)

    def _lacking(self) -> int:
        """Return by how many GPUs quota still refuses the job: over nominal, or not available."""
        asked, account = self._gpus, self._job.account
        short = max(0, asked - self._quota.available(account))
        if self._turn is not QuotaClass.IN_QUOTA:
            return short
        path = self._quota.path(account)
        return short + sum(max(0, level.used + asked - level.nominal) for level in path)

    def _free_quota(self) -> bool:
        """Add the cheapest victims that quota needs beyond the nodes' (sums can be short too)."""
        lacking, progress = self._lacking(), True
        while lacking and progress:
            progress = False
            for run in self._runs.values():
                if run.id in self._gone or run.id in self._without:
                    continue
                if not self._is_legal(run):
                    self.conflict |= bool(self._gone)
                    continue
                self._take(run)
                left = self._lacking()
                if left < lacking:
                    lacking, progress = left, True
                else:
                    self._put_back(run)
                if not lacking:
                    break
        return not lacking

    def _trim(self, ranks: list[int]) -> None:
        """Give back every victim that turns out not to be needed, the dearest first."""
        chosen = set(ranks)
        for run in sorted(self._gone.values(), key=lambda r: self._costs[r.id], reverse=True):
            self._put_back(run)
            if not self._fits(chosen.intersection(self._known.ranks[run.id])):
                self._take(run)

    def _fits(self, ranks: Iterable[int]) -> bool:
        wanted = self._fit.gpus_per_node
        enough = all(self._room(rank).bit_count() >= wanted for rank in ranks)
        return enough and not self._lacking()

    def _holds(self, ranks: list[int]) -> bool:
        """Check the trimmed set again: each victim must be legal with all others gone (R8.5)."""
        for run in list(self._gone.values()):
            self._put_back(run)
            legal = self._is_legal(run)
            self._take(run)
            if not legal:
                return False
        if self._turn is not QuotaClass.IN_QUOTA and not is_thrifty(
            self._gone.values(), self._gpus
        ):
            return False
        return self._fits(ranks)

    def _slots(self, ranks: list[int]) -> tuple[Slot, ...]:
        wanted = self._fit.gpus_per_node
        order = self._nodes.order
        return tuple(Slot(order[r].node.id, lowest(self._room(r), wanted)) for r in ranks)

    def _take(self, run: Run) -> None:
        self._gone[run.id] = run
        self._quota.charge_run(run, -1)

    def _put_back(self, run: Run) -> None:
        del self._gone[run.id]
        self._quota.charge_run(run, 1)

    def _price(self, victims: list[Run]) -> "_Price":
        """Return what a node costs: the sum, then the victims' own order among equals."""
        paid = tuple(sorted(self._costs[run.id] for run in victims))
        return sum(one[0] for one in paid), paid


_Price = tuple[int, tuple[Cost, ...]]
