"""A small, busy day of the demo, in the wire's own messages: what the portal's fake hub tells."""

from datetime import timedelta

from scheduler.core.lifecycle import JobState
from scheduler.core.model import (
    Backend,
    PriorityClass,
    QuotaClass,
    RunState,
    Sector,
    Tier,
)
from scheduler.wire.accounts import (
    AccountView,
    NodeView,
    PoolView,
    QuotaView,
)
from scheduler.wire.explanations import AheadView, EtaView, SoonerView
from scheduler.wire.jobs import (
    Explanation,
    JobEvent,
    JobRun,
    JobView,
    VerdictView,
)
from scheduler.wire.telemetry import GpuTelemetry, Holding, NodeTelemetry

PEOPLE = {
    "dana": ("arl-vision", ("public", "controlled")),
    "alex": ("state-u-nlp", ("public",)),
    "iris": ("acme-robotics", ("public",)),
    "zoe": (None, ("public",)),
}


def pools():
    both = ("controlled", "public")

    def pool(name, tier, owner, *, used, capacity, up, labels, quotas):  # noqa: PLR0913
        in_quota, borrowed, background = used
        return PoolView(
            pool=name,
            site={"state-u-hpc": "state-u", "national-hub": "national"}.get(name, name),
            tier=tier,
            owner=owner,
            gpu_model="H100",
            gpus_per_node=8,
            backend=Backend.RAY_SHARED if tier is Tier.TEAM else Backend.RAY_PRIVATE,
            labels=labels,
            capacity=capacity,
            up=up,
            free=up - sum(used),
            in_quota=in_quota,
            borrowed=borrowed,
            background=background,
            simulated=True,
            quotas=quotas,
        )

    def quota(account, nominal, lend_max, borrow_max, used):
        return QuotaView(
            account=account,
            nominal=nominal,
            lend_max=lend_max,
            borrow_max=borrow_max,
            used=used,
        )

    return [
        pool(
            "arl-team",
            Tier.TEAM,
            "arl-vision",
            used=(4, 2, 0),
            capacity=8,
            up=8,
            labels=both,
            quotas=(),
        ),
        pool(
            "state-u-hpc",
            Tier.INSTITUTION,
            "state-u",
            used=(8, 0, 0),
            capacity=16,
            up=8,
            labels=("public",),
            quotas=(quota("state-u-nlp", 16, 16, 0, 8),),
        ),
        pool(
            "national-hub",
            Tier.NATIONAL,
            "national",
            used=(16, 8, 4),
            capacity=32,
            up=32,
            labels=both,
            quotas=(
                quota("arl-vision", 8, 8, 24, 16),
                quota("state-u-nlp", 16, 16, 16, 8),
                quota("acme-robotics", 8, 8, 24, 4),
            ),
        ),
    ]


def nodes(now):
    def node(name, pool, free, why="", seen=6):
        return NodeView(
            node=name,
            pool=pool,
            gpus=8,
            free=free,
            usable=not why,
            why_unusable=why,
            simulated=True,
            reported_at=now - timedelta(seconds=seen),
        )

    return [
        node("arl-team-1", "arl-team", 2),
        node("state-u-1", "state-u-hpc", 0),
        node("state-u-2", "state-u-hpc", 0, "silent for 4 min", 240),
        *(node(f"national-{n}", "national-hub", 4 if n == 4 else 0) for n in range(1, 5)),
    ]


def accounts():
    def account(name, parent, sector, hours, running, pending):
        return AccountView(
            account=name,
            parent=parent,
            sector=sector,
            weight=1,
            h100e_seconds=hours * 3600,
            share=hours * 3600,
            running_gpus=running,
            pending_jobs=pending,
        )

    dod, academic, industry = Sector.DOD, Sector.ACADEMIC, Sector.INDUSTRY
    return [
        account("national", None, dod, 61.5, 42, 3),
        account("arl", "national", dod, 30.25, 20, 1),
        account("arl-vision", "arl", dod, 30.25, 20, 1),
        account("state-u", "national", academic, 22, 16, 1),
        account("state-u-nlp", "state-u", academic, 22, 16, 1),
        account("acme", "national", industry, 9.25, 6, 1),
        account("acme-robotics", "acme", industry, 9.25, 6, 1),
    ]


