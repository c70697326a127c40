"""Packages by tenant: a name that one person's client chose says nothing to another's."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.db.engine import insert_into
from scheduler.db.rows import PackageRow
from scheduler.db.tables import jobs, packages, runs


async def find_package(conn: AsyncConnection, tenant: str, name: str) -> PackageRow | None:
    """Return a tenant's package by the name its client gave it."""
    row = (
        await conn.execute(
            select(packages).where(packages.c.tenant == tenant, packages.c.name == name)
        )
    ).one_or_none()
    return None if row is None else PackageRow(*row)


async def save_package(
    conn: AsyncConnection, tenant: str, name: str, sha256: str, size: int, now: datetime
) -> None:
    """Store what is behind a name; a second upload under the same name replaces it.

    Jobs that were submitted before keep the content they were submitted with.
    """
    statement = insert_into(conn, packages).values(
        tenant=tenant, name=name, sha256=sha256, size=size, created_at=now
    )
    await conn.execute(
        statement.on_conflict_do_update(
            index_elements=["tenant", "name"],
            set_={"sha256": sha256, "size": size, "created_at": now},
        )
    )


async def package_allowed(conn: AsyncConnection, site: str, sha256: str) -> bool:
    """Return whether an open run of that site refers to the package; no other is its business."""
    rows = await conn.execute(
        select(jobs.c.packages)
        .join(runs, runs.c.job_id == jobs.c.id)
        .where(runs.c.site == site, ~runs.c.acknowledged, runs.c.ended_at.is_(None))
    )
    return any(package["sha256"] == sha256 for row in rows for package in row.packages)
