"""What a cycle of the hub costs with a long queue, on SQLite: CPU time by phase, after 20 events.

Load, commit and the rest should not grow with the queue; verdicts take about a fifth of the time,
more where the machine is so slow that they become a minute old.
"""

# ruff: noqa: T201  # it reports to a terminal
import asyncio
import logging
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[2]))

import structlog
from sqlalchemy import select

from scheduler.clock import SystemClock
from scheduler.core.model import Job, RunState
from scheduler.core.policy import Policy
from scheduler.db.ending import End, end_run, open_runs
from scheduler.db.engine import Database
from scheduler.db.outbox import note_changes
from scheduler.db.tables import runs
from scheduler.loops.cycle import CycleLoop
from scheduler.wake import Wake
from tests import build
from tests.bench.fleet import Size, fleet, machines, waiting
from tests.db.store import put_in_force, store

EVENTS, ROUNDS = 20, 5
TEAMS = Size(20, 10, 1, 2, 20, 1000, 0)
PHASES = ("load", "plan", "verdicts", "commit")


class Measured(CycleLoop):
    """A cycle that notes the CPU time of its phases."""

    def __init__(self, db: Database) -> None:
        """Plan as often as it is asked to."""
        super().__init__(db, Wake(), SystemClock(), 1e-6)
        self.spent = dict.fromkeys(PHASES, 0.0)

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        began = time.process_time()
        with super()._timed(phase):
            yield
        self.spent[phase] += time.process_time() - began

    async def cpu(self) -> Sequence[float]:
        """Run one cycle; return the seconds of each phase and of the rest."""
        self.spent = dict.fromkeys(PHASES, 0.0)
        began = time.process_time()
        await self._cycle(self._clock.monotonic())
        whole = time.process_time() - began
        return (*self.spent.values(), whole - sum(self.spent.values()), whole)


async def measure(count: int, file: Path) -> None:
    """Fill a database, let the hub start what fits, then measure cycles."""
    rng = random.Random(7)
    policy, db = fleet(TEAMS), Database(f"sqlite+aiosqlite:///{file}")
    await db.migrate()
    jobs = _now(waiting(TEAMS, 0, count, rng))
    async with db.transaction() as conn:
        await put_in_force(conn, policy)
        await store(conn, build.snapshot(machines(policy), jobs), policy)
    loop = Measured(db)
    first = await loop.cpu()
    rounds = []
    for number in range(ROUNDS):
        await _happen(db, policy, rng, count + number * EVENTS)
        rounds.append(await loop.cpu())
    middle = [1000 * median(column) for column in zip(*rounds, strict=True)]
    told = "".join(f"{ms:10.1f}" for ms in middle)
    print(f"  {count:9,}{told}   (first, with building the world: {1000 * first[-1]:,.0f})")
    await db.close()


def _now(jobs: Sequence[Job]) -> list[Job]:
    """Let jobs have come in the last three hours, in the order of their numbers."""
    now = datetime.now(UTC)
    return [
        replace(job, sequence=int(job.id[1:]) + 1, submitted_at=now - timedelta(hours=3))
        for job in jobs
    ]


async def _happen(db: Database, policy: Policy, rng: random.Random, first: int) -> None:
    """Let half of the events be runs that end, and half jobs that come."""
    now = datetime.now(UTC)
    jobs = _now(waiting(TEAMS, first, EVENTS // 2, rng))
    async with db.transaction() as conn:
        held = (await conn.execute(select(runs.c.id).where(runs.c.ended_at.is_(None)))).scalars()
        ended = rng.sample(sorted(held), EVENTS // 2)
        for run in await open_runs(conn, runs.c.id.in_(ended)):
            await end_run(conn, run, End(RunState.SUCCEEDED, now), now)
        await store(conn, build.snapshot(jobs), policy)
        await note_changes(conn, [("job", job.id) for job in jobs])


def main() -> None:
    """Print CPU milliseconds per cycle, the median of a few."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    print(
        "hub's cycle on SQLite: 200 accounts, 440 nodes x 8 GPUs in 22 pools, "
        f"{EVENTS} events before each; CPU ms, median of {ROUNDS}"
    )
    heads = "".join(f"{name:>10}" for name in (*PHASES, "rest", "whole"))
    print(f"  {'jobs':>9}{heads}")
    for count in (1_000, 20_000, 100_000):
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(measure(count, Path(folder, "hub.db")))


if __name__ == "__main__":
    main()
