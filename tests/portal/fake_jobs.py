"""The fake hub's jobs: submitted, looked at, followed, ended; with their drafts and packages."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Header, Request
from fastapi.responses import Response

from portal.job_forms import request_of
from scheduler.core.lifecycle import JobState
from scheduler.wire.drafts import Draft, DraftRequest, SubmitAgain
from scheduler.wire.dry_run import DryRunRequest, DryRunView
from scheduler.wire.jobs import Explanation, JobPage, JobRequest, JobView, LogPage
from tests.portal import busy_day
from tests.portal.refusals import Refuse

LOG_STEP = 65_536


def serve(app, hub, caller):
    """Serve one's own jobs, and what makes new ones."""
    who = Annotated[str, Depends(caller)]
    for part in (_serve_submissions, _serve_jobs, _serve_log, _serve_drafts, _serve_packages):
        part(app, hub, who)


def _serve_submissions(app, hub, who):
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


def _serve_jobs(app, hub, who):
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
            for job in hub.jobs_of(user)
            if state in (None, job.state) and account in (None, job.account)
        ]
        rest = found[after:]
        return JobPage(
            jobs=tuple(rest[:limit]), next=str(after + limit) if len(rest) > limit else None
        )

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


def _serve_log(app, hub, who):
    @app.get("/v1/jobs/{key}/log")
    def log(user: who, key: str, offset: int = 0, limit: int = LOG_STEP) -> LogPage:
        # `wait` is not waited for: whoever follows paces its questions by itself.
        found = hub.own(user, key)
        said = hub.logs.get(found.id, "").encode()
        piece = said[offset : offset + limit]
        return LogPage(
            text=piece.decode(errors="replace"),
            next_offset=offset + len(piece),
            complete=found.state.is_terminal and offset + len(piece) >= len(said),
            size=len(said),
            state=found.state,
        )


def _serve_drafts(app, hub, who):
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


def _serve_packages(app, hub, who):
    @app.get("/api/packages/gcs/{name}")
    def has_package(_: who, name: str) -> Response:
        return Response(status_code=200 if name in hub.packages else 404)

    @app.put("/api/packages/gcs/{name}")
    async def put_package(_: who, name: str, request: Request) -> Response:
        hub.packages[name] = await request.body()
        return Response()
