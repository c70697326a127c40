"""Reports of nodes, on their way in: unpacked, decoded, checked against the token, taken.

Thousands come each second, so this is the one place where bodies are read by msgspec. A
report that says nothing new ends in the fleet's memory; the others go to the database,
all of a message in one transaction. A batch is taken in pieces, so that whoever asks for
something else meanwhile waits for a piece and not for the batch.
"""

import asyncio
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import zstandard
from starlette.requests import Request

from scheduler.api import body
from scheduler.api.auth import Caller
from scheduler.api.deps import HubState, hub_of
from scheduler.api.frame import NODES_BODY, too_large
from scheduler.db.nodes import fenced, save_reports
from scheduler.errors import Refused
from scheduler.fleet.memory import Heard
from scheduler.wire import reports as wire
from scheduler.wire.accounts import Scope
from scheduler.wire.nodes import NodeRefused
from scheduler.wire.replies import UPGRADE_FIRST
from scheduler.wire.reports import NodeReport, SaidReport, UnreadReport

MOST_BYTES = NODES_BODY
"""Of a message, packed and unpacked: a thousand nodes need about 3 MiB."""
_PIECE = 50
"""Reports of one message that are looked at between two turns of others: half a millisecond."""
_LARGE = 4096
"""Bytes, packed, from which on a message waits for its turn: some twenty reports or more."""
_AHEAD, _BEHIND = timedelta(minutes=5), timedelta(hours=1)
_CALENDAR = (datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC))


Reports = Sequence[NodeReport | UnreadReport]


async def read(request: Request) -> Reports:
    """Return the reports of a message, which may be packed with zstd.

    GPUs that are as this process knows them are not read anew.

    Raises:
        Refused: 400 or 415 not JSON, 413 too large, 422 not such a message.
    """
    body.check_content_type(request)
    packed, encoding = await request.body(), request.headers.get("content-encoding", "")
    hub = hub_of(request)
    async with _turn(hub, large=len(packed) > _LARGE):
        return _read(packed, encoding, hub.fleet.knows)


def _turn(hub: HubState, *, large: bool) -> AbstractAsyncContextManager[object]:
    """Return what lets one large message after another have the processor.

    After a pause dozens may be there at once, and each would have a piece read in every round of
    the event loop: whoever asks for something else would wait for all of them.
    """
    return hub.hearing if large else nullcontext()


