"""What a `Hub` is asked about lending and use, apart from what it is asked about jobs."""

from datetime import datetime
from enum import StrEnum

from portal.client.hub import Hub
from scheduler.core.ledger import By
from scheduler.wire.ledger import LedgerPage
from scheduler.wire.sector_use import SectorUsePage
from scheduler.wire.usage import UsagePage


class FileKind(StrEnum):
    """How the ledger's entries can be had as a file; the value is the file's ending."""

    CSV = "csv"
    PARQUET = "parquet"


def ledger(
    hub: Hub, since: datetime, by: By, after: str | None = None, limit: int = 100
) -> LedgerPage:
    """Return sums since then, and a page of the loans that concern the caller."""
    asked = {"from": since.isoformat(), "by": by.value, "after": after, "limit": limit}
    return hub.ask(LedgerPage, "/v1/ledger", asked)


def ledger_file(hub: Hub, since: datetime, kind: FileKind) -> bytes:
    """Return all entries since then that concern the caller, as a file."""
    return hub.fetch(f"/v1/ledger/entries.{kind.value}", {"from": since.isoformat()})


def usage(hub: Hub, days: int, account: str | None = None) -> UsagePage:
    """Return what the caller's accounts used day by day, and the budgets that bind them."""
    return hub.ask(UsagePage, "/v1/usage", {"days": days, "account": account})


def sector_use(hub: Hub, days: int) -> SectorUsePage:
    """Return how many GPUs each sector had, hour by hour."""
    return hub.ask(SectorUsePage, "/v1/sector-use", {"days": days})
