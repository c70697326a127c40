"""The leases on this machine, as the hub tells them in its replies to reports.

A list comes only when it is another than the report said; how old it may be comes each time.
So a process that began before the hub looked, and whose run has no lease, is a stranger, and
one that began after that is not judged by a list that could not know of it.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from agents.node.samples import Gpu


class HeardLease(msgspec.Struct, frozen=True):
    """One run's GPUs here, by index; what a newer hub adds is passed over."""

    run: str
    gpus: tuple[int, ...]


class HeardLeases(msgspec.Struct, frozen=True):
    """All leases on a node, and what names the list."""

    node: str
    digest: str = ""
    leases: tuple[HeardLease, ...] = ()


class KnownLeases:
    """What was heard last. Written by the thread that reports, read by the one that looks up."""

    def __init__(self, node: str) -> None:
        self._node = node
        # Both in one, so that nobody reads a list with another's instant.
        self._known: tuple[HeardLeases, float | None] = (HeardLeases(node), None)

    @property
    def digest(self) -> str:
        """What names the list that is known."""
        return self._known[0].digest

    def heard(
        self, news: Sequence[HeardLeases], seconds_old: float | None, asked_at: float
    ) -> None:
        """Take in a reply to a report that was sent at `asked_at`, in seconds since the start.

        A hub that knows nothing now leaves what was known with the instant that it had.
        """
        if seconds_old is None:
            return
        mine = next((one for one in news if one.node == self._node), self._known[0])
        self._known = mine, asked_at - seconds_old

    def now(self, gpus: Iterable[Gpu]) -> tuple[Mapping[str, frozenset[str]] | None, float]:
        """Return each run's GPUs by UUID and as of when; None: no hub has told."""
        leases, as_of = self._known
        if as_of is None:
            return None, 0.0
        uuids = {gpu.index: gpu.uuid for gpu in gpus}
        found = {
            one.run: frozenset(uuids[index] for index in one.gpus if index in uuids)
            for one in leases.leases
        }
        return found, as_of
