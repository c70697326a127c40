"""Faults of nodes as reports bring them: judged by `core.health`, stored, and carried out.

Called with reports that say something new, in the transaction that stores them. XIDs come
as counters, so a report that is lost or comes twice changes nothing: what counts is the
difference to what is stored for the agent's process.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.core.health import (
    HEALTH,
    HISTORY,
    Action,
    Clears,
    Cordon,
    Finding,
    GpuFacts,
    NodeFacts,
    XidEvent,
    cordoned,
    happened,
    is_clean,
    standing,
)
from scheduler.core.policy import Policy
from scheduler.core.xids import XID_RULES
from scheduler.db.draining import Lease, drain_runs, leases_on
from scheduler.db.faulted import Fault, requeue_faulted
from scheduler.db.node_tables import node_events
from scheduler.db.outbox import JobNote, write_history
from scheduler.wire.reports import ForeignUse, NodeReport

_NOTICE = timedelta(seconds=60)
"""What a run gets to save itself before its sick node is left, if its own notice is longer."""


_SAY_AGAIN = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Judged:
    """What a report means: the node's cordon before and after, and what is new."""

    node: str
    before: Cordon | None
    cordon: Cordon | None
    xids: Mapping[str, int]
    new: Sequence[XidEvent] = ()
    findings: Sequence[Finding] = ()
    leases: Sequence[Lease] = field(default=())
    foreign: Sequence[tuple[int, str]] = ()

    @property
    def columns(self) -> dict[str, Any]:
        """Return what the node's row says of it."""
        return {"xids": dict(self.xids), **cordon_columns(self.cordon)}


def cordon_columns(cordon: Cordon | None) -> dict[str, Any]:
    """Return a cordon as columns of `nodes`."""
    if cordon is None:
        return {"cordon_action": None, "cordon_why": "", "cordon_by": "", "clean_since": None} | {
            "cordoned_at": None,
            "cordon_until": None,
            "cordon_clears": Clears.WORD.value,
        }
    return {
        "cordon_action": int(cordon.action),
        "cordon_why": cordon.why[:300],
        "cordon_by": cordon.by,
        "cordoned_at": cordon.at,
        "cordon_clears": cordon.clears.value,
        "cordon_until": cordon.until,
        "clean_since": cordon.clean_since,
    }


def cordon_of(row: Mapping[str, Any]) -> Cordon | None:
    """Return the cordon that a row of `nodes` has, or None."""
    if row["cordon_action"] is None:
        return None
    return Cordon(
        Action(row["cordon_action"]),
        row["cordon_why"],
        row["cordon_by"],
        row["cordoned_at"],
        Clears(row["cordon_clears"]),
        row["cordon_until"],
        row["clean_since"],
    )


def said_of(cordon: Cordon) -> str:
    """Return why a cordoned node takes no work, in the words that people read."""
    if cordon.by == HEALTH:
        return cordon.why
    until = "" if cordon.until is None else f" until {cordon.until:%Y-%m-%d %H:%M} UTC"
    return f"drained by {cordon.by}{until}: {cordon.why}"


async def judge(
    conn: AsyncConnection,
    news: Sequence[tuple[NodeReport, Mapping[str, Any] | None]],
    now: datetime,
) -> dict[str, Judged]:
    """Judge reports, each with the row that is stored of its node, if any."""
    counted = {report.node: _counted(report, old) for report, old in news}
    used = {report.node: report for report, _ in news if report.foreign}
    sick = sorted({name for name, (_, new) in counted.items() if new} | set(used))
    leases = await leases_on(conn, sick)
    past = await _past(conn, sick, now - HISTORY)
    judged = {
        report.node: _judged(report, old, counted[report.node], leases, past, now)
        for report, old in news
    }
    for name, sentences in (await _foreign(conn, used, now)).items():
        judged[name] = replace(judged[name], foreign=sentences)
    return judged


async def _foreign(
    conn: AsyncConnection, used: Mapping[str, NodeReport], now: datetime
) -> dict[str, list[tuple[int, str]]]:
    """Return whose GPUs are used by others, as far as it was not said within the last hour."""
    if not used:
        return {}
    query = select(node_events.c.node_id, node_events.c.sentence).where(
        node_events.c.node_id.in_(sorted(used)),
        node_events.c.event == "foreign_use",
        node_events.c.at > now - _SAY_AGAIN,
    )
    said = {(row.node_id, row.sentence) for row in await conn.execute(query)}
    return {
        name: [(use.gpu, s) for use in report.foreign if (name, (s := _used_by(use))) not in said]
        for name, report in used.items()
    }


def _used_by(use: ForeignUse) -> str:
    who = f"run {use.run}, which has no lease there" if use.run else "no run"
    processes = "1 process" if use.processes == 1 else f"{use.processes} processes"
    return f"GPU {use.gpu} is used by {processes} of {who}"


def _counted(
    report: NodeReport, old: Mapping[str, Any] | None
) -> tuple[dict[str, int], list[tuple[int, int, int]]]:
    """Return all XIDs of the agent's process so far, and (GPU, XID, times) of the new ones."""
    same = old is not None and old["boot_id"] == report.boot_id
    known: Mapping[str, int] = old["xids"] if old is not None and same else {}
    all_of_them, new = dict(known), []
    for gpu in report.gpus:
        for each in gpu.xids:
            key = f"{gpu.uuid}:{each.xid}"
            more = each.count - known.get(key, 0)
            if more > 0:
                all_of_them[key] = each.count
                new.append((gpu.index, each.xid, more))
    return all_of_them, new


