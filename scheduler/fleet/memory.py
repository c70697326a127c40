"""Who spoke last and when: which reports are news, which are old, and who fell silent.

A report that says nothing new costs no SQL: it moves a number on. Whatever planning or
health looks at goes into one hash, and only a report with another hash is stored. The
memory is of one process and lost with it; nodes speak again within seconds.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto

from scheduler.fleet.latest import FIELDS, GpuNow, Latest, Said, said
from scheduler.fleet.pace import Pace
from scheduler.fleet.shared import Shared
from scheduler.fleet.use import IDLE_MIB, IDLE_SM, IDLE_WATTS, GpuRollup, UseMemory
from scheduler.wire.reports import NodeReport, SaidReport, UnreadReport

_NOTHING = float("nan")


class Heard(Enum):
    """What a report is, against what is known of its node."""

    NEWS = auto()  # to be stored: the first of its process, or it says something new
    SAME = auto()
    OLD = auto()  # the same again, or overtaken on the way
    FENCED = auto()  # another agent speaks for this node, and began later


@dataclass(slots=True)
class Seat:
    """A node that speaks to this process. `heard` is in seconds of the epoch, by this clock.

    `stored` is False where the database may know it otherwise: its next report is news.
    `elsewhere` is when another process last heard it, as far as that is known here, and
    `split_at` when it last showed that there is such a one: numbers were left out. `since` is the
    report up to which its use was rolled up; it has `sent` so many since, and `taken` are those
    that came here: what the others said is for those to write who heard them. `written` is the
    number up to which the database knows that it spoke.
    """

    pool: str
    boot_id: str
    started_at: datetime | None
    sequence: int
    facts: int
    heard: float
    base: int
    count: int
    stored: bool = True
    said: Said | None = None
    elsewhere: float = float("-inf")
    split_at: float = float("-inf")
    since: float = 0.0
    sent: int = 0
    taken: int = 0
    written: int = -1

    @property
    def measured(self) -> float:
        """Return the seconds since `since` of which this process was told."""
        return (self.heard - self.since) * self.taken / self.sent if self.sent else 0.0


class Fleet:
    """The nodes that speak to this process, and how busy their GPUs are."""

    def __init__(self, fence_seconds: float) -> None:
        """Believe the agent that began last, as long as it spoke within `fence_seconds`."""
        self._fence_seconds = fence_seconds
        # By when they were heard, the longest ago first: silence is looked for from that end.
        self._seats: OrderedDict[str, Seat] = OrderedDict()
        self._newest, self._in_order = float("-inf"), True
        self._split: set[str] = set()
        self.use = UseMemory()
        self._latest = Latest()
        self._shared = Shared()
        self.pace = Pace()
        self.reports = 0

    def __len__(self) -> int:
        return len(self._seats)

    def seat(self, node: str) -> Seat | None:
        """Return what is known of a node."""
        return self._seats.get(node)

    def knows(self, report: UnreadReport) -> bool:
        """Return whether all that a report says of its GPUs was read and stored before."""
        seat = self._seats.get(report.node)
        if seat is None or not seat.stored or seat.boot_id != report.boot_id:
            return False
        return seat.facts == report.facts

    def hear(self, report: NodeReport | UnreadReport, now: float) -> Heard:
        """Take a report in where it says nothing new; else say what it is."""
        seat = self._seats.get(report.node)
        if seat is None:
            return Heard.NEWS
        if seat.boot_id != report.boot_id:
            return Heard.FENCED if self._is_fenced(seat, report, now) else Heard.NEWS
        if report.sequence <= seat.sequence:
            return Heard.OLD
        if not seat.stored or seat.facts != report.facts:
            return Heard.NEWS
        self._count(seat, report, now)
        return Heard.SAME

    def _is_fenced(self, seat: Seat, report: SaidReport, now: float) -> bool:
        """Return whether the agent that is known began later, and is there.

        Where one does not say when it began, the one that is new here is taken to be newer.
        """
        if seat.started_at is None or report.started_at is None:
            return False
        if now - seat.heard > self._fence_seconds:
            return False
        return (report.started_at, report.boot_id) < (seat.started_at, seat.boot_id)

    def stored(self, report: NodeReport, now: float) -> None:
        """Take in a report that was news and is in the database now."""
        known, count = self._seats.get(report.node), 1 + max(gpu.index for gpu in report.gpus)
        same = known is not None and known.boot_id == report.boot_id
        if known is not None and same and report.sequence <= known.sequence:
            return  # Another one overtook it while this was written.
        if known is not None and same and known.count == count:
            known.facts, known.pool, known.stored = report.facts, report.pool, True
            known.said = said(report)
            self._count(known, report, now)
            return
        base = self._places(known, count)
        seat = Seat(
            report.pool,
            report.boot_id,
            report.started_at,
            report.sequence,
            report.facts,
            now,
            base,
            count,
            said=said(report),
            # It has counted already: to a process before this one, or to one beside it.
            split_at=now if report.sequence else float("-inf"),
            since=now,
        )
        if known is not None and known.base == base and known.count == count and known.boot_id:
            # What was added up of the process before is rolled up with what comes.
            seat.since, seat.sent, seat.taken = known.since, known.sent, known.taken
        self._seats[report.node] = seat
        if report.sequence:
            self._split.add(report.node)
        self._count(seat, report, now)

    def _places(self, known: Seat | None, count: int) -> int:
        if known is not None:
            if known.count == count:
                return known.base
            self._leave(known)
        return self.use.places(count)

    def _count(self, seat: Seat, report: SaidReport, now: float) -> None:
        if report.sequence > seat.sequence + 1:
            # What was told elsewhere is missing here, and missing data is never idle (R18).
            seat.split_at = now
            self._split.add(report.node)
            self.use.interrupt(seat.base, seat.count)
        if report.sequence > seat.sequence:
            seat.sent += report.sequence - seat.sequence
            seat.taken += 1
        seat.sequence, seat.heard = report.sequence, now
        self._seats.move_to_end(report.node)
        self._in_order &= now >= self._newest  # A clock may be set back.
        self._newest = max(self._newest, now)
        self.reports += 1
        # What a report does not say is unknown now: nothing of the one before stays.
        last = [_NOTHING] * (FIELDS * seat.count)
        tells_runs = self.use.add(report, seat.base, last, now)
        self._latest.put(seat.base, last)
        if tells_runs or self._shared:
            self._shared.saw(report, seat.base, seat.count)

    def doubt(self, node: str) -> None:
        """Store a node's next report whatever it says: the database knows it otherwise."""
        seat = self._seats.get(node)
        if seat is not None:
            seat.stored = False

    def expect(self, node: str, pool: str, now: float) -> None:
        """Wait for a node that another process heard: silent from now, unless it speaks."""
        if node not in self._seats:
            base = self.use.places(0)
            self._seats[node] = Seat(pool, "", None, -1, 0, now, base, 0, stored=False)
            self._in_order &= now >= self._newest
            self._newest = max(self._newest, now)

    def forget(self, node: str) -> None:
        """Drop a node: it is silent and stored so, or gone."""
        seat = self._seats.pop(node, None)
        if seat is not None:
            self._leave(seat)

    def _leave(self, seat: Seat) -> None:
        self.use.leave(seat.base, seat.count)
        self._latest.leave(seat.base, seat.count)
        self._shared.leave(seat.base, seat.count)

    def silent(self, since: float) -> dict[str, float]:
        """Return the nodes that were last heard before, here or elsewhere, with when that was."""
        if not self._in_order:
            self._seats = OrderedDict(sorted(self._seats.items(), key=lambda one: one[1].heard))
            self._newest = max((seat.heard for seat in self._seats.values()), default=self._newest)
            self._in_order = True
        found = {}
        for name, seat in self._seats.items():
            if seat.heard >= since:
                break
            if seat.elsewhere < since:
                found[name] = max(seat.heard, seat.elsewhere)
        return found

    def split(self, since: float) -> dict[str, Seat]:
        """Return the nodes that showed since then that they speak to other processes too."""
        found = {
            name: seat
            for name in self._split
            if (seat := self._seats.get(name)) is not None and seat.split_at >= since
        }
        self._split = set(found)
        return found

    def heard_elsewhere(self, node: str, at: float) -> None:
        """Note that another process heard a node then."""
        seat = self._seats.get(node)
        if seat is not None:
            seat.elsewhere = max(seat.elsewhere, at)

    def heard_at(self, node: str) -> float | None:
        """Return when a node was last heard by this process."""
        seat = self._seats.get(node)
        return None if seat is None or not seat.boot_id else seat.heard

    def names(self) -> list[str]:
        """Return the nodes that speak here."""
        return list(self._seats)

    def idle_since(self, node: str, gpu: int) -> float | None:
        """Return since when a GPU does nothing; None where it works or nobody measured."""
        seat = self._seats.get(node)
        if seat is None or gpu >= seat.count:
            return None
        return self.use.idle_since(seat.base, gpu)

    def tells_runs(self, node: str) -> bool:
        """Return whether a node's agent can tell whose use it is where several runs have a GPU."""
        seat = self._seats.get(node)
        return seat is not None and seat.said is not None and seat.said.tells_runs

    def works(self, node: str, gpu: int, run: str) -> bool | None:
        """Return whether a run uses a GPU that others have too; None where it is not told."""
        seat = self._seats.get(node)
        if seat is None or gpu >= seat.count:
            return None
        return self._shared.works(seat.base + gpu, run)

    def is_busy(self, node: str, gpu: int) -> bool:
        """Return whether a GPU did something at its last report, for whomever."""
        now = self.now(node, gpu)
        most = ((now.sm_active, IDLE_SM), (now.memory_mib, IDLE_MIB), (now.power_watts, IDLE_WATTS))
        return any(value is not None and value > idle for value, idle in most)

    def now(self, node: str, gpu: int) -> GpuNow:
        """Return what a GPU's last report said; nothing where no report came here."""
        seat = self._seats.get(node)
        if seat is None or gpu >= seat.count:
            return GpuNow()
        return self._latest.of(seat.base, gpu)

    def is_unwritten(self, node: str) -> bool:
        """Return whether a node spoke since the database was last told that it does."""
        seat = self._seats.get(node)
        return seat is not None and seat.sequence > seat.written

    def rolled_up(self, node: str) -> Sequence[GpuRollup]:
        """Return what a node's GPUs did since the last time, and begin anew."""
        seat = self._seats.get(node)
        if seat is None:
            return ()
        rows = self.use.rolled_up(node, seat.base, seat.count, seat.measured)
        if rows:
            # Of one that was not heard the next report tells how many went elsewhere meanwhile.
            seat.since, seat.sent, seat.taken = seat.heard, 0, 0
        return rows
