"""Which Ray nodes should be where, and which are: what site and node agents tell each other.

A site agent says which runs it wants up; the database says where they are leased; each node
is granted its members for a while, and says how they stand. A grant is the whole safety of
it: a node that is not heard of ends its members when their grant is over, so the hub may
count them as fenced then, and not a moment before.

In memory alone, for it holds the tokens of Ray clusters: after a restart both sides say all
again, and until they did, every node counts as granted for a whole term.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from scheduler.wire.launches import LauncherReport, LaunchPhase, LaunchSeen
from scheduler.wire.nodes import LaunchOrder, LaunchOrders
from scheduler.wire.sites import NodeLaunched

_REFRESH_SECONDS = 30.0
_LEAST_SPARE_SECONDS = 5.0
_OVER = frozenset({LaunchPhase.ENDING, LaunchPhase.FENCED})
_QUIET = frozenset({LaunchPhase.UP, LaunchPhase.FENCED, LaunchPhase.NONE})


@dataclass(frozen=True, slots=True)
class Member:
    """What one node of a run should have."""

    node: str
    gpu_uuids: tuple[str, ...]
    cpus: int


@dataclass(frozen=True, slots=True)
class Placed:
    """An open run, its members with the head first, and when its lease ends in any case."""

    run: str
    token: int
    members: tuple[Member, ...]
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class Standing:
    """How a member stands on its node, and for how many seconds it has, as far as known here."""

    run: str
    phase: LaunchPhase
    why: str
    seconds: float


@dataclass(slots=True)
class _Site:
    instance: str = ""
    sequence: int = -1
    wanted: frozenset[str] | None = None  # None: not said since this process began
    placed: dict[str, Placed] = field(default_factory=dict)
    placed_at: float = float("-inf")


_Key = tuple[str, str]


class Launches:
    """What is known of launches. `now` is monotonic everywhere, in seconds."""

    def __init__(self, term_seconds: float = 300) -> None:
        """Grant members for `term_seconds` at a time."""
        self._term = term_seconds
        self._spare = max(_LEAST_SPARE_SECONDS, term_seconds / 10)
        self._began: float | None = None
        self._sites: dict[str, _Site] = {}
        self._seen: dict[_Key, LaunchSeen] = {}
        self._granted: dict[_Key, float] = {}
        self._granted_in: dict[_Key, int] = {}
        self._heard_in: dict[str, int] = {}
        self._moved: dict[_Key, float] = {}
        self._turn = 0

    def site_says(self, site: str, instance: str, sequence: int, wanted: Iterable[str]) -> None:
        """Take in which runs a site wants up, unless a newer message said so already."""
        known = self._sites.setdefault(site, _Site())
        if known.instance != instance or sequence >= known.sequence:
            known.instance, known.sequence = instance, sequence
            known.wanted = frozenset(wanted)

    def is_stale(self, site: str, now: float) -> bool:
        """Return whether the site's leases must be read anew."""
        return now - self._sites.setdefault(site, _Site()).placed_at > _REFRESH_SECONDS

    def place(self, site: str, placed: Sequence[Placed], now: float) -> None:
        """Take in the site's open runs, as the database has them."""
        known = self._sites.setdefault(site, _Site())
        known.placed, known.placed_at = {p.run: p for p in placed}, now

    def node_says(self, node: str, report: LauncherReport, now: float) -> bool:
        """Take in all that a node has; return whether that is news."""
        self._began = now if self._began is None else self._began
        self._turn += 1
        self._heard_in[node] = self._turn
        told = {(seen.run, node): seen for seen in report.launches}
        before = {key: seen for key, seen in self._seen.items() if key[1] == node}
        gone = self._granted.keys() - told.keys()
        for key in [key for key in gone if key[1] == node and self._is_settled(key)]:
            del self._granted[key], self._granted_in[key]
            self._moved.pop(key, None)
        for key in before.keys() - told.keys():
            del self._seen[key]
            self._moved.pop(key, None)
        for key, seen in told.items():
            if key not in before or before[key].phase is not seen.phase:
                self._moved[key] = now
        self._seen.update(told)
        return before != told

    def orders(self, site: str, node: str, now: float, at: datetime) -> LaunchOrders:
        """Grant a node its members, and return them. `at` is the instant `now`."""
        known = self._sites[site]
        wanted = tuple(self._wanted(known, node, now, at))
        settled = tuple(
            run
            for (run, where), seen in self._seen.items()
            if where == node and seen.phase is LaunchPhase.FENCED and run not in known.placed
        )
        return LaunchOrders(wanted=wanted, settled=settled)

    def _wanted(self, known: _Site, node: str, now: float, at: datetime) -> Iterator[LaunchOrder]:
        for placed in known.placed.values():
            number = next((i for i, m in enumerate(placed.members) if m.node == node), None)
            if number is None:
                continue
            key = (placed.run, node)
            seconds = min(self._term, (placed.ends_at - at).total_seconds())
            if seconds <= 0 or not self._should_be_up(known, placed, key, now):
                continue
            order = self._order(placed, number, seconds)
            if order is not None:
                self._granted[key] = max(self._granted.get(key, now), now + seconds)
                self._granted_in[key] = self._turn
                self._moved.setdefault(key, now)
                yield order

    def _should_be_up(self, known: _Site, placed: Placed, key: _Key, now: float) -> bool:
        """Say whether a member is to start or go on; once a part of a gang is over, no part is."""
        seen = self._seen.get(key)
        if known.wanted is None:
            # The site has not spoken since this process began: what goes on goes on.
            return seen is not None and seen.phase not in _OVER
        parts = (self.phase(placed.run, member.node, now) for member in placed.members)
        return placed.run in known.wanted and not any(phase in _OVER for phase, _ in parts)

    def _order(self, placed: Placed, number: int, seconds: float) -> LaunchOrder | None:
        """Return a member's order; None for a worker that has no head to join yet."""
        member, head = placed.members[number], placed.members[0]
        leader = self._seen.get((placed.run, head.node)) if number else None
        is_there = (placed.run, member.node) in self._seen
        if number and not is_there and not (leader and leader.phase is LaunchPhase.UP):
            return None
        return LaunchOrder(
            run=placed.run,
            token=placed.token,
            seconds=seconds,
            member=number,
            gpu_uuids=member.gpu_uuids,
            cpus=member.cpus,
            head=leader.head if leader else "",
            secret=leader.secret if leader else "",
        )

    def phase(self, run: str, node: str, now: float) -> tuple[LaunchPhase, str]:
        """Return how a member stands, and why."""
        key = (run, node)
        seen = self._seen.get(key)
        if seen is not None and seen.phase is LaunchPhase.FENCED:
            return seen.phase, seen.why
        if seen is None and self._is_settled(key):
            return LaunchPhase.NONE, ""
        self._began = now if self._began is None else self._began
        granted = self._granted.get(key, self._began + self._term)
        if now > granted + self._spare:
            return LaunchPhase.FENCED, f"{node} is not heard of, and its lease has expired"
        return (LaunchPhase.UNKNOWN, "") if seen is None else (seen.phase, seen.why)

    def has_launcher(self, node: str) -> bool:
        """Return whether a launcher has spoken for a node since this process began."""
        return node in self._heard_in

    def standing(self, node: str, now: float) -> tuple[Standing, ...]:
        """Return what a node has, and what it is granted and has not spoken of, by run.

        `seconds` is from when this process was first told of the phase.
        """
        keys = {key for key in (*self._seen, *self._granted) if key[1] == node}
        return tuple(self._standing(key, now) for key in sorted(keys))

    def _standing(self, key: _Key, now: float) -> Standing:
        phase, why = self.phase(*key, now)
        since, seen = self._moved.get(key, now), self._seen.get(key)
        if phase is LaunchPhase.FENCED and (seen is None or seen.phase is not phase):
            since = self._granted[key] + self._spare  # nobody said so: its grant has run out
        return Standing(key[0], phase, why, max(0.0, now - since))

    def _is_settled(self, key: _Key) -> bool:
        """Say whether the node has spoken since it was last granted this; it did not list it."""
        heard = self._heard_in.get(key[1])
        return heard is not None and heard > self._granted_in.get(key, -1)

    def launched(self, site: str, now: float) -> tuple[NodeLaunched, ...]:
        """Return how each member of the site's open runs stands."""
        known = self._sites.get(site)
        if known is None or known.wanted is None:
            return ()
        return tuple(
            self._launched(placed.run, member.node, now)
            for placed in known.placed.values()
            for member in placed.members
        )

    def _launched(self, run: str, node: str, now: float) -> NodeLaunched:
        phase, why = self.phase(run, node, now)
        seen = self._seen.get((run, node))
        api, secret = (seen.api, seen.secret) if seen else ("", "")
        return NodeLaunched(run=run, node=node, phase=phase, why=why, api=api, secret=secret)

    def is_moving(self, site: str, node: str, now: float) -> bool:
        """Return whether anything is about to change on a node, so that it should speak soon."""
        known = self._sites[site]
        parts = [
            self.phase(placed.run, member.node, now)[0]
            for placed in known.placed.values()
            if any(member.node == node for member in placed.members)
            and (placed.run in (known.wanted or ()) or (placed.run, node) in self._seen)
            for member in placed.members
        ]
        mine = [seen.phase for (_, where), seen in self._seen.items() if where == node]
        return any(phase not in _QUIET for phase in mine) or any(
            phase is not LaunchPhase.UP for phase in parts
        )
