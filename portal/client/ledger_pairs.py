"""What a `Hub` is asked about the balance of pairs over time."""

from datetime import datetime

from portal.client.hub import Hub
from scheduler.core.ledger import By
from scheduler.wire.pair_balances import PairPage


def pair_balances(hub: Hub, since: datetime, by: By, parts: int = 60) -> PairPage:
    """Return how each pair's balance went since then, in so many parts."""
    asked = {"from": since.isoformat(), "by": by.value, "parts": parts}
    return hub.ask(PairPage, "/v1/ledger/pairs", asked)
