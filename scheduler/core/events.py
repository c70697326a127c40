"""What events do to a snapshot: the plain meaning that `World.apply` must match."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from scheduler.core.lending import without_host
from scheduler.core.model import Job, Node, Run
from scheduler.core.snapshot import (
    Claim,
    DropJob,
    DropNode,
    DropRun,
    Entity,
    Event,
    Snapshot,
    Spent,
    Turnover,
    Usage,
)

_Key = TypeVar("_Key")
_Row = TypeVar("_Row")


def apply_event(snapshot: Snapshot, event: Event) -> Snapshot:
    """Return the snapshot after one event: the plain meaning that `World.apply` must match."""
    match event:
        case DropJob(job):
            return replace(snapshot, jobs=_without(snapshot.jobs, job))
        case DropRun(run):
            return replace(snapshot, runs=without_host(snapshot.runs, run))
        case DropNode(node):
            return replace(snapshot, nodes=_without(snapshot.nodes, node))
        case _:
            return _put(snapshot, event.entity)


def _put(snapshot: Snapshot, entity: Entity) -> Snapshot:
    jobs, runs, nodes = dict(snapshot.jobs), dict(snapshot.runs), dict(snapshot.nodes)
    usage, spent = dict(snapshot.usage), dict(snapshot.spent)
    claims, moved = dict(snapshot.claims), dict(snapshot.turnovers)
    match entity:
        case Job():
            jobs[entity.id] = entity
        case Run():
            runs[entity.id] = entity
        case Node():
            nodes[entity.id] = entity
        case Usage():
            usage[entity.account] = entity
        case Spent():
            spent[entity.budget] = entity
        case Claim():
            claims[entity.reservation] = entity
        case Turnover():
            moved[entity.pool] = entity
    return Snapshot(jobs, runs, nodes, usage, spent, claims, moved)


def _without(rows: Mapping[_Key, _Row], key: _Key) -> dict[_Key, _Row]:
    return {name: row for name, row in rows.items() if name != key}
