"""The operator's commands for nodes: list, show, drain, resume, reserve, inject; and waste."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from agents.node import injected
from portal.client.hub import Hub
from portal.commands import tables
from portal.commands.completion import pool_names
from portal.commands.doors import DEFAULT_DATA, with_hub
from portal.format import parse_duration
from scheduler.clock import SystemClock
from scheduler.wire.launches import LaunchPhase
from scheduler.wire.operating import DrainRequest, MaintenanceRequest, NodeDetail

app = typer.Typer(no_args_is_help=True, help=__doc__)
waste_app = typer.Typer()

_Node = Annotated[str, typer.Argument(help="As `node list` shows it.")]
_Reason = Annotated[str, typer.Option(help="Why; the people whose jobs run there read it.")]
_Until = Annotated[str, typer.Option(help="e.g. 2026-03-02T18:00 or 2026-03-02T18:00+01:00.")]
_For = Annotated[str, typer.Option("--for", help="e.g. 90m, 8h, 2d.")]
_AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


@app.command("list")
@with_hub
def list_nodes(
    hub: Hub,
    pool: Annotated[
        str | None, typer.Option(help="Only this pool.", autocompletion=pool_names)
    ] = None,
    as_json: _AsJson = False,
) -> None:
    """List nodes: what is free, and why one takes no work."""
    tables.tell_nodes(hub.nodes(pool, limit=500), as_json=as_json)


@app.command()
@with_hub
def show(hub: Hub, node: _Node, as_json: _AsJson = False) -> None:
    """Show a node: why it takes no work, what it waits for, and what happened to it."""
    _tell(hub.node(node), as_json)


@app.command()
@with_hub
def drain(  # noqa: PLR0913, PLR0917  # the options are the command's surface
    hub: Hub,
    node: _Node,
    reason: _Reason,
    until: _Until = "",
    lasting: _For = "",
    notice: Annotated[
        str, typer.Option(help="For its runs, at most; default: what each was promised.")
    ] = "",
    as_json: _AsJson = False,
) -> None:
    """Take a node out of work: its runs are told, end by their notice, and are requeued."""
    length = parse_duration(notice)
    asked = DrainRequest(
        reason=reason,
        until=_end(until, lasting, SystemClock().now()),
        notice_seconds=None if length is None else int(length.total_seconds()),
    )
    _tell(hub.drain(node, asked), as_json)


@app.command()
@with_hub
def resume(
    hub: Hub,
    node: _Node,
    reason: Annotated[
        str, typer.Option(help="Why; the node's history and the audit log keep it.")
    ] = "",
    as_json: _AsJson = False,
) -> None:
    """Let a node work again, whoever took it out; from its next report on it does."""
    _tell(hub.resume(node, reason), as_json)


@app.command()
@with_hub
def reserve(  # noqa: PLR0913, PLR0917  # the options are the command's surface
    hub: Hub,
    nodes: Annotated[list[str], typer.Argument(help="As `node list` shows them.")],
    reason: _Reason,
    start: Annotated[str, typer.Option("--from", help="When; default: now.")] = "",
    until: _Until = "",
    lasting: _For = "",
    as_json: _AsJson = False,
) -> None:
    """Plan maintenance: nothing that would still run then is started on these nodes."""
    starts_at = _instant(start, "--from") if start else SystemClock().now()
    ends_at = _end(until, lasting, starts_at)
    if ends_at is None:
        raise typer.BadParameter("say when it ends: --until or --for")
    asked = MaintenanceRequest(
        nodes=tuple(nodes), starts_at=starts_at, ends_at=ends_at, reason=reason
    )
    found = hub.plan_maintenance(asked)
    if as_json:
        tables.print_json(found)
        return
    for window in found.windows:
        when = f"{window.starts_at:%Y-%m-%d %H:%M} to {window.ends_at:%Y-%m-%d %H:%M} UTC"
        typer.echo(f"{window.name}  {', '.join(window.nodes)}  {when}  {window.reason}")


@app.command()
@with_hub
def unreserve(hub: Hub, name: Annotated[str, typer.Argument(help="e.g. maintenance-7")]) -> None:
    """Undo planned maintenance."""
    hub.cancel_maintenance(name)
    typer.echo(f"{name} is undone")


@app.command()
def inject(  # the options are the command's surface
    node: Annotated[str, typer.Argument(help="A simulated node of the instance in --data.")],
    xid: Annotated[int | None, typer.Option(min=1, max=100_000, help="e.g. 79.")] = None,
    gpu: Annotated[int, typer.Option(min=0, max=63, help="Which of its GPUs.")] = 0,
    foreign: Annotated[
        bool, typer.Option("--foreign", help="A process that has no lease there.")
    ] = False,
    repair: Annotated[bool, typer.Option("--repair", help="Make all its GPUs well.")] = False,
    data: Annotated[
        Path, typer.Option(envvar="COMMONPOOL_DATA", help="Data folder of that instance.")
    ] = DEFAULT_DATA,
) -> None:
    """SIMULATION: give a simulated node a fault, to see what the scheduler makes of it.

    It works on this machine alone and on simulated nodes alone; nothing real can be hurt.
    """
    folder = data / "simulation"
    file = injected.file_of(folder, node)
    if not file.exists():
        names = sorted(path.name.split(".faults")[0] for path in folder.glob("*.faults.json"))
        here = f"; simulated here: {', '.join(names)}" if names else ""
        raise typer.BadParameter(f"{node} is no simulated node of {data}{here}")
    if (xid is None) and not foreign and not repair:
        raise typer.BadParameter("say what: --xid N, --foreign or --repair")
    found = injected.load(file)
    found = found.repaired() if repair else found
    found = found if xid is None else found.with_xid(gpu, xid)
    found = found.with_foreign(gpu) if foreign else found
    injected.save(file, found)
    said = [f"XID {xid} on GPU {gpu}"] if xid is not None else []
    said += [f"a process without a lease on GPU {gpu}"] if foreign else []
    typer.echo(f"SIMULATED on {node}: {', '.join(said) or 'all GPUs are well'}")


@waste_app.command()
@with_hub
def waste(
    hub: Hub,
    days: Annotated[int, typer.Option(min=1, max=31, help="How far back to look.")] = 7,
    as_json: _AsJson = False,
) -> None:
    """Say how many GPU-hours accounts were leased, and in how many their GPUs worked."""
    found = hub.waste(days)
    if as_json:
        tables.print_json(found)
        return
    if not found.accounts:
        typer.echo("nobody held a lease in that time")
        return
    typer.echo(f"{'account':24} {'leased':>10} {'measured':>10} {'used':>10}  GPU-hours")
    for row in found.accounts:
        hours = (row.leased_gpu_hours, row.measured_gpu_hours, row.used_gpu_hours)
        share = "not measured" if row.share_used is None else f"{100 * row.share_used:.0f} % used"
        typer.echo(f"{row.account:24} {hours[0]:10.1f} {hours[1]:10.1f} {hours[2]:10.1f}  {share}")


def _end(until: str, lasting: str, starts_at: datetime) -> datetime | None:
    if until and lasting:
        raise typer.BadParameter("give --until or --for, not both")
    if until:
        return _instant(until, "--until")
    try:
        length = parse_duration(lasting)
    except ValueError as error:
        raise typer.BadParameter(f"--for: {error}") from error
    return None if length is None else starts_at + length


def _instant(text: str, option: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{option}: {text!r} is not like 2026-03-02T18:00") from error
    return at.astimezone(UTC)


_PHASES = {
    LaunchPhase.NONE: "not there",
    LaunchPhase.UNKNOWN: "ordered, and the node has not said how it stands",
    LaunchPhase.STARTING: "being prepared",
    LaunchPhase.UP: "up",
    LaunchPhase.ENDING: "being fenced",
    LaunchPhase.FENCED: "fenced, no process is left",
}


def _tell(detail: NodeDetail, as_json: bool) -> None:
    if as_json:
        tables.print_json(detail)
        return
    node, cordon = detail.node, detail.cordon
    state = "works" if node.usable else f"takes no work: {node.why_unusable}"
    typer.echo(f"{node.node}  {node.pool}  {node.gpus} GPUs, {node.free} free  {state}")
    if cordon is not None:
        typer.echo(f"since {cordon.at:%Y-%m-%d %H:%M} UTC by {cordon.by}: {cordon.why}")
        typer.echo(f"returns after: {cordon.returns}")
    for one in detail.launcher.launches if detail.launcher else ():
        who = f"{one.account} {one.run or 'a run'}".strip()
        why = f": {one.why}" if one.why else ""
        typer.echo(f"launcher: {who} is {_PHASES[one.phase]} since {one.since:%H:%M:%S} UTC{why}")
    for event in detail.history:
        typer.echo(f"{event.at:%Y-%m-%d %H:%M:%S}  {event.event:9}  {event.sentence}")
