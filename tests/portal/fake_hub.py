"""A hub that holds a small, busy day of the demo: the portal's test double.

It speaks the wire's own messages over real HTTP on loopback. `python -m
tests.portal.fake_hub` serves it to look at the portal by hand.
"""

import re
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated

import uvicorn
from fastapi import Depends, FastAPI, Header, Request
from fastapi.responses import JSONResponse, Response

from portal.gate.gate import COOKIE
from portal.job_forms import request_of
from scheduler.api.examples_projects import PROJECT_LIST
from scheduler.core.lifecycle import JobState
from scheduler.core.model import Tier
from scheduler.core.roles import Role
from scheduler.wire.accounts import (
    AccountList,
    Me,
    NodePage,
    PoolList,
    Problem,
    Scope,
)
from scheduler.wire.drafts import Draft, DraftRequest, SubmitAgain
from scheduler.wire.dry_run import DryRunRequest, DryRunView
from scheduler.wire.identity import Kind, RolesOn, Session
from scheduler.wire.jobs import (
    Explanation,
    JobPage,
    JobRequest,
    JobView,
    LogPage,
)
from scheduler.wire.telemetry import TelemetryPage
from tests.portal import asked as asked_for
from tests.portal import busy_day, dry_runs, identities, job_days, lent_days, operated_days

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
        self.pools = busy_day.pools()
        self.nodes = busy_day.nodes(self.now)
        self.accounts = busy_day.accounts()
        self.loans = lent_days.loans(self.now)
        self.recalls = lent_days.recalls()
        self.budgets = lent_days.budgets(self.now)
        self.used_days = lent_days.used_days(self.now)
        self.waste = lent_days.waste()
        self.anybody = True  # used a GPU in the last days
        self.jobs = {job.id: job for job in busy_day.jobs(self.now)}
        self.logs = {"jdigits0001": "".join(f"epoch {n}: loss {2 / n:.3f}\n" for n in range(1, 41))}
        self.packages = {}
        self.drafts = {}
        self.sent = []  # each job's request, as it came
        self.foresee = dry_runs.free  # what a dry run answers with
        self.keys = {}
        self.refusal = None  # a Refuse that every endpoint answers with, of these methods
        self.refused_methods = {"GET", "POST", "PUT"}
        self.requests = []
        self.signed_out = set()
        self._reset_people()

    def _reset_people(self):
        self.operators = set()  # people who may operate nodes and see how planning goes
        self.resumed = []
        self.cordons = operated_days.cordons(self.now)
        self.foreign = {("national-4", 7)}  # GPUs that somebody uses unasked
        self.windows = operated_days.windows(self.now)
        self.policy = operated_days.a_policy(self.now)
        self.tokens = identities.tokens(self.now)
        self.sessions = identities.sessions(self.now)
        self.identities = identities.linked(self.now)
        self.may_link = ("Government *sign-in*",)
        self.asked = [asked_for.line(self.now, "r-1")]
        self.emails = {"dana": "dana@arl.example"}

    def change(self, job, **fields):
        self.jobs[job] = self.jobs[job].model_copy(update=fields)

    def own(self, user, key):
        for job in self.jobs.values():
            if key in (job.id, job.submission_id) and job.user == user:
                return job
        raise Refuse(404, "Not found", f"no job '{key}'")

    def check(self, user, asked):
        account = busy_day.PEOPLE[user][0]
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
        if asked.reservation:
            raise Refuse(
                422,
                "Refused",
                f"no reservation is named '{asked.reservation}'",
                field="reservation",
                value=asked.reservation,
                next_step="leave it out",
            )

    def submit(self, user, asked, key):
        if key and key in self.keys:
            return self.jobs[self.keys[key]]
        self.check(user, asked)
        self.sent.append(asked)
        number = len(self.jobs) + 1
        job = busy_day.a_job(
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
            name=asked.name,
            memory_gib=asked.memory_gib,
            h100e=asked.h100e,
            software=asked.software,
            reservation=asked.reservation,
            tier=(asked.tier[0], asked.tier[-1]) if asked.tier else (Tier.TEAM, Tier.NATIONAL),
            reason="It is planned within seconds.",
            submitted_at=datetime.now(UTC),
            metadata=asked.metadata,
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
        # A token, or a session as the portal brings it; both are made up of the name.
        user = re.sub(r"^Bearer cp_(user|session)_", "", authorization)
        if user in hub.signed_out:
            raise Refuse(401, "Session ended", "This session was ended.")
        if user not in busy_day.PEOPLE:
            raise Refuse(401, "Unauthorized", "the token is unknown or revoked")
        return user

    who = Annotated[str, Depends(caller)]

    @app.get("/v1/session")
    def session(user: who, authorization: Annotated[str, Header()] = "") -> Session:
        signed_in = "cp_session_" in authorization
        account = busy_day.PEOPLE[user][0]
        return Session(
            user=user,
            kind=Kind.SESSION if signed_in else Kind.TOKEN,
            id=f"session-{user}",
            issuer="development" if signed_in else None,
            email=hub.emails.get(user, ""),
            roles=(RolesOn(account=account, roles=(Role.RESEARCHER,)),) if account else (),
            actions=operated_days.MAY if user in hub.operators else (),
        )

    @app.get("/auth/{page}")
    def sign_in_page(page: str, request: Request) -> Response:
        html = f"<h1>the hub's {page}</h1>{request.url.query}"
        response = Response(html, media_type="text/html")
        if page.startswith("as-"):  # as after a sign-in
            session = f"cp_session_{page.removeprefix('as-')}"
            response.set_cookie(COOKIE, session, secure=True, httponly=True, samesite="lax")
        return response

    @app.get("/v1/me")
    def me(user: who) -> Me:
        account, labels = busy_day.PEOPLE[user]
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

    @app.get("/v1/telemetry")
    def telemetry(_: who, pool: str | None = None, limit: int = 100) -> TelemetryPage:
        found = [node for node in hub.nodes if pool in (None, node.pool)]
        known = busy_day.telemetry(found, hub.now)
        shown = tuple(operated_days.telemetry(hub, known))[:limit]
        return TelemetryPage(at=hub.now, nodes=shown)

    @app.get("/v1/projects")
    def projects() -> dict[str, object]:
        return PROJECT_LIST

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

    @app.post("/v1/jobs/dry-run")
    def dry_run(user: who, asked: DryRunRequest) -> DryRunView:
        hub.check(user, asked.job)
        return hub.foresee(hub.now, asked.job, busy_day.PEOPLE[user][0])

    @app.post("/v1/jobs/{key}/again", status_code=201)
    def again(
        user: who,
        key: str,
        asked: SubmitAgain,
        idempotency_key: Annotated[str | None, Header()] = None,
    ) -> JobView:
        old = hub.own(user, key)
        fields = request_of(old).model_dump(mode="json") | {
            name: value for name, value in asked.change.items() if value is not None
        }
        made = hub.submit(user, JobRequest.model_validate(fields), idempotency_key)
        if asked.replace:
            hub.change(old.id, state=JobState.STOPPED, reason=f"Cancelled by {user}.")
        return made

    @app.get("/v1/drafts/{page}")
    def draft(user: who, page: str) -> Draft:
        if (user, page) not in hub.drafts:
            raise Refuse(404, "Not found", "You have no draft of that page.")
        return hub.drafts[user, page]

    @app.put("/v1/drafts/{page}")
    def put_draft(user: who, page: str, asked: DraftRequest) -> Draft:
        kept = Draft(page=page, content=asked.content, updated_at=datetime.now(UTC))
        hub.drafts[user, page] = kept
        return kept

    @app.delete("/v1/drafts/{page}")
    def delete_draft(user: who, page: str) -> Response:
        hub.drafts.pop((user, page), None)
        return Response(status_code=204)

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
        return busy_day.explanation(hub.own(user, key))

    @app.get("/v1/jobs/{key}/log")
    def log(user: who, key: str, offset: int = 0, limit: int = LOG_STEP) -> LogPage:
        found = hub.own(user, key)
        piece = hub.logs.get(found.id, "")[offset : offset + limit]
        return LogPage(
            text=piece, next_offset=offset + len(piece), complete=found.state.is_terminal
        )

    job_days.serve(app, hub, caller)
    lent_days.serve(app, hub, caller)
    asked_for.serve(app, hub, caller)
    identities.serve(app, hub, caller, Refuse)
    operated_days.serve(app, hub, caller)

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


if __name__ == "__main__":
    uvicorn.run(FakeHub().app, host="127.0.0.1", port=8765, log_level="warning")
