"""A hub that holds a small, busy day of the demo: the portal's test double.

It speaks the wire's own messages over real HTTP on loopback. `python -m
tests.portal.fake_hub` serves it to look at the portal by hand.
"""

import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated

import uvicorn
from fastapi import Depends, FastAPI, Header, Request
from fastapi.responses import JSONResponse, Response

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
    AccountList,
    AccountView,
    Me,
    NodePage,
    NodeView,
    PoolList,
    PoolView,
    Problem,
    QuotaView,
    Scope,
)
from scheduler.wire.jobs import (
    Explanation,
    JobEvent,
    JobPage,
    JobRequest,
    JobRun,
    JobView,
    LogPage,
    VerdictView,
)

PEOPLE = {
    "dana": ("arl-vision", ("public", "controlled")),
    "alex": ("state-u-nlp", ("public",)),
    "iris": ("acme-robotics", ("public",)),
    "zoe": (None, ("public",)),
}
LOG_STEP = 65_536


class Refuse(Exception):  # noqa: N818
    def __init__(self, status, title, detail, **more):
        super().__init__(detail)
        self.problem = Problem(title=title, status=status, detail=detail, **more)


class FakeHub:
    """The state, open to tests: change it, and the next request sees it."""

    def __init__(self):
        self.reset()
        self.app = _application(self)

    def reset(self):
        self.now = datetime.now(UTC)
        self.pools = _pools()
        self.nodes = _nodes(self.now)
        self.accounts = _accounts()
        self.jobs = {job.id: job for job in _jobs(self.now)}
        self.logs = {"jdigits0001": "".join(f"epoch {n}: loss {2 / n:.3f}\n" for n in range(1, 41))}
        self.packages = {}
        self.keys = {}
        self.refusal = None  # a Refuse that every endpoint answers with, of these methods
        self.refused_methods = {"GET", "POST", "PUT"}
        self.requests = []

    def change(self, job, **fields):
        self.jobs[job] = self.jobs[job].model_copy(update=fields)

    def own(self, user, key):
        for job in self.jobs.values():
            if key in (job.id, job.submission_id) and job.user == user:
                return job
        raise Refuse(404, "Not found", f"no job '{key}'")

    def submit(self, user, asked, key):
        if key and key in self.keys:
            return self.jobs[self.keys[key]]
        account = PEOPLE[user][0]
        if asked.account not in (None, account):
            raise Refuse(
                422,
                "Refused",
                f"'{user}' is not a member of '{asked.account}'",
                field="account",
                value=asked.account,
                limit=f"accounts of {user}: {account}",
                next_step="name one of them, or leave it out",
            )
        if asked.nodes > 4:
            raise Refuse(
                422,
                "Refused",
                "a gang starts on different nodes of one pool, or not at all",
                field="nodes",
                value=str(asked.nodes),
                limit="nodes of the largest pool it may use: 4",
                next_step="ask for fewer nodes or GPUs",
            )
        number = len(self.jobs) + 1
        job = _job(
            self.now,
            f"jnew{number:08d}",
            user,
            JobState.PENDING,
            submission_id=asked.submission_id or f"raysubmit_{number:016d}",
            entrypoint=asked.entrypoint,
            nodes=asked.nodes,
            gpus_per_node=asked.gpus_per_node,
            priority=asked.priority,
            preemptible=asked.preemptible,
            label=asked.label,
            reason="It is planned within seconds.",
            submitted_at=datetime.now(UTC),
        )
        self.jobs[job.id] = job
        if key:
            self.keys[key] = job.id
        return job


