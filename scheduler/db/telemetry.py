"""Nodes and who has their GPUs, for a page of the fleet's telemetry."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.db.nodes import SITE_SILENT, WITH_SITE, why_unusable
from scheduler.db.tables import jobs, lease_gpus, nodes, runs


@dataclass(frozen=True, slots=True)
class Asked:
    """Which nodes: of these pools, with a lease of one of these accounts (None: any)."""

    pools: Sequence[str]
    accounts: Sequence[str] | None = None
    after: str | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True)
class KnownGpu:
    """A GPU as the last report that said something new had it."""

    index: int
    uuid: str
    healthy: bool


@dataclass(frozen=True, slots=True)
class KnownNode:
    """A node as the database has it."""

    name: str
    pool: str
    gpus: tuple[KnownGpu, ...]
    usable: bool
    why_unusable: str
    simulated: bool
    reported_at: datetime


@dataclass(frozen=True, slots=True)
class HeldGpu:
    """A leased GPU and whose it is."""

    node: str
    gpu: int
    draining: bool
    run: str
    job: str
    user: str
    account: str
    leased_at: datetime
    guest: bool
    label: str


async def known_nodes(conn: AsyncConnection, asked: Asked) -> list[KnownNode]:
    """Return nodes by name."""
    query = select(nodes, SITE_SILENT.label("site_silent")).select_from(WITH_SITE)
    query = query.where(nodes.c.pool.in_(asked.pools)).order_by(nodes.c.id).limit(asked.limit)
    if asked.after is not None:
        query = query.where(nodes.c.id > asked.after)
    if asked.accounts is not None:
        leased = _leases().where(jobs.c.account.in_(asked.accounts))
        query = query.where(nodes.c.id.in_(leased.with_only_columns(lease_gpus.c.node_id)))
    return [
        KnownNode(
            row["id"],
            row["pool"],
            tuple(KnownGpu(g["index"], g["uuid"], g["healthy"]) for g in row["gpus"]),
            bool(row["usable"] and not row["site_silent"]),
            why_unusable(row),
            row["simulated"],
            row["reported_at"],
        )
        for row in (await conn.execute(query)).mappings()
    ]


async def held_gpus(conn: AsyncConnection, names: Sequence[str]) -> list[HeldGpu]:
    """Return the leased GPUs of these nodes; who leaves one stands before who follows.

    Whoever sits on an idle lease comes last.
    """
    if not names:
        return []
    query = (
        _leases()
        .where(lease_gpus.c.node_id.in_(names))
        .order_by(
            lease_gpus.c.node_id,
            lease_gpus.c.gpu,
            lease_gpus.c.guest,
            lease_gpus.c.draining.desc(),
            runs.c.id,
        )
    )
    return [HeldGpu(*row) for row in await conn.execute(query)]


def _leases() -> Select[Any]:
    return (
        select(
            lease_gpus.c.node_id,
            lease_gpus.c.gpu,
            lease_gpus.c.draining,
            runs.c.id,
            jobs.c.id,
            jobs.c.user,
            jobs.c.account,
            runs.c.leased_at,
            lease_gpus.c.guest,
            jobs.c.label,
        )
        .join(runs, runs.c.id == lease_gpus.c.run_id)
        .join(jobs, jobs.c.id == runs.c.job_id)
    )
