"""The researcher's commands: submit, jobs, logs, explain, cancel, pools.

Each exits with 0 when it did what was asked, 1 when the hub refused or the job failed,
and 2 when the command line makes no sense.
"""

import shlex
import sys
from collections.abc import Mapping
from datetime import timedelta
from threading import Event
from typing import Annotated
from uuid import uuid4

import typer
from pydantic import ValidationError

from portal import cli_tables as tables
from portal import submit_options as options
from portal.cli_hub import with_hub
from portal.format import parse_duration
from portal.hub import Hub
from portal.working_dir import upload
from scheduler.core.lifecycle import JobState
from scheduler.core.model import Tier
from scheduler.wire.jobs import JobRequest, JobView

_LOOK_SECONDS = 1.0
_FIRST_SECONDS, _FIRST_LOOKS = 0.1, 10
app = typer.Typer(no_args_is_help=True)

Job = Annotated[str, typer.Argument(metavar="JOB", help="Its id or submission id.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


@app.command()
@with_hub
def submit(  # noqa: PLR0913, PLR0917  # the options are the command's surface
    hub: Hub,
    entrypoint: options.Entrypoint,
    nodes: options.Nodes = None,
    gpus_per_node: options.GpusPerNode = None,
    gpu_model: options.GpuModels = None,
    memory_gib: options.MemoryGib = None,
    h100e: options.H100e = None,
    software: options.Software = None,
    reservation: options.Reservation = None,
    tier: options.Tier = None,
    label: options.Label = None,
    priority: options.Priority = None,
    time_limit: options.TimeLimit = None,
    no_preempt: options.NoPreempt = False,
    account: options.Account = None,
    name: options.Name = None,
    submission_id: options.SubmissionId = None,
    working_dir: options.WorkingDir = None,
    wait: options.Wait = False,
    follow: options.Follow = False,
    as_json: AsJson = False,
) -> None:
    """Submit a job. `ray job submit` works as well, with the hub as RAY_ADDRESS.

    Example: commonpool submit --as dana --gpus-per-node 4 --working-dir . -- python train.py
    """
    asked: dict[str, object] = {
        "entrypoint": _shell_line(entrypoint),
        "nodes": nodes,
        "gpus_per_node": gpus_per_node,
        "gpu_models": tuple(gpu_model or ()) or None,
        "memory_gib": memory_gib,
        "h100e": h100e,
        "software": tuple(software or ()) or None,
        "reservation": reservation,
        "tier": _tiers(tier),
        "label": label,
        "priority": priority,
        "time_limit_seconds": _seconds(time_limit),
        "preemptible": False if no_preempt else None,
        "account": account,
        "name": name,
        "submission_id": submission_id,
    }
    if working_dir is not None:
        asked["runtime_env"] = {"working_dir": upload(hub, working_dir)}
    job = hub.submit(_request(asked), str(uuid4()))
    _report(hub, job, wait or follow, follow, as_json)


@app.command()
@with_hub
def jobs(
    hub: Hub,
    state: Annotated[JobState | None, typer.Option(help="Only jobs in this state.")] = None,
    account: Annotated[str | None, typer.Option(help="Only jobs of this account.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many, newest first.")] = 20,
    after: Annotated[str | None, typer.Option(help="Go on after an earlier page.")] = None,
    as_json: AsJson = False,
) -> None:
    """List your jobs, newest first, with why each waits or what it does."""
    page = hub.jobs(state, account, after, limit)
    if as_json:
        tables.print_json(page)
        return
    if not page.jobs:
        typer.echo("no jobs yet: commonpool submit -- COMMAND" if not state else "no such jobs")
        return
    tables.console_of().print(tables.jobs_table(page, tables.local_now()))
    if page.next:
        typer.echo(f"there are more: --after {page.next}")


@app.command()
@with_hub
def logs(
    hub: Hub,
    job: Job,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until the job ends.")] = False,
) -> None:
    """Print a job's log, over all its attempts; also after its cluster is gone."""
    if follow:
        _follow(hub, job)
        return
    offset = 0
    while True:
        page = hub.log(job, offset)
        sys.stdout.write(page.text)
        if not page.text or page.complete:
            break
        offset = page.next_offset
    if not offset and not page.text:
        typer.echo(f"no output yet: {hub.job(job).reason}", err=True)


@app.command()
@with_hub
def explain(hub: Hub, job: Job, as_json: AsJson = False) -> None:
    """Say why a job is where it is: per pool, its place in the queue, its history."""
    explanation = hub.explanation(job)
    if as_json:
        tables.print_json(explanation)
    else:
        tables.print_explanation(tables.console_of(), explanation, tables.local_now())


@app.command()
@with_hub
def cancel(
    hub: Hub,
    jobs: Annotated[list[str], typer.Argument(metavar="JOB...", help="Ids or submission ids.")],
    as_json: AsJson = False,
) -> None:
    """End jobs: one that waits at once, one that runs after a word to it."""
    for job in jobs:
        view = hub.cancel(job)
        if as_json:
            tables.print_json(view)
        else:
            typer.echo(f"{view.id} {view.state.value}: {view.reason}")


@app.command()
@with_hub
def recall(hub: Hub, job: Job, as_json: AsJson = False) -> None:
    """Take an idle job's lease back: the background work on its GPUs ends by its notice."""
    view = hub.recall(job)
    if as_json:
        tables.print_json(view)
        return
    told = [event.sentence for event in hub.explanation(job).history]
    typer.echo(f"{view.id} {view.state.value}: {told[-1] if told else view.reason}")


@app.command()
@with_hub
def pools(
    hub: Hub,
    nodes: Annotated[bool, typer.Option("--nodes", help="Show each node too.")] = False,
    quotas: Annotated[bool, typer.Option("--quotas", help="Show each account's quota.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what is free, tier by tier."""
    found = hub.pools()
    if as_json:
        tables.print_json(found)
        return
    console = tables.console_of()
    console.print(tables.pools_table(found))
    if quotas:
        console.print(tables.quotas_table(found))
    if nodes:
        console.print(tables.nodes_table(hub.nodes(limit=500), tables.local_now()))


def _report(hub: Hub, job: JobView, wait: bool, follow: bool, as_json: bool) -> None:
    """Say what became of a submission, once it was planned or when it has ended."""
    job = _planned(hub, job)
    if not as_json:
        typer.echo(f"{job.id}  {job.reason}", err=follow)
    if follow:
        _follow(hub, job.id)
    if wait:
        job = _ended(hub, job)
        if not as_json:
            typer.echo(f"{job.id}  {job.state.value}: {job.reason}", err=follow)
    if as_json:
        tables.print_json(job)
    if not wait and not as_json:
        typer.echo(f"see: commonpool explain {job.id} · commonpool logs -f {job.id}")
    if wait and job.state is not JobState.SUCCEEDED:
        raise typer.Exit(1)


def _planned(hub: Hub, job: JobView) -> JobView:
    """Return the job with its first verdict; a cycle follows a submission within moments."""
    first = job.reason
    for _ in range(_FIRST_LOOKS):
        if job.state is not JobState.PENDING or job.reason != first:
            break
        Event().wait(_FIRST_SECONDS)
        job = hub.job(job.id)
    return job


def _ended(hub: Hub, job: JobView) -> JobView:
    while not job.state.is_terminal:
        Event().wait(_LOOK_SECONDS)
        job = hub.job(job.id)
    return job


def _follow(hub: Hub, job: str) -> None:
    for piece in hub.follow_log(job):
        sys.stdout.write(piece)
        sys.stdout.flush()


def _shell_line(words: list[str]) -> str:
    """Return one command for the shell, as `ray job submit` does: one word stays as it is."""
    return words[0] if len(words) == 1 else shlex.join(words)


def _request(asked: Mapping[str, object]) -> JobRequest:
    """Return the request without what was left out; a value out of its range is told here."""
    said = {name: value for name, value in asked.items() if value is not None}
    try:
        return JobRequest.model_validate(said)
    except ValidationError as error:
        first = error.errors()[0]
        field, reason = str(first["loc"][0]), first["msg"]
        option = f"--{_OPTION.get(field, field).replace('_', '-')}"
        raise typer.BadParameter(f"{option}: {first['input']!r}: {reason}") from error


_OPTION = {"gpu_models": "gpu_model", "time_limit_seconds": "time_limit"}


def _tiers(text: str | None) -> tuple[Tier, Tier] | None:
    if text is None:
        return None
    low, _, high = text.partition("..")
    try:
        return (Tier(low), Tier(high or low))
    except ValueError as error:
        known = ", ".join(Tier)
        raise typer.BadParameter(
            f"--tier: {text!r} is none of {known}, nor A..B of them"
        ) from error


def _seconds(text: str | None) -> int | None:
    try:
        length = parse_duration(text or "")
    except ValueError as error:
        raise typer.BadParameter(f"--time-limit: {error}: try 90s, 30m, 2h or 7d") from error
    return None if length is None else int(length / timedelta(seconds=1))