def a_job(now, job, user, state, **more):
    fields = {
        "submission_id": f"raysubmit_{job}",
        "reason": "",
        "entrypoint": "python train.py --epochs 40",
        "nodes": 1,
        "gpus_per_node": 8,
        "gpu_models": (),
        "tier": (Tier.TEAM, Tier.NATIONAL),
        "label": "public",
        "priority": PriorityClass.STANDARD,
        "preemptible": True,
        "time_limit_seconds": 600,
        "submitted_at": now - timedelta(minutes=12),
        **more,
    }
    return JobView(id=job, user=user, account=PEOPLE[user][0], state=state, **fields)


def a_run(now, job, attempt, state, **more):
    fields = {
        "site": "national",
        "pool": "national-hub",
        "tier": Tier.NATIONAL,
        "nodes": ("national-1", "national-2"),
        "gpus": 16,
        "quota_class": QuotaClass.IN_QUOTA,
        "leased_at": now - timedelta(minutes=10),
        "started_at": now - timedelta(minutes=9, seconds=40),
        "why": "In quota: arl-vision uses 16 of 8 + 24 GPUs of national-hub.",
        "simulated": True,
        **more,
    }
    return JobRun(run=f"cp-{job}-{attempt}", attempt=attempt, state=state, **fields)


def jobs(now):
    running = a_job(
        now,
        "jdigits0001",
        "dana",
        JobState.RUNNING,
        submission_id="digits-two-nodes",
        nodes=2,
        reason="Runs on national-hub, in quota, after it was recalled once.",
        runs=(
            a_run(
                now,
                "jdigits0001",
                1,
                RunState.PREEMPTED,
                pool="state-u-hpc",
                site="state-u",
                tier=Tier.INSTITUTION,
                nodes=("state-u-1", "state-u-2"),
                quota_class=QuotaClass.BORROWED,
                agreement="state-u-lends-industry",
                leased_at=now - timedelta(minutes=12),
                started_at=now - timedelta(minutes=11, seconds=50),
                ended_at=now - timedelta(minutes=10, seconds=10),
                why="Borrowed: state-u had 16 idle GPUs.",
                message="Recalled by state-u-nlp; checkpoint written.",
                exit_code=0,
            ),
            a_run(now, "jdigits0001", 2, RunState.RUNNING),
        ),
    )
    waiting = a_job(
        now,
        "jwaits00001",
        "dana",
        JobState.PENDING,
        submission_id="sweep-large",
        nodes=4,
        label="controlled",
        entrypoint="python sweep.py --models a_b_c --out 'results [v2]'",
        reason="No pool has 4 free nodes of 8 GPUs for label controlled; it is the first in line.",
        position=1,
        starts_at=now + timedelta(minutes=2),
        submitted_at=now - timedelta(minutes=3),
    )
    ended = [
        a_job(
            now,
            f"jended{n:05d}",
            "dana",
            state,
            submission_id=f"evening-run-{n}",
            reason=reason,
            submitted_at=now - timedelta(hours=n + 5),
            ended_at=now - timedelta(hours=n + 4, minutes=20),
        )
        for n, (state, reason) in enumerate(
            [
                (JobState.SUCCEEDED, "Ended by itself with exit code 0."),
                (JobState.FAILED, "Ended with exit code 1."),
                (JobState.STOPPED, "Cancelled by dana."),
            ]
            + [(JobState.SUCCEEDED, "Ended by itself with exit code 0.")] * 22
        )
    ]
    foreign = a_job(now, "jforeign001", "iris", JobState.RUNNING)
    return [running, waiting, *ended, foreign]


