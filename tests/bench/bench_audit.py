"""What the audit log costs a submission: the same groups of jobs stored with it and without.

Run: `python tests/bench/bench_audit.py [--rounds 40]`. A group is what one commit holds
(`api/group_commit.py`). With and without take turns, so that what else the machine does hits
both alike; syncs are on. `writers` are hubs of one PostgreSQL: the chain has one end, so their
commits take turns, and what that costs is the last line.
"""

# ruff: noqa: T201  # it reports to a terminal
import argparse
import asyncio
import itertools
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[2]))

from scheduler.core.audit import Entry, Who
from scheduler.core.model import PriorityClass, Shape
from scheduler.db.audit import record
from scheduler.db.engine import Database
from scheduler.db.jobs import NewJob, insert_jobs
from tests.build import NOON
from tests.postgres import DURABLE, running_server

_NUMBERS = itertools.count()


def new_job() -> NewJob:
    name = f"j{next(_NUMBERS):011}"
    return NewJob(
        id=name,
        user="dana",
        submission_id=name,
        request_sha256="0" * 64,
        account="arl-vision",
        shape=Shape(1, 8),
        priority=PriorityClass.STANDARD,
        time_limit=timedelta(hours=1),
        submitted_at=NOON,
        entrypoint="python train.py",
    )


def entry_of(job: NewJob) -> Entry:
    after = {
        "submission_id": job.submission_id,
        "account": job.account,
        "nodes": job.shape.nodes,
        "gpus_per_node": job.shape.gpus_per_node,
        "label": job.shape.label,
        "priority": job.priority.value,
        "time_limit_seconds": 3600,
        "request_sha256": job.request_sha256,
    }
    return Entry(NOON, Who("dana", "api", "9f86d081884c7d65"), "job.submit", job.id, after=after)


async def group(db: Database, size: int, *, audited: bool) -> float:
    """Store a group; return the milliseconds until its commit was durable."""
    jobs = [new_job() for _ in range(size)]
    began = time.perf_counter()
    async with db.transaction() as conn:
        await insert_jobs(conn, jobs)
        if audited:
            await record(conn, [entry_of(job) for job in jobs])
    return 1000 * (time.perf_counter() - began)


async def compare(db: Database, size: int, rounds: int) -> str:
    took: dict[bool, list[float]] = {False: [], True: []}
    for turn in range(2 * rounds):
        audited = bool(turn % 2)
        took[audited].append(await group(db, size, audited=audited))
    without, with_it = (median(took[audited]) for audited in (False, True))
    more = (with_it - without) / size
    return (
        f"group of {size:2}: {without:6.2f} ms, with the audit {with_it:6.2f} ms: "
        f"{more:5.3f} ms per job"
    )


async def writers(url: str, count: int, rounds: int, *, audited: bool) -> float:
    """Return groups per second of so many hubs that write at once."""
    databases = [Database(url) for _ in range(count)]
    began = time.perf_counter()

    async def write(db: Database) -> None:
        for _ in range(rounds):
            await group(db, 8, audited=audited)

    await asyncio.gather(*(write(db) for db in databases))
    took = time.perf_counter() - began
    for db in databases:
        await db.close()
    return count * rounds / took


async def measure(url: str, rounds: int) -> None:
    db = Database(url)
    await db.migrate()
    await group(db, 1, audited=True)
    for size in (1, 8, 64):
        print(f"{db.dialect:<12} {await compare(db, size, rounds)}", flush=True)
    if db.dialect == "postgresql":
        for count in (1, 2, 4):
            rates = [await writers(url, count, rounds, audited=a) for a in (False, True) * 3]
            without, with_it = median(rates[::2]), median(rates[1::2])
            print(
                f"{db.dialect:<12} {count} hubs, groups of 8: {without:5.0f} groups/s, "
                f"with the audit {with_it:5.0f}",
                flush=True,
            )
    await db.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cp-bench-") as folder:
        asyncio.run(measure(f"sqlite+aiosqlite:///{folder}/hub.db", given.rounds))
    with running_server(DURABLE) as server:
        asyncio.run(measure(server.url(server.create()), given.rounds))


if __name__ == "__main__":
    main()
