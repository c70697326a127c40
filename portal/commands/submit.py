"""`commonpool submit` and `templates`: a job from options, from a template, or from a file.

What the command line says goes before what the template or the file says.
"""

import shlex
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Annotated, Any
from uuid import uuid4

import typer
from pydantic import ValidationError

from portal.catalogue import Template, template, templates
from portal.client.hub import Hub
from portal.commands import dry_run, tables
from portal.commands import submit_options as options
from portal.commands.doors import with_hub
from portal.commands.jobs import AsJson, follow_to_end
from portal.commands.submit_options import Start
from portal.format import parse_duration
from portal.job_file import BadJobFile, read_job_file
from portal.job_forms import yaml_form
from portal.working_dir import upload, upload_zip
from scheduler.core.lifecycle import JobState
from scheduler.core.model import Tier
from scheduler.wire.dry_run import DryRunRequest, DryRunView
from scheduler.wire.jobs import JobRequest, JobView

_LOOK_SECONDS = 1.0
_FIRST_SECONDS, _FIRST_LOOKS = 0.1, 10
_DRY_RUN = "/v1/jobs/dry-run"
app = typer.Typer(no_args_is_help=True)


@app.command()
@with_hub
def submit(  # noqa: PLR0913, PLR0917  # the options are the command's surface
    hub: Hub,
    entrypoint: options.Entrypoint = None,
    template: options.TemplateName = None,
    file: options.File = None,
    nodes: options.Nodes = None,
    gpus_per_node: options.GpusPerNode = None,
    gpu_model: options.GpuModels = None,
    memory_gib: options.MemoryGib = None,
    h100e: options.H100e = None,
    software: options.Software = None,
    reservation: options.Reservation = None,
    model_line: options.ModelLine = None,
    training_flop: options.TrainingFlop = None,
    tier: options.Tier = None,
    label: options.Label = None,
    priority: options.Priority = None,
    time_limit: options.TimeLimit = None,
    no_preempt: options.NoPreempt = False,
    account: options.Account = None,
    name: options.Name = None,
    submission_id: options.SubmissionId = None,
    metadata: options.Metadata = None,
    working_dir: options.WorkingDir = None,
    dry_run: options.DryRun = False,
    wait: options.Wait = False,
    follow: options.Follow = False,
    as_json: AsJson = False,
) -> None:
    """Submit a job. `ray job submit` works as well, with the hub as RAY_ADDRESS.

    Examples: commonpool submit --as dana --template edge
    · commonpool submit --as dana --gpus-per-node 4 --working-dir . -- python train.py
    """
    start = _start(template, file)
    asked: dict[str, object] = {
        "entrypoint": _shell_line(entrypoint) if entrypoint else None,
        "nodes": nodes,
        "gpus_per_node": gpus_per_node,
        "gpu_models": tuple(gpu_model or ()) or None,
        "memory_gib": memory_gib,
        "h100e": h100e,
        "software": tuple(software or ()) or None,
        "reservation": reservation,
        "model_line": model_line,
        "training_flop": training_flop,
        "tier": _tiers(tier),
        "label": label,
        "priority": priority,
        "time_limit_seconds": _seconds(time_limit),
        "preemptible": False if no_preempt else None,
        "account": account,
        "name": name,
        "submission_id": submission_id,
        "metadata": _pairs(metadata),
    }
    request = _request(start, asked)
    if dry_run:
        _print_dry_run(hub, request, start, as_json=as_json)
        return
    uri = upload(hub, working_dir) if working_dir is not None else _uploaded(hub, start)
    if uri:
        environment = {**request.runtime_env, "working_dir": uri}
        request = request.model_copy(update={"runtime_env": environment})
    job = hub.submit(request, str(uuid4()))
    _report(hub, job, wait or follow, follow, as_json)


