"""The entries that a caller may see, whole, as a table for other programs: CSV and Parquet.

Both have the same columns. Amounts are exact: nine decimal places of an H100e-second.
"""

import csv
import io
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from scheduler.api.auth import Caller
from scheduler.api.deps import HubState, current_user, hub_of
from scheduler.api.ledger import Reach, WindowQuery, reach_of, seconds
from scheduler.core.ledger import Entry, Loan, entries
from scheduler.db.loans import Wanted, some_loans
from scheduler.errors import Refused

router = APIRouter(prefix="/v1", tags=["ledger"])

COLUMNS = (
    "loan",
    "side",
    "account",
    "institution",
    "sector",
    "counterparty",
    "counterparty_institution",
    "counterparty_sector",
    "pool",
    "tier",
    "agreement",
    "gpus",
    "h100e_factor_thousandths",
    "since",
    "until",
    "recalled_at",
    "simulated",
    "h100e_seconds",
)
_PAGE = 2_000
_CSV, _PARQUET = "text/csv", "application/vnd.apache.parquet"


def _file(media: str) -> dict[int | str, dict[str, Any]]:
    schema = {"type": "string", "format": "binary"}
    return {200: {"description": "The entries", "content": {media: {"schema": schema}}}}


@router.get("/ledger/entries.csv", response_class=Response, responses=_file(_CSV))
async def ledger_csv(
    request: Request,
    caller: Annotated[Caller, Depends(current_user)],
    query: Annotated[WindowQuery, Query()],
) -> Response:
    """Download both entries of each loan that the caller may see, newest first, as CSV."""
    hub = hub_of(request)
    window = query.window(hub.clock.now())
    reach = reach_of(caller, await hub.policy())
    return StreamingResponse(
        _lines(hub, window, reach), media_type=_CSV, headers=_named("entries.csv")
    )


@router.get(
    "/ledger/entries.parquet",
    response_class=Response,
    responses=_file(_PARQUET) | {501: {"description": "This hub has no pyarrow"}},
)
async def ledger_parquet(
    request: Request,
    caller: Annotated[Caller, Depends(current_user)],
    query: Annotated[WindowQuery, Query()],
) -> Response:
    """Download the same as Parquet, where the hub has pyarrow (`commonpool[parquet]`)."""
    hub = hub_of(request)
    window = query.window(hub.clock.now())
    file = _ParquetFile()
    reach = reach_of(caller, await hub.policy())
    async with aclosing(_pages(hub, window, reach)) as pages:
        async for page in pages:
            await run_in_threadpool(file.add, page, window)
    content = await run_in_threadpool(file.whole)
    return Response(content, media_type=_PARQUET, headers=_named("entries.parquet"))


def _named(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="commonpool-ledger-{name}"'}


async def _pages(
    hub: HubState, window: tuple[datetime, datetime], reach: Reach
) -> AsyncGenerator[Sequence[Loan], None]:
    """Yield loans page by page: no page is one moment with another, and none keeps a connection."""
    before: int | None = None
    while True:
        async with hub.db.reading() as conn:
            page = await some_loans(conn, Wanted(*window, reach.accounts), before, _PAGE)
        if page:
            yield page
        if len(page) < _PAGE:
            return
        before = page[-1].id


async def _lines(
    hub: HubState, window: tuple[datetime, datetime], reach: Reach
) -> AsyncIterator[str]:
    yield _csv([COLUMNS])
    async with aclosing(_pages(hub, window, reach)) as pages:
        async for page in pages:
            yield _csv([_texts(entry) for entry in entries(page, *window)])


def _csv(rows: Iterable[Sequence[str]]) -> str:
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue()


def _texts(entry: Entry) -> list[str]:
    return [_text(value) for value in _values(entry)]


def _text(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case datetime():
            return value.isoformat()
        case int() | str():
            return str(value)
        case _:
            return f"{value:f}"


def _values(entry: Entry) -> tuple[object, ...]:
    """Return an entry's values, in the order of `COLUMNS`."""
    loan, party, other = entry.loan, entry.party, entry.counterparty
    return (
        loan.id,
        entry.side.value,
        party.account,
        party.institution,
        party.sector.value,
        other.account,
        other.institution,
        other.sector.value,
        loan.pool,
        loan.tier.value,
        loan.agreement,
        loan.gpus,
        loan.factor,
        entry.since,
        entry.until,
        loan.recalled_at,
        loan.is_simulated,
        seconds(entry.amount),
    )


class _ParquetFile:
    """A Parquet file in memory, written a page of loans at a time.

    Raises:
        Refused: 501, pyarrow is not installed where the hub runs.
    """

    def __init__(self) -> None:
        try:
            import pyarrow as pa  # noqa: PLC0415  # an extra: most hubs need none of its 170 MB
            import pyarrow.parquet as pq  # noqa: PLC0415  # as above
        except ImportError as error:
            raise Refused(
                title="No Parquet here",
                detail="this hub has no pyarrow, which writes Parquet",
                status=501,
                next_step="take /v1/ledger/entries.csv, which has the same columns, or have the"
                " hub's operator install it: pip install 'commonpool[parquet]'",
            ) from error
        self._arrow = pa
        moment = pa.timestamp("us", tz="UTC")
        kinds = {"loan": pa.int64(), "gpus": pa.int32(), "h100e_factor_thousandths": pa.int32()}
        kinds["simulated"] = pa.bool_()
        kinds |= dict.fromkeys(("since", "until", "recalled_at"), moment)
        kinds["h100e_seconds"] = pa.decimal128(38, 9)
        self._schema = pa.schema([(name, kinds.get(name, pa.string())) for name in COLUMNS])
        self._bytes = io.BytesIO()
        self._writer = pq.ParquetWriter(self._bytes, self._schema)

    def add(self, page: Sequence[Loan], window: tuple[datetime, datetime]) -> None:
        """Write both entries of each of these loans."""
        rows = [dict(zip(COLUMNS, _values(entry), strict=True)) for entry in entries(page, *window)]
        if rows:
            self._writer.write_table(self._arrow.Table.from_pylist(rows, schema=self._schema))

    def whole(self) -> bytes:
        """End the file and return it."""
        self._writer.close()
        return self._bytes.getvalue()
