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
from fastapi import FastAPI, Header, Request
from fastapi.responses import JSONResponse

from scheduler.core.lifecycle import JobState
from scheduler.core.model import Tier
from scheduler.wire.accounts import Me, Scope
from tests.portal import asked as asked_for
from tests.portal import (
    busy_day,
    dry_runs,
    fake_fleet,
    fake_jobs,
    fake_people,
    first_looks,
    identities,
    job_days,
    lent_days,
    operated_days,
)
from tests.portal.refusals import Refuse

PARTS = (
    fake_people,
    fake_fleet,
    fake_jobs,
    first_looks,
    job_days,
    lent_days,
    asked_for,
    identities,
    operated_days,
)
"""What serves the hub's routes, each for a room of its own."""


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

    def me(self, user):
        account, labels = busy_day.PEOPLE[user]
        return Me(
            subject=user,
            scope=Scope.USER,
            accounts=(account,) if account else (),
            labels=labels,
            expires_at=self.now + timedelta(days=90),
        )

    def jobs_of(self, user):
        newest = sorted(self.jobs.values(), key=lambda job: job.submitted_at, reverse=True)
        return [job for job in newest if job.user == user]

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


def _application(hub):
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

    for part in PARTS:
        part.serve(app, hub, caller)
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