def _application(hub):  # noqa: C901, PLR0915  # one endpoint after the other
    app = FastAPI()

    @app.exception_handler(Refuse)
    async def refused(_, error):
        body = error.problem.model_dump(mode="json")
        return JSONResponse(body, error.problem.status, media_type="application/problem+json")

    def caller(request: Request, authorization: Annotated[str, Header()] = ""):
        hub.requests.append(f"{request.method} {request.url.path}")
        if hub.refusal and request.method in hub.refused_methods:
            raise hub.refusal
        user = authorization.removeprefix("Bearer cp_user_")
        if user not in PEOPLE:
            raise Refuse(401, "Unauthorized", "the token is unknown or revoked")
        return user

    who = Annotated[str, Depends(caller)]

    @app.get("/v1/me")
    def me(user: who) -> Me:
        account, labels = PEOPLE[user]
        return Me(
            subject=user,
            scope=Scope.USER,
            accounts=(account,) if account else (),
            labels=labels,
            expires_at=hub.now + timedelta(days=90),
        )

    @app.get("/v1/pools")
    def pools(_: who) -> PoolList:
        return PoolList(pools=tuple(hub.pools))

    @app.get("/v1/nodes")
    def nodes(_: who, pool: str | None = None, limit: int = 100) -> NodePage:
        found = [node for node in hub.nodes if pool in (None, node.pool)]
        return NodePage(nodes=tuple(found[:limit]))

    @app.get("/v1/accounts")
    def accounts(_: who) -> AccountList:
        return AccountList(accounts=tuple(hub.accounts))

    @app.get("/v1/jobs")
    def jobs(
        user: who,
        state: JobState | None = None,
        account: str | None = None,
        after: int = 0,
        limit: int = 50,
    ) -> JobPage:
        found = [
            job
            for job in sorted(hub.jobs.values(), key=lambda job: job.submitted_at, reverse=True)
            if job.user == user and state in (None, job.state) and account in (None, job.account)
        ]
        rest = found[after:]
        return JobPage(
            jobs=tuple(rest[:limit]), next=str(after + limit) if len(rest) > limit else None
        )

    @app.post("/v1/jobs", status_code=201)
    def submit(
        user: who, asked: JobRequest, idempotency_key: Annotated[str | None, Header()] = None
    ) -> JobView:
        return hub.submit(user, asked, idempotency_key)

    @app.get("/v1/jobs/{key}")
    def job(user: who, key: str) -> JobView:
        return hub.own(user, key)

    @app.post("/v1/jobs/{key}/cancel")
    def cancel(user: who, key: str) -> JobView:
        found = hub.own(user, key)
        if not found.state.is_terminal:
            end = JobState.STOPPED if found.state is JobState.PENDING else JobState.STOPPING
            hub.change(found.id, state=end, reason=f"Cancelled by {user}.")
        return hub.jobs[found.id]

    @app.get("/v1/jobs/{key}/explanation")
    def explanation(user: who, key: str) -> Explanation:
        return _explanation(hub.own(user, key))

    @app.get("/v1/jobs/{key}/log")
    def log(user: who, key: str, offset: int = 0, limit: int = LOG_STEP) -> LogPage:
        found = hub.own(user, key)
        piece = hub.logs.get(found.id, "")[offset : offset + limit]
        return LogPage(
            text=piece, next_offset=offset + len(piece), complete=found.state.is_terminal
        )

    @app.get("/api/packages/gcs/{name}")
    def has_package(_: who, name: str) -> Response:
        return Response(status_code=200 if name in hub.packages else 404)

    @app.put("/api/packages/gcs/{name}")
    async def put_package(_: who, name: str, request: Request) -> Response:
        hub.packages[name] = await request.body()
        return Response()

    return app


@contextmanager
def serving(app, port=0):
    """Serve `app` from a thread of this process; gives its URL."""
    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    socket = config.bind_socket()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{socket.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        socket.close()


def _pools():
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


def _nodes(now):
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


def _accounts():
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


def _job(now, job, user, state, **more):
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


def _run(now, job, attempt, state, **more):
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


def _jobs(now):
    running = _job(
        now,
        "jdigits0001",
        "dana",
        JobState.RUNNING,
        submission_id="digits-two-nodes",
        nodes=2,
        reason="Runs on national-hub, in quota, after it was recalled once.",
        runs=(
            _run(
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
            _run(now, "jdigits0001", 2, RunState.RUNNING),
        ),
    )
    waiting = _job(
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
        _job(
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
    foreign = _job(now, "jforeign001", "iris", JobState.RUNNING)
    return [running, waiting, *ended, foreign]


def _explanation(job):
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
    return Explanation(
        job=job.id,
        state=job.state,
        summary=job.reason,
        position=job.position,
        starts_at=job.starts_at,
        verdicts=verdicts if job.state is JobState.PENDING and job.position else (),
        history=tuple(history),
    )


if __name__ == "__main__":
    uvicorn.run(FakeHub().app, host="127.0.0.1", port=8765, log_level="warning")
