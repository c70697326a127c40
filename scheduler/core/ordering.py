"""Who is next in an account: its own order (R2); whose turn it is, is in `turns.py`.

Jobs of one account that placement cannot tell apart wait in one queue (a `Kind`), so a
shape that cannot start is tried once per cycle, and what waits behind it in other shapes
is still reached. A cycle takes turns over accounts and kinds, never over jobs.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from datetime import datetime, timedelta

from scheduler.core.index import Candidates
from scheduler.core.model import AccountName, Job, JobId, QuotaClass, Shape
from scheduler.core.placement import bits
from scheduler.core.policy import Rules
from scheduler.core.rooms import FitClass

Entry = tuple[int, datetime, int, JobId]
"""A job's place in its queue: priority, then age (with its handicap), then submission."""

Age = tuple[datetime, int, JobId]
"""A job's place among all of its shape: age, then submission."""


_TICK = timedelta(microseconds=1)
_UNKNOWN = timedelta(hours=1)
"""What a job is taken to run that nothing is known of."""


def entry(job: Job, rules: Rules) -> Entry:
    """Return the job's place among those of its account (R2).

    With `short_first`, a job goes as if it had come later by so many times its predicted
    run time: short work overtakes long work, and whatever waits long enough goes first.
    """
    at = job.submitted_at
    if rules.short_first:
        at += _handicap(job, rules)
    return (job.priority.rank, at, job.sequence, job.id)


