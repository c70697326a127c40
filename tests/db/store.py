"""Put a snapshot into a database as if it had come about there, and empty it again."""

import hashlib

from scheduler.core.lifecycle import JobState
from scheduler.core.model import Job, Run
from scheduler.core.policy import Policy
from scheduler.core.snapshot import Snapshot
from scheduler.db import policies
from scheduler.db.policies import save_policy
from scheduler.db.shapes import shape_columns, slots_json
from scheduler.db.tables import (
    budget_totals,
    jobs,
    lease_gpus,
    metadata,
    nodes,
    reservation_claims,
    runs,
    turnovers,
    usage,
)
from tests.build import NOON


async def empty(conn):
    """Delete every row."""
    for table in reversed(metadata.sorted_tables):
        if not table.name.startswith("audit_"):  # it refuses
            await conn.execute(table.delete())


async def put_in_force(conn, policy: Policy):
    """Store a policy that was built in Python, where the database keeps documents."""
    document = repr(policy)
    sha256 = hashlib.sha256(document.encode()).hexdigest()
    revision = 1 + (await policies.revision_in_force(conn) or 0)
    # Known before it is saved, because there is no way to write YAML.
    policies._known[revision, sha256] = policy  # noqa: SLF001
    await save_policy(conn, document, NOON, "test")


async def store(conn, snapshot: Snapshot, policy: Policy):
    """Store a snapshot; what planning does not look at has plain values."""
    sites = {pool.id: pool.site for pool in policy.pools}
    rows = {job.id: _job(job, JobState.PENDING, job.attempt) for job in snapshot.jobs.values()}
    rows |= {run.job: _job(run, _state(run), run.attempt) for run in snapshot.runs.values()}
    tables = {
        jobs: list(rows.values()),
        runs: [_run(run, sites) for run in snapshot.runs.values()],
        lease_gpus: [
            {
                "run_id": run.id,
                "node_id": slot.node,
                "gpu": gpu,
                "draining": run.draining,
                "guest": run.over is not None,
            }
            for run in snapshot.runs.values()
            for slot in run.slots
            for gpu in slot.gpus
        ],
        nodes: [_node(node, sites) for node in snapshot.nodes.values()],
        usage: [
            {"account": u.account, "h100e_seconds": u.h100e_seconds, "as_of": u.as_of}
            for u in snapshot.usage.values()
        ],
        budget_totals: [
            {"budget": s.budget, "milli_h100e_seconds": 1000 * s.h100e_seconds}
            for s in snapshot.spent.values()
        ],
        reservation_claims: [
            {"reservation": c.reservation, "at": c.at} for c in snapshot.claims.values()
        ],
        turnovers: [
            {"pool": t.pool, "since": t.since, "count": t.count}
            for t in snapshot.turnovers.values()
        ],
    }
    for table, values in tables.items():
        if values:
            await conn.execute(table.insert(), values)


def _state(run: Run) -> JobState:
    return JobState.STOPPING if run.draining else JobState.RUNNING


def _job(asked: Job | Run, state: JobState, attempt: int) -> dict:
    name = asked.id if isinstance(asked, Job) else asked.job
    return {
        "sequence": asked.sequence,
        "id": name,
        "user": asked.user,
        "account": asked.account,
        "submission_id": name,
        "request_sha256": "0" * 64,
        "state": state.value,
        **shape_columns(asked.shape),
        "priority": asked.priority.value,
        "time_limit_seconds": int(asked.time_limit.total_seconds()),
        "submitted_at": asked.submitted_at,
        "attempt": attempt,
        "preemptions": asked.preemptions,
        "not_before": asked.not_before if isinstance(asked, Job) else None,
        "name": asked.name,
        "predicted_seconds": asked.predicted and int(asked.predicted.total_seconds()),
        "entrypoint": "true",
        "runtime_env": {},
        "user_metadata": {},
        "entrypoint_options": {},
        "packages": [],
    }


def _run(run: Run, sites: dict) -> dict:
    return {
        "id": run.id,
        "job_id": run.job,
        "attempt": run.attempt,
        "site": sites[run.pool],
        "pool": run.pool,
        "quota_class": run.quota_class.value,
        "agreement": run.agreement,
        "state": run.state.value,
        "token": run.token,
        "slots": slots_json(run.slots),
        "gpus": run.gpus,
        "leased_at": run.leased_at,
        "ends_by": run.ends_by,
        "bind_by": run.leased_at,
        "bind_within_seconds": 600,
        "started_at": run.started_at,
        "after": sorted(run.after),
        "draining": run.draining,
        "stop_at": run.stop_at,
        "checkpointed_at": run.checkpointed_at,
        "idle_from": run.started_at if run.lent else None,
        "lent": run.lent,
        "over": run.over,
        "why": "",
    }


def _node(node, sites: dict) -> dict:
    return {
        "id": node.id,
        "pool": node.pool,
        "site": sites[node.pool],
        "block": node.block,
        "gpus": [{"index": g.index, "uuid": g.uuid, "healthy": g.healthy} for g in node.gpus],
        "simulated": node.simulated,
        "usable": node.usable,
        "why_unusable": node.why_unusable,
        "boot_id": "boot",
        "sequence": 0,
        "reported_at": NOON,
    }