def _read(packed: bytes, encoding: str, is_known: Callable[[UnreadReport], bool]) -> Reports:
    raw = _unpacked(packed, encoding)
    try:
        try:
            return wire.decode_unread(raw, is_known)
        except msgspec.ValidationError as error:
            msgspec.json.decode(raw)  # a wrong value may come before what is no JSON at all
            raise _invalid(raw, str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        body.check_json(raw)  # says what is wrong, and where
        raise Refused("Not valid JSON", "The body is not JSON.", status=400) from None


def _unpacked(raw: bytes, encoding: str) -> bytes:
    match encoding.strip().lower():
        case "" | "identity":
            return raw
        case "zstd":
            return _unzstd(raw)
        case other:
            raise Refused(
                title="Unsupported encoding",
                detail=f"The body is packed with {other}.",
                status=415,
                field="Content-Encoding",
                value=other,
                limit="zstd, or none",
                next_step="Pack it with zstd, or send it as it is.",
            )


def _unzstd(raw: bytes) -> bytes:
    try:
        # A few bytes can unpack to gigabytes, whatever their header says.
        with zstandard.ZstdDecompressor(max_window_size=MOST_BYTES).stream_reader(raw) as reader:
            found = reader.read(MOST_BYTES + 1)
    except zstandard.ZstdError:
        raise Refused(
            title="Not valid zstd",
            detail="The body says that it is packed with zstd, and cannot be unpacked.",
            status=400,
            field="body",
            next_step="Pack it again, or send it as it is.",
        ) from None
    if len(found) > MOST_BYTES:
        raise too_large(MOST_BYTES)
    return found


_PATH = re.compile(r" - at `\$(?P<path>[^`]*)`$")
_NAMED = re.compile(r"(?:unknown field|required field) `(?P<name>[^`]*)`")


def _invalid(raw: bytes, said: str) -> Refused:
    """Return msgspec's finding as the field, its value and what it must be."""
    found = _PATH.search(said)
    steps = [] if found is None else re.findall(r"[^.\[\]]+", found["path"])
    reason = said if found is None else said[: found.start()]
    unknown, named = "unknown field" in reason, _NAMED.search(reason)
    if named is not None:
        steps.append(named["name"])
        reason = "there is no such field" if unknown else "it is missing"
    name = ".".join(steps)
    return Refused(
        title="Not valid",
        detail=f"{name}: {reason}" if name else reason,
        field=name or "body",
        value=None if named is not None else _value(raw, steps),
        limit=None if named is not None else reason,
        next_step=f"Leave it out. {UPGRADE_FIRST}" if unknown else None,
    )


def _value(raw: bytes, steps: Iterable[str]) -> str | None:
    value: Any = json.loads(raw)
    for step in steps:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
    return None if isinstance(value, dict | list) or value is None else str(value)[:200]


@dataclass(slots=True)
class Taken:
    """What became of a message's reports."""

    accepted: int = 0
    refused: list[NodeRefused] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


async def take(hub: HubState, caller: Caller, found: Reports, *, apart: bool) -> Taken:
    """Take reports in. `apart`: what is wrong with one is told, and the others are taken.

    Raises:
        Refused: not `apart`, and something is wrong with one; nothing was taken.
    """
    taken = Taken()
    # No report speaks for the hub's clock: an agent whose clock is wrong is only told so.
    now = hub.clock.now()
    allowed = await _allowed(hub, caller, found, taken, apart=apart)
    async with _turn(hub, large=len(allowed) >= _PIECE):
        news = await _hear(hub, allowed, taken, now, apart=apart)
    if news:
        await _store(hub, news, taken, now, apart=apart)
    _note_skew(allowed, now, taken)
    return taken


async def _hear(
    hub: HubState, allowed: Reports, taken: Taken, now: datetime, *, apart: bool
) -> list[NodeReport]:
    """Take reports into the fleet's memory; return those that have to be stored."""
    at, news = now.timestamp(), []
    for number, report in enumerate(allowed, 1):
        if number % _PIECE == 0:
            await asyncio.sleep(0)
        match hub.fleet.hear(report, at):
            case Heard.SAME:
                taken.accepted += 1
            case Heard.NEWS:
                # The database has come to know it otherwise since it was read.
                news.append(report.read() if isinstance(report, UnreadReport) else report)
            case Heard.FENCED:
                seat = hub.fleet.seat(report.node)
                began = None if seat is None else seat.started_at
                _refuse(taken, report, fenced(report.node, began), apart=apart)
            case Heard.OLD:
                pass
    return news


async def _allowed(
    hub: HubState, caller: Caller, found: Reports, taken: Taken, *, apart: bool
) -> Reports:
    """Return the reports that the token may make and whose instants are possible."""
    sites = await hub.pool_sites.known(hub)
    known = frozenset(sites.values())
    allowed: list[NodeReport | UnreadReport] = []
    for place, report in enumerate(found):
        if place % _PIECE == _PIECE - 1:
            await asyncio.sleep(0)
        wrong = _impossible(place, report)
        if wrong is None and not _may(caller, report, sites, known):
            wrong = _not_yours(place, report, caller, known)
        if wrong is None:
            allowed.append(report)
        else:
            _refuse(taken, report, wrong, apart=apart)
    return allowed


def _refuse(taken: Taken, report: SaidReport, why: Refused, *, apart: bool) -> None:
    if not apart:
        raise why
    taken.refused.append(
        NodeRefused(node=report.node, field=why.field or "", detail=why.sentence())
    )


def _impossible(place: int, report: SaidReport) -> Refused | None:
    """Refuse instants outside the calendar that databases and people have."""
    first, last = _CALENDAR
    for name, at in (("sampled_at", report.sampled_at), ("started_at", report.started_at)):
        if at is not None and not first <= at <= last:
            return Refused(
                title="Not valid",
                detail=f"{name} is not an instant between 2000 and 2200",
                field=f"reports.{place}.{name}",
                value=str(at),
                limit="2000-01-01 to 2200-01-01",
                next_step="set the node's clock",
            )
    return None


def _may(
    caller: Caller, report: SaidReport, sites: Mapping[str, str], known: frozenset[str]
) -> bool:
    """Return whether a token speaks for this node: a site's for its pools, a node's for itself.

    A pool that no policy names is for `save_reports` to refuse, in the same words for all.
    """
    if caller.scope is Scope.ADMIN:
        return True
    if caller.subject in known:
        return sites.get(report.pool, caller.subject) == caller.subject
    return caller.subject == report.node


def _not_yours(place: int, report: SaidReport, caller: Caller, known: frozenset[str]) -> Refused:
    if caller.subject in known:
        return Refused(
            title="Not this site's pool",
            detail=f"Pool {report.pool} belongs to another site than this token's.",
            status=403,
            field=f"reports.{place}.pool",
            value=report.pool,
            limit=f"pools of site {caller.subject}",
            next_step="Use a token of that site.",
        )
    return Refused(
        title="Another node's token",
        detail=f"This token speaks for node {caller.subject}, and the report is of another.",
        status=403,
        field=f"reports.{place}.node",
        value=report.node,
        limit=caller.subject,
        next_step="Use the token of that node, or of its site.",
    )


async def _store(
    hub: HubState, news: Sequence[NodeReport], taken: Taken, now: datetime, *, apart: bool
) -> None:
    try:
        await _store_together(hub, news, taken, now)
    except Refused:
        if not apart:
            raise
        for report in news:
            try:
                await _store_together(hub, [report], taken, now)
            except Refused as why:
                _refuse(taken, report, why, apart=True)


async def _store_together(
    hub: HubState, news: Sequence[NodeReport], taken: Taken, now: datetime
) -> None:
    async with hub.db.transaction() as conn:
        policy = await hub.policies.current(conn)
        saved = await save_reports(conn, news, policy, now)
    for report in news:
        if report.node in saved.news:
            hub.fleet.stored(report, now.timestamp())
    taken.accepted += len(saved.news)
    if saved.changed:
        hub.wake.ring("cycle")
    for site in saved.sites:
        hub.wake.ring(f"site:{site}")


def _note_skew(found: Reports, now: datetime, taken: Taken) -> None:
    """Say whose clocks are wrong. A report may be late: a gateway keeps some for a while."""
    for report in found:
        ahead = report.sampled_at - now
        if ahead > _AHEAD or ahead < -_BEHIND:
            which = "ahead of" if ahead > _AHEAD else "behind"
            by = str(abs(ahead)).partition(".")[0]
            taken.notes.append(
                f"node {report.node}: its clock is {by} {which} the hub's, which counts; set it"
            )