def _handicap(job: Job, rules: Rules) -> timedelta:
    """Return how much later than it came a job goes for the time that it is predicted to run.

    Where that is bounded, it grows ever more slowly towards the bound: of two jobs the one that
    is predicted to be shorter goes first still, and nobody is overtaken by who comes later than
    the bound says. A plain cut would treat all longer ones alike, which most GPU time is of.
    """
    later = (_UNKNOWN if job.predicted is None else job.predicted) * rules.short_first
    if not rules.short_first_max:
        return later
    ticks, most = later // _TICK, rules.short_first_max // _TICK
    return _TICK * (ticks * most // (ticks + most))


_LOAD = 256


class Queue:
    """Entries in order, in chunks that know their shortest time limit.

    Finding the first job with a limit that still fits before a planned start looks at
    chunks, not at jobs: queues are long, and most of their jobs do not fit.
    """

    __slots__ = ("_chunks", "_lasts", "_least", "_limits", "_size")

    def __init__(self) -> None:
        self._chunks: list[list[Entry]] = []
        self._limits: list[list[timedelta]] = []
        self._lasts: list[Entry] = []
        self._least: list[timedelta] = []
        self._size = 0

    def __len__(self) -> int:
        """Return how many wait."""
        return self._size

    def __iter__(self) -> Iterator[Entry]:
        """Yield every entry, in order."""
        for chunk in self._chunks:
            yield from chunk

    def put(self, place: Entry, limit: timedelta) -> None:
        """Let one more wait, whose time limit is `limit`."""
        self._size += 1
        if not self._chunks:
            self._chunks, self._limits = [[place]], [[limit]]
            self._lasts, self._least = [place], [limit]
            return
        n = at = 0
        if place > self._chunks[0][0]:  # else it is the head: one that a cycle tried comes back
            n = min(bisect_left(self._lasts, place), len(self._chunks) - 1)
            at = bisect_left(self._chunks[n], place)
        chunk = self._chunks[n]
        chunk.insert(at, place)
        self._limits[n].insert(at, limit)
        self._lasts[n] = chunk[-1]
        self._least[n] = min(self._least[n], limit)
        if len(chunk) > 2 * _LOAD:
            self._split(n)

    def _split(self, n: int) -> None:
        for lists in (self._chunks, self._limits):
            whole: list[object] = lists[n]  # type: ignore[assignment]  # either kind of list
            lists[n : n + 1] = [whole[:_LOAD], whole[_LOAD:]]  # type: ignore[list-item]
        self._lasts[n : n + 1] = [self._chunks[n][-1], self._chunks[n + 1][-1]]
        self._least[n : n + 1] = [min(self._limits[n]), min(self._limits[n + 1])]

    def drop(self, place: Entry) -> None:
        """Take an entry out; one that is not there is out already."""
        n = at = 0
        if self.first() != place:  # mostly it is the head that starts
            n = bisect_left(self._lasts, place)
            if n == len(self._chunks):
                return
            at = bisect_left(self._chunks[n], place)
        chunk, limits = self._chunks[n], self._limits[n]
        if at == len(chunk) or chunk[at] != place:
            return
        self._size -= 1
        del chunk[at]
        gone = limits.pop(at)
        if not chunk:
            for lists in (self._chunks, self._limits, self._lasts, self._least):
                del lists[n]
            return
        self._lasts[n] = chunk[-1]
        if gone == self._least[n]:
            self._least[n] = min(limits)

    @property
    def shortest(self) -> timedelta:
        """Return the shortest time limit of those who wait; the longest of all for nobody."""
        return min(self._least, default=timedelta.max)

    def first(self) -> Entry | None:
        """Return the head."""
        return self._chunks[0][0] if self._chunks else None

    def after(self, place: Entry | None, limit: timedelta | None = None) -> Entry | None:
        """Return the first entry behind `place` whose time limit is at most `limit`."""
        if not self._chunks:
            return None
        if limit is not None:
            return self._within(place, limit)
        head = self._chunks[0][0]
        if place is None or place < head:  # mostly: `place` was the head, and has started
            return head
        n = bisect_right(self._lasts, place)
        if n == len(self._chunks):
            return None
        return self._chunks[n][bisect_right(self._chunks[n], place)]

    def _within(self, place: Entry | None, limit: timedelta) -> Entry | None:
        n = 0 if place is None else bisect_right(self._lasts, place)
        if n == len(self._chunks):
            return None
        at = 0 if place is None else bisect_right(self._chunks[n], place)
        while n < len(self._chunks):
            if self._least[n] <= limit:
                limits = self._limits[n]
                for i in range(at, len(limits)):
                    if limits[i] <= limit:
                        return self._chunks[n][i]
            n, at = n + 1, 0
        return None

    def before(self, place: Entry) -> int:
        """Return how many entries are ahead of `place`."""
        n = bisect_left(self._lasts, place)
        ahead = sum(map(len, self._chunks[:n]))
        return ahead + (bisect_left(self._chunks[n], place) if n < len(self._chunks) else 0)


class Kind:
    """The waiting jobs of one account and shape whose time limits the same tiers allow.

    Where a person may hold only so many GPUs, their jobs are a kind of their own. `mask` are
    the candidate pools, a bit each by `Rooms.bits`; `guaranteed` those of them where the shape
    could be in quota if all else were idle. The candidates that are `strange` to the account,
    for want of an agreement, are in none of both.
    """

    __slots__ = (
        "account",
        "ages",
        "candidates",
        "fits",
        "guaranteed",
        "in_turn",
        "key",
        "mask",
        "order",
        "queue",
        "shape",
        "strange",
        "user",
    )

    def __init__(
        self, account: AccountName, shape: Shape, candidates: Candidates, fits: FitClass, user: str
    ) -> None:
        self.account = account
        self.shape = shape
        self.candidates = candidates
        self.fits = fits
        self.user = user
        self.guaranteed = 0
        # The place of each pool's bit in spill-over (R13): bits are the numbers of all pools.
        self.order = candidates.order
        self.in_turn = False  # it is that of the bits themselves, in the pools of `mask`
        self.mask = self.strange = 0
        self.queue = Queue()
        self.ages: list[Age] = []  # of all jobs of its shape: see `Waiting.oldest`
        # What two kinds are told apart by where all else is equal, the same in every process.
        self.key = (*shape_key(shape), candidates.names, user)

    def gpus(self, bit: int) -> int:
        """Return the GPUs of the whole gang in the pool with that bit."""
        return self.fits.gpus[bit]

    def within(self, turn: QuotaClass) -> int:
        """Return the pools where a job of this kind could start in a pass at all, a bit each."""
        if self.shape.background:
            return self.mask if turn is QuotaClass.BACKGROUND else 0
        if turn is QuotaClass.IN_QUOTA:
            return self.guaranteed
        return self.mask if turn is QuotaClass.BORROWED and self.shape.preemptible else 0


def shape_key(shape: Shape) -> tuple[object, ...]:
    """Return what tells shapes apart, in an order that is the same in every process."""
    return (
        shape.nodes,
        shape.gpus_per_node,
        tuple(sorted(shape.gpu_models)),
        shape.label,
        shape.tier_min.rank,
        shape.tier_max.rank,
        shape.preemptible,
        shape.background,
        shape.memory_gib,
        shape.h100e,
        tuple(sorted(shape.software)),
        shape.reservation or "",
    )


def in_order(kind: Kind, mask: int) -> Iterator[int]:
    """Yield the bits of a set of a kind's pools in its order of spill-over (R13)."""
    return bits(mask) if kind.in_turn else iter(sorted(bits(mask), key=kind.order.__getitem__))
