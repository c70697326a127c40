"""Short traces, written as rows, and how to replay them."""

import io
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from scheduler.core.policy import Policy
from scheduler.sim import report
from scheduler.sim.attempt import Costs
from scheduler.sim.engine import Engine
from scheduler.sim.history import History
from scheduler.sim.limits import time_limits
from scheduler.sim.rulebook import Rulebook, read_rulebook
from scheduler.sim.setting import Cluster, Setting, set_up
from scheduler.sim.trace_file import read_trace
from tests import build

Rows = Sequence[tuple[int, int, int, str]]
"""Submission, duration, GPUs, tenant."""

# Two tenants who own half each of two nodes with 8 GPUs, and lend all of it to each other.
HALVES = build.policy(
    [build.account("national", None), build.account("a"), build.account("b")],
    quotas=[build.quota("a", 8, borrow=8), build.quota("b", 8, borrow=8)],
    tiers=tuple(
        (tier, build.TierRules(10 * build.DAY, 10 * build.DAY, timedelta(seconds=60)))
        for tier in build.Tier
    ),
)


def text_of(rows: Rows) -> str:
    lines = [
        f"j{number},{submit},{duration},{gpus},,,,{tenant},"
        for number, (submit, duration, gpus, tenant) in enumerate(rows, 1)
    ]
    header = "job_id,submit_s,duration_s,gpus,nodes,gpu_type,user,tenant,status"
    return "\n".join([header, *lines, ""])


def replay(folder: Path, rows: Rows, book: str | Rulebook | Policy = "default", **more) -> History:
    """Replay rows; `cluster`, `limits`, and parts of an engine such as `costs` may be given."""
    engine, setting = prepared(folder, rows, book, **more)
    return engine.run(setting.works, setting.begins_at)


def prepared(
    folder: Path,
    rows: Rows,
    book: str | Rulebook | Policy = "default",
    cluster: tuple[int, int] = (2, 8),
    limits: str = "exact",
    **more,
) -> tuple[Engine, Setting]:
    """Return an engine before its first event, and what it is to replay."""
    file = folder / "trace.csv"
    file.write_text(text_of(rows))
    trace = read_trace(file)
    named = read_rulebook(book) if isinstance(book, str) else book
    setting = set_up(trace, Cluster(*cluster), named, time_limits(limits, trace))
    return Engine(setting.policy, setting.nodes, **more), setting


def costs(restart: float = 0, every: float | None = None) -> Costs:
    kept = None if every is None else timedelta(seconds=every)
    return Costs(timedelta(seconds=restart), kept)


def written(history: History) -> str:
    """Return what `--jobs` writes."""
    file = io.StringIO()
    report.write_attempts(history, file)
    return file.getvalue()


def lived(history: History) -> list[tuple[str, int, float, float, str]]:
    """Return each attempt as (job, number, start, end, ended by), in order of its end."""
    return [
        (
            each.job,
            each.number,
            (each.start_at - history.begins_at).total_seconds(),
            (each.end_at - history.begins_at).total_seconds(),
            each.ended_by.value,
        )
        for each in history.attempts
    ]