@app.command("templates")
def list_templates(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only this one.")] = None,
    save: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write its program and job.yaml there, to change."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the templates: a small real Ray program for each research challenge."""
    found = templates() if name is None else (_template(name),)
    if save is not None:
        if name is None:
            raise typer.BadParameter(f"--save: which one? {', '.join(t.name for t in found)}")
        _save(found[0], save)
    elif as_json:
        said = [{"name": one.name, **one.said.model_dump(exclude={"program"})} for one in found]
        tables.print_plain_json(said)
    else:
        tables.console_of().print(dry_run.templates_table(found))


def _save(one: Template, folder: Path) -> None:
    """Write the files of a template; what is there already is not written over."""
    written = {**one.contents(), "job.yaml": yaml_form(one.request()).encode()}
    there = [name for name in written if (folder / name).exists()]
    if there:
        raise typer.BadParameter(f"--save: {folder / there[0]} is there already: name another DIR")
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in written.items():
        (folder / name).write_bytes(data)
    typer.echo(f"written to {folder}: {', '.join(written)}")
    typer.echo(f"submit it with: commonpool submit --file {folder / 'job.yaml'}")


def _start(name: str | None, file: Path | None) -> Start:
    if name is not None and file is not None:
        raise typer.BadParameter("--template and --file: a job starts from one of them")
    if name is not None:
        one = _template(name)
        fields = one.request().model_dump(exclude_unset=True)
        return Start(fields, one.package(), None, one.said.expected_seconds)
    if file is None:
        return Start({}, None, None, None)
    try:
        found = read_job_file(file)
    except BadJobFile as error:
        raise typer.BadParameter(f"--file: {error}") from error
    return Start(found.fields, None, found.working_dir, None)


def _template(name: str) -> Template:
    found = template(name)
    if found is None:
        known = ", ".join(one.name for one in templates())
        raise typer.BadParameter(f"'{name}' is no template; there are {known}")
    return found


def _uploaded(hub: Hub, start: Start) -> str | None:
    if start.package is not None:
        return upload_zip(hub, start.package)
    return None if start.working_dir is None else upload(hub, start.working_dir)


def _print_dry_run(hub: Hub, request: JobRequest, start: Start, *, as_json: bool) -> None:
    """Say what would become of the job; its files are not sent."""
    asked = DryRunRequest(job=request, expected_seconds=start.expected_seconds)
    found = hub.exchange(
        DryRunView, "POST", _DRY_RUN, json=asked.model_dump(mode="json", exclude_unset=True)
    )
    if as_json:
        tables.print_json(found)
    else:
        dry_run.print_dry_run(tables.console_of(), found, tables.local_now())


def _report(hub: Hub, job: JobView, wait: bool, follow: bool, as_json: bool) -> None:
    """Say what became of a submission, once it was planned or when it has ended."""
    job = _planned(hub, job)
    if not as_json:
        typer.echo(f"{job.id}  {job.reason}", err=follow)
    if follow:
        follow_to_end(hub, job.id)
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


def _shell_line(words: list[str]) -> str:
    """Return one command for the shell, as `ray job submit` does: one word stays as it is."""
    return words[0] if len(words) == 1 else shlex.join(words)


def _request(start: Start, asked: Mapping[str, object]) -> JobRequest:
    """Return the request without what was left out; a value out of its range is told here."""
    given = {name: value for name, value in asked.items() if value is not None}
    said: dict[str, Any] = {**start.fields, **given}
    if "h100e" in given:  # the command line's size takes the place of the other kind
        said = {name: v for name, v in said.items() if name in given or name not in _SIZES}
    if "entrypoint" not in said:
        raise typer.BadParameter(
            "what to run? Give a command after --, or --template NAME (`commonpool templates`), or"
            " --file job.yaml"
        )
    try:
        return JobRequest.model_validate(said)
    except ValidationError as error:
        first = error.errors()[0]
        field, reason = str(first["loc"][0]), first["msg"]
        option = f"--{_OPTION.get(field, field).replace('_', '-')}"
        option = option if field in given else f"--file: {field}"
        raise typer.BadParameter(f"{option}: {first['input']!r}: {reason}") from error


_SIZES = ("nodes", "gpus_per_node")
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


def _pairs(texts: list[str] | None) -> dict[str, str] | None:
    if not texts:
        return None
    pairs = [text.partition("=") for text in texts]
    wrong = next((key for key, sign, _ in pairs if not (key and sign)), None)
    if wrong is not None:
        raise typer.BadParameter(f"--metadata: '{wrong}' is not KEY=VALUE")
    return {key: value for key, _, value in pairs}
