"""Commands on what was: replay a recording, ask what-if of the past, compare two policies."""

import json
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import Progress, TaskID

from portal.client.hub import Hub
from portal.commands import planner_tables as tables
from portal.commands.doors import Door, with_door
from portal.commands.tables import console_of
from portal.format import count
from scheduler import policy_file
from scheduler.admin_direct import Direct, read_policy
from scheduler.api.what_if import change_of, refused, view_of
from scheduler.clock import SystemClock
from scheduler.core.policy_diff import Differences, differences
from scheduler.core.snapshot import Snapshot
from scheduler.core.whatif import Comparison, what_if
from scheduler.errors import Refused
from scheduler.replay.again import Replayed, last_state, replay
from scheduler.replay.codec import encode, text_of
from scheduler.replay.past import past_jobs
from scheduler.replay.recorder import decisions
from scheduler.replay.recording import read_recording
from scheduler.sim.past import play
from scheduler.wire.what_if import WhatIf, WhatIfRequest

app = typer.Typer(no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Many = list[str] | None
_MOST_DIGITS = 12  # of an amount: far beyond any


@app.command("replay")
def replay_file(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A recording of a hub's cycles.")],
    cycle: Annotated[int | None, typer.Option(min=1, help="Only this one, with its plan.")] = None,
    as_json: AsJson = False,
) -> None:
    """Plan a recording again; exits with 1 where any plan comes out otherwise."""
    found = different = 0
    for one in replay(read_recording(file)):
        if cycle is not None and one.cycle != cycle:
            continue
        found += 1
        different += one.difference is not None
        typer.echo(_as_json(one) if as_json else _line(one))
        if cycle is not None and not as_json:
            typer.echo(json.dumps(decisions(one.plan), indent=2, sort_keys=True))
    if not found:
        raise Refused("No such cycle", f"{file} has no cycle {cycle or ''}".rstrip(), field="cycle")
    if not as_json:
        said = f"different in {different} of" if different else "identical in all of"
        typer.echo(f"{said} {count(found, 'cycle')}")
    if different:
        raise typer.Exit(1)


def _line(one: Replayed) -> str:
    plan = one.plan
    counts = f"{len(plan.starts)} starts, {len(plan.preempts)} recalls"
    said = f"{counts}, {len(plan.reserves)} planned, {len(plan.holds)} verdicts"
    return f"cycle {one.cycle}  {one.now.isoformat()}  {said}  {one.difference or 'identical'}"


def _as_json(one: Replayed) -> str:
    return text_of(
        {
            "cycle": one.cycle,
            "now": encode(one.now, datetime),
            "identical": one.difference is None,
            "difference": one.difference,
            **decisions(one.plan),
        }
    )


@app.command("what-if")
@with_door
def ask_what_if(  # noqa: PLR0913, PLR0917  # the options are the command's surface
    door: Door,
    quota: Annotated[
        Many, typer.Option(metavar="ACCOUNT@POOL:nominal=N,..", help="Also lend_max, borrow_max.")
    ] = None,
    weight: Annotated[Many, typer.Option(metavar="ACCOUNT=N", help="Another weight.")] = None,
    agreement: Annotated[
        Many, typer.Option(metavar="ID=CAP", help="Another cap; 0 ends it.")
    ] = None,
    gpus: Annotated[Many, typer.Option(metavar="POOL=N", help="Other GPUs of a pool.")] = None,
    hours: Annotated[int, typer.Option(min=1, help="How far back to go.")] = 168,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Or from then, as 2026-03-01T12:00; UTC.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Until then, not now.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="The latest so many of them.")] = 5_000,
    recording: Annotated[
        list[Path] | None, typer.Option(help="Play recordings, in this order, without a hub.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Play the past under another policy: waits, use and recalls per account (admin scope)."""
    changes = [
        *(_quota(one) for one in quota or ()),
        *({"what": "weight", **_amount("account", "weight", one)} for one in weight or ()),
        *({"what": "agreement", **_amount("agreement", "cap", one)} for one in agreement or ()),
        *({"what": "gpus", **_amount("pool", "gpus", one)} for one in gpus or ()),
    ]
    if not changes:
        raise typer.BadParameter("nothing to try: give --quota, --weight, --agreement or --gpus")
    try:
        window = {"since": _instant(since), "until": _instant(until), "hours": hours, "jobs": jobs}
        request = WhatIfRequest.model_validate({"changes": changes, **window})
    except ValidationError as error:
        raise typer.BadParameter(_told(error, changes)) from error
    found = _from_recordings(request, recording) if recording else _from_hub(door, request)
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    elif not found.jobs:
        typer.echo("nothing to compare: no job ended in that time (--hours goes back further)")
    else:
        console_of().print(tables.what_if_table(found))


def _told(error: ValidationError, changes: list[dict[str, object]]) -> str:
    """Say the first thing that is wrong, by what was typed."""
    first = error.errors()[0]
    said = first["msg"].removeprefix("Value error, ")
    said = said[:1].lower() + said[1:]
    match first["loc"]:
        case ("changes", int(number), _, str(field)):
            one = changes[number]
            whose = one.get("account") or one.get("agreement") or one.get("pool")
            return f"{one['what']} of {whose}: {field} = {one.get(field)}: {said}"
        case (str(field), *_):
            return f"{field}: {said}"
        case _:
            return said


def _instant(text: str | None) -> datetime | None:
    """Read a time, or a day; UTC where no zone is given."""
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no time such as 2026-03-01T12:00") from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _from_hub(door: Door, request: WhatIfRequest) -> WhatIf:
    if not isinstance(door, Hub):
        raise typer.BadParameter("give an admin token (--token-file, or --as admin) or --recording")
    # What the hub's own process has done of it is not told: minutes are to be expected.
    with console_err().status(f"the hub plays up to {request.jobs:,} jobs, twice"):
        return door.what_if(request)


def _from_recordings(request: WhatIfRequest, files: list[Path]) -> WhatIf:
    recordings = [read_recording(file) for file in files]
    changes = [change_of(wish) for wish in request.changes]
    past = past_jobs(iter(recordings))
    console = console_err()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("jobs played", total=2 * len(past))
        told = partial(_show, bar, task)
        found = what_if(recordings[-1].policy, changes, past, play, told)
    if not isinstance(found, Comparison):
        raise refused(found)
    return view_of(found, f"Taken: {count(len(past), 'job')} of the recordings.")


def _show(bar: Progress, task: TaskID, over: int) -> None:
    bar.update(task, completed=over)


def console_err() -> Console:
    """Return where progress is shown: not among the answers."""
    return Console(stderr=True)


def _quota(text: str) -> dict[str, object]:
    """Read `ACCOUNT@POOL:nominal=16,borrow_max=8`."""
    key, _, rest = text.rpartition(":")
    account, _, pool = key.partition("@")
    if not (account and pool and rest):
        raise typer.BadParameter(f"--quota: {text!r} is not ACCOUNT@POOL:nominal=N")
    parts = [part.partition("=")[::2] for part in rest.split(",")]
    amounts = dict(parts)
    if len(amounts) < len(parts):
        raise typer.BadParameter(f"--quota: {text!r} says one amount twice")
    if unknown := amounts.keys() - {"nominal", "lend_max", "borrow_max"}:
        raise typer.BadParameter(f"--quota: no {', '.join(sorted(unknown))} in a quota")
    whole = {name: _whole(text, amount) for name, amount in amounts.items()}
    return {"what": "quota", "account": account, "pool": pool, **whole}


def _amount(name: str, amount: str, text: str) -> dict[str, object]:
    key, _, value = text.rpartition("=")
    if not key:
        raise typer.BadParameter(f"{text!r} is not NAME=N")
    return {name: key, amount: _whole(text, value)}


def _whole(text: str, value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= _MOST_DIGITS):
        raise typer.BadParameter(f"{text[:80]!r}: {value[:40]!r} is not a whole number")
    return int(value)


def policy_diff(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="A policy in YAML.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="Another.")],
    state: Annotated[
        Path | None, typer.Option(help="Plan what a recording ends with under both.")
    ] = None,
    data: Annotated[
        Path, typer.Option(envvar="COMMONPOOL_DATA", help="Else plan what this hub's data holds.")
    ] = Path(".commonpool"),
    database_url: Annotated[
        str, typer.Option(envvar="COMMONPOOL_DATABASE_URL", show_default=False)
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Say what another policy would change, and for whom, by planning the present under both."""
    before, after = (policy_file.load(read_policy(file), 0) for file in (old, new))
    snapshot, now = _state(state, Direct(data, database_url), read_policy(old))
    found = differences(before, after, snapshot, now)
    if as_json:
        typer.echo(json.dumps(encode(found, Differences), indent=2))
    else:
        _print(found)


def _state(
    file: Path | None, direct: Direct, document: str
) -> tuple[Snapshot | None, datetime | None]:
    """Return what to plan: a recording's end, else the database's present, else nothing."""
    if file is not None:
        snapshot, at = last_state(read_recording(file))
        return snapshot, at or SystemClock().now()
    if not direct.is_there():
        return None, None
    return direct.state(policy_file.load(document, 0)), SystemClock().now()


def _print(found: Differences) -> None:
    for row in found.rows:
        typer.echo(row.sentence())
    if not found.rows:
        typer.echo("the two policies say the same")
    if not found.planned:
        typer.echo("nothing was planned: there is no hub's data here; give --data or --state")
        return
    typer.echo("")
    sentences = [*(job.sentence() for job in found.jobs), *(run.sentence() for run in found.runs)]
    for said in sentences:
        typer.echo(said)
    for account, (before, after) in found.by_account().items():
        typer.echo(f"{account}: {before} GPUs would start now, with the new policy {after}")
    if not sentences:
        typer.echo("the next cycle would decide the same under both")
