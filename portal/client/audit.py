"""The audit log at the hub: one method per endpoint, for pages and commands."""

from collections.abc import Mapping

from portal.client.hub import Hub
from scheduler.wire.audit import AuditCounts, AuditPage, AuditVerdict, Checkpoint

_PATH = "/v1/audit"


class AuditLog:
    """One person's view of the hub's audit log."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def rows(
        self, asked: Mapping[str, str | None], before: int | None = None, limit: int = 50
    ) -> AuditPage:
        """Return a page of rows, newest first; `before` is a page's `next`."""
        return self._hub.ask(AuditPage, _PATH, {**asked, "before": before, "limit": limit})

    def counts(self, asked: Mapping[str, str | None], days: int) -> AuditCounts:
        """Return how much was done by day and action, over the last days."""
        return self._hub.ask(AuditCounts, f"{_PATH}/counts", {**asked, "days": days})

    def checkpoint(self) -> Checkpoint:
        """Return where the chain ends now."""
        return self._hub.ask(Checkpoint, f"{_PATH}/checkpoint")

    def verify(
        self, first: int = 1, last: int | None = None, known: Checkpoint | None = None
    ) -> AuditVerdict:
        """Have the hub follow the chain, and hold it against a checkpoint."""
        asked: dict[str, str | int | None] = {"first": first, "last": last}
        if known is not None:
            asked |= {"sequence": known.sequence, "hash": known.hash}
        return self._hub.ask(AuditVerdict, f"{_PATH}/verify", asked)

    def export(self, first: int = 1, last: int | None = None) -> bytes:
        """Return rows as JSON lines with their seal."""
        return self._hub.fetch(f"{_PATH}/export", {"first": first, "last": last})