async def _past(
    conn: AsyncConnection, names: Sequence[str], since: datetime
) -> dict[str, list[XidEvent]]:
    found: dict[str, list[XidEvent]] = {name: [] for name in names}
    if not names:
        return found
    query = (
        select(node_events)
        .where(node_events.c.node_id.in_(names), node_events.c.at >= since)
        .where(node_events.c.xid.is_not(None))
        .order_by(node_events.c.id)
    )
    for row in (await conn.execute(query)).mappings():
        event = XidEvent(row["at"], row["gpu"], row["xid"], row["count"], row["user"] or "")
        found[row["node_id"]].append(event)
    return found


def _judged(  # what was read for all nodes, and this one's part of it
    report: NodeReport,
    old: Mapping[str, Any] | None,
    counted: tuple[dict[str, int], list[tuple[int, int, int]]],
    leases: Sequence[Lease],
    past: Mapping[str, Sequence[XidEvent]],
    now: datetime,
) -> Judged:
    mine = [lease for lease in leases if lease.node == report.node]
    users = {lease.gpu: lease.user for lease in mine}
    xids, seen = counted
    new = [XidEvent(now, gpu, xid, more, users.get(gpu, "")) for gpu, xid, more in seen]
    facts = facts_of(report)
    findings = [*standing(facts), *happened(new, past.get(report.node, ()), XID_RULES)]
    before = None if old is None else cordon_of(old)
    restarted = old is not None and old["boot_id"] != report.boot_id
    after = cordoned(before, findings, is_clean(facts), restarted, now)
    return Judged(report.node, before, after, xids, new, findings, mine)


def facts_of(report: NodeReport) -> NodeFacts:
    """Return what the core judges of a report."""
    gpus = tuple(
        GpuFacts(
            gpu.index,
            gpu.healthy,
            gpu.why_unhealthy,
            gpu.ecc_uncorrected,
            gpu.remap_pending,
            gpu.remap_failed,
            gpu.recovery_action,
        )
        for gpu in report.gpus
    )
    return NodeFacts(gpus, report.sampler.value)


async def carry_out(
    conn: AsyncConnection, judged: Sequence[Judged], policy: Policy, now: datetime
) -> list[str]:
    """Write down what happened, tell the jobs, drain; return the sites that have orders now."""
    rows = [_xid_row(one, event) for one in judged for event in one.new]
    rows += [
        event_row(one.node, now, "foreign_use", said) | {"gpu": gpu}
        for one in judged
        for gpu, said in one.foreign
    ]
    notes = [note for one in judged for note in _told(one, now)]
    drained: list[str] = []
    for one in judged:
        if not _is_new(one) or one.cordon is None:
            continue
        rows.append(event_row(one.node, now, "cordoned", one.cordon.why))
        if one.cordon.action >= Action.DRAIN:
            why = f"node {one.node} is drained: {one.cordon.why}"
            drained += await drain_runs(conn, [one.node], policy, now, why, _NOTICE)
        else:
            notes += await _noted(conn, one, now)
    if rows:
        await conn.execute(insert(node_events), rows)
    await write_history(conn, notes)
    await requeue_faulted(conn, [fault for one in judged for fault in _faults(one)], policy, now)
    return drained


def _faults(one: Judged) -> list[Fault]:
    """Return what a node says now that takes it out of work at once."""
    return [
        Fault(one.node, found.gpu, found.why)
        for found in one.findings
        if found.action >= Action.DRAIN
    ]


def _is_new(one: Judged) -> bool:
    if one.cordon is None:
        return False
    return one.before is None or one.cordon.action > one.before.action


def event_row(node: str, at: datetime, event: str, sentence: str) -> dict[str, Any]:
    """Return a row of a node's history that is about the whole node."""
    nothing = dict.fromkeys(("gpu", "xid", "count", "user"))
    return {"node_id": node, "at": at, "event": event, "sentence": sentence, **nothing}


def _xid_row(one: Judged, event: XidEvent) -> dict[str, Any]:
    rule = XID_RULES.get(event.xid)
    means = rule.means if rule is not None else "not in the table"
    times = "" if event.count == 1 else f" {event.count} times"
    sentence = f"GPU {event.gpu} reported XID {event.xid}{times}: {means}"
    return {
        **event_row(one.node, event.at, "xid", sentence),
        "gpu": event.gpu,
        "xid": event.xid,
        "count": event.count,
        "user": event.user or None,
    }


def _told(one: Judged, now: datetime) -> list[JobNote]:
    """Tell each job what its own GPU reported, whatever else follows."""
    by_gpu = {lease.gpu: lease for lease in one.leases}
    used = [
        JobNote(lease.job, now, "foreign_use", f"node {one.node}: {said}", lease.run)
        for gpu, said in one.foreign
        if (lease := by_gpu.get(gpu)) is not None
    ]
    return used + [
        JobNote(
            lease.job, now, "gpu_fault", f"node {one.node}: {found.why}; {found.todo}", lease.run
        )
        for found in one.findings
        if found.action >= Action.TELL and (lease := by_gpu.get(_gpu(found))) is not None
    ]


def _gpu(found: Finding) -> int:
    return -1 if found.gpu is None else found.gpu


async def _noted(conn: AsyncConnection, one: Judged, now: datetime) -> list[JobNote]:
    why = "" if one.cordon is None else one.cordon.why
    said = f"node {one.node} takes no new work, what runs may finish: {why}"
    jobs = {lease.run: lease.job for lease in await leases_on(conn, [one.node])}
    return [JobNote(job, now, "node_cordoned", said, run) for run, job in sorted(jobs.items())]
