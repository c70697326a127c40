"""Who is next by age, where use now counts as coming later (R2, order `balanced`).

Least share first serves a small account at once and lets a large one wait behind every late
arrival. Plain age lets whoever queues most hold everything. Here an account's next job goes
by its age, and the part of all GPUs that the account holds now counts as so much of
`share_as_age`: with four days, an account that holds half of them waits as if its job had come
two days later. Use that is past counts for nothing, and whoever waits longest goes at last.
"""

from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from heapq import heapify, heappop, heappush

from scheduler.core.model import AccountName
from scheduler.core.world import World


class ByAge:
    """Hands out accounts by the age of their next job; each comes back after one try."""

    def __init__(self, world: World, next_of: Callable[[AccountName], datetime | None]) -> None:
        self._world = world
        self._next_of = next_of
        self._patience = world.policy.rules.share_as_age
        self._all = max(1, world.use.capacity)
        self._taken = AccountName("")
        self._queue: list[tuple[datetime, AccountName]] = []
        for account in world.waiting.accounts():
            head = next_of(account)
            if head is not None:
                self._queue.append((head + self._patience * self._part(account), account))
        heapify(self._queue)

    def _part(self, account: AccountName) -> float:
        """Return the part of all GPUs that an account holds, and those above it, by weight."""
        index, use = self._world.index, self._world.use.now
        names = index.chain(account)[:-1]  # everybody is below the root
        return sum(use.get(name, 0) / index.weight(name) for name in names) / self._all

    def take(self) -> AccountName | None:
        """Return the account whose next job goes first."""
        if not self._queue:
            return None
        self._taken = heappop(self._queue)[1]
        return self._taken

    def narrow(self, worth: Callable[[Collection[AccountName]], Iterable[AccountName]]) -> None:
        """Go on with some of the accounts only: here, all have been asked already."""

    def give_back(self, h100e_seconds: float, is_open: bool) -> None:
        """Queue it again where it has more to try; what it took counts from the world."""
        del h100e_seconds
        head = self._next_of(self._taken) if is_open else None
        if head is not None:
            place = head + self._patience * self._part(self._taken)
            heappush(self._queue, (place, self._taken))
