"""Which runs have which GPUs of each node, as agents are told it: small, and only where it changed.

An agent's report names the list that it has by its digest, so nothing needs to be remembered of
whom it was told to, and a lost answer is told again. How old a list may be is told with it: a
run that was leased since is not in it, and its processes are no strangers for that.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from scheduler.wire.nodes import NodeLease, NodeLeases

REFRESH_SECONDS = 10.0
_DIGEST = 16


@dataclass(slots=True)
class _Site:
    marker: object = None
    looked_at: float | None = None
    looking: bool = False
    nodes: Mapping[str, NodeLeases] = field(default_factory=dict)


def digest_of(leases: Sequence[NodeLease]) -> str:
    """Return what names a list of leases; nothing for none."""
    if not leases:
        return ""
    said = json.dumps(sorted((one.run, one.token, sorted(one.gpus)) for one in leases))
    return hashlib.sha256(said.encode()).hexdigest()[:_DIGEST]


class LeaseBook:
    """The leases of each site's nodes. `now` is monotonic everywhere, in seconds."""

    def __init__(self) -> None:
        self._sites: dict[str, _Site] = {}

    def begin_look(self, site: str, now: float) -> bool:
        """Return whether the caller is to look at a site's leases anew: one does, at a time."""
        known = self._sites.setdefault(site, _Site())
        is_fresh = known.looked_at is not None and now - known.looked_at < REFRESH_SECONDS
        if known.looking or is_fresh:
            return False
        known.looking = True
        return True

    def end_look(self, site: str) -> None:
        """Let the next one look, whatever came of this look."""
        self._sites[site].looking = False

    def is_as_before(self, site: str, marker: object, began: float) -> bool:
        """Return whether a site's leases are those of the last look, which is renewed if so."""
        known = self._sites[site]
        same = known.looked_at is not None and known.marker == marker
        if same:
            known.looked_at = began
        return same

    def put(
        self, site: str, marker: object, leases: Mapping[str, Sequence[NodeLease]], began: float
    ) -> None:
        """Take in a site's leases by node, as they were when the look began."""
        known = self._sites[site]
        known.marker, known.looked_at = marker, began
        known.nodes = {
            node: NodeLeases(node=node, digest=digest_of(found), leases=tuple(found))
            for node, found in leases.items()
        }

    def age(self, site: str, now: float) -> float | None:
        """Return how old what is known of a site is, in seconds; None: nothing is."""
        known = self._sites.get(site)
        return None if known is None or known.looked_at is None else now - known.looked_at

    def news(self, site: str, node: str, digest: str) -> NodeLeases | None:
        """Return a node's leases where its agent has another list."""
        known = self._sites[site].nodes.get(node)
        if known is None:
            return NodeLeases(node=node) if digest else None
        return known if known.digest != digest else None