def explanation(job):
    start = job.submitted_at
    history = [
        JobEvent(at=start, event="submitted", sentence=f"Submitted by {job.user}."),
        *(
            JobEvent(at=run.leased_at, event="leased", run=run.run, sentence=run.why)
            for run in job.runs
        ),
    ]
    verdicts = (
        VerdictView(
            reason="capacity",
            pool="arl-team",
            tier=Tier.TEAM,
            sentence="arl-team has 1 node; the job needs 4.",
            numbers={"nodes": 1, "needed": 4},
        ),
        VerdictView(
            reason="label",
            pool="state-u-hpc",
            tier=Tier.INSTITUTION,
            sentence="state-u-hpc is not accredited for controlled (it is for: public).",
        ),
        VerdictView(
            reason="capacity",
            pool="national-hub",
            tier=Tier.NATIONAL,
            sentence="national-hub has 4 of 32 GPUs free; the job needs 4 × 8.",  # noqa: RUF001
            numbers={"free": 4, "needed": 32},
        ),
    )
    waits = job.state is JobState.PENDING and job.position
    return Explanation(
        **(_insight(job) if waits else {}),
        job=job.id,
        state=job.state,
        summary=job.reason,
        position=job.position,
        starts_at=job.starts_at,
        verdicts=verdicts if waits else (),
        history=tuple(history),
    )


def _insight(job):
    """Who is ahead, when, and what would help, as a hub finds out about a waiting job."""
    now = job.submitted_at
    return {
        "eta": EtaView(
            low=now + timedelta(minutes=5),
            likely=now + timedelta(minutes=20),
            high=now + timedelta(hours=3),
            informed=True,
            sentence="It should start in about 20 min (four times in five between in about 5 min"
            " and in about 3 h).",
        ),
        "ahead": (
            _ahead(job.account, Sector.DOD, 2, "they came earlier"),
            _ahead("state-u", Sector.ACADEMIC, 7, "it has used less per weight"),
            _ahead("acme", Sector.INDUSTRY, 3, "it has used less per weight"),
        ),
        "sooner": (
            _sooner(now, "nodes", "4", "2", "2 nodes instead of 4 would start at once."),
            _sooner(
                now,
                "time_limit",
                "0:10:00",
                "0:05:00",
                "A time limit of 0:05:00 instead of 0:10:00 would start in about 5 min.",
            ),
        ),
    }


def _ahead(account, sector, jobs, why):
    said = f"{jobs} jobs of {account} are ahead: {why}."
    return AheadView(account=account, sector=sector, jobs=jobs, why=why, sentence=said)


def _sooner(now, knob, before, after, sentence):
    change = {"nodes": 2} if knob == "nodes" else {"time_limit_seconds": 300}
    return SoonerView(
        knob=knob, before=before, after=after, starts_at=now, sentence=sentence, change=change
    )


def telemetry(found, now):
    """Return the telemetry of these nodes: what is not free is dana's, and at work."""
    known = {pool.pool: pool for pool in pools()}
    return [_with_gpus(node, known[node.pool], now) for node in found]


def _with_gpus(node, pool, now):
    def gpu(index):
        busy = node.usable and index >= node.free
        holding = Holding(account="arl-vision", run="cp-jdigits0001-1", user="dana")
        return GpuTelemetry(
            index=index,
            uuid=f"SIM-{node.node}-{index}",
            healthy=node.usable,
            why_unhealthy="" if node.usable else "GPU lost",
            sm_active=0.82 if busy else 0.0,
            memory_used_mib=44_000.0 if busy else 0.0,
            memory_mib=81_559,
            power_watts=611.0 if busy else 70.0,
            temperature_celsius=62.0 if busy else 30.0,
            idle_since=None if busy else now - timedelta(minutes=12),
            held_by=(holding,) if busy else (),
        )

    return NodeTelemetry(
        node=node.node,
        pool=node.pool,
        site=pool.site,
        tier=pool.tier,
        gpu_model=pool.gpu_model,
        usable=node.usable,
        why_unusable=node.why_unusable,
        simulated=node.simulated,
        measured=node.usable,
        reported_at=node.reported_at,
        gpus=tuple(gpu(index) for index in range(node.gpus)),
    )
