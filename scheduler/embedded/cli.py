"""The commands `up`, `down`, `status` and `demo`: the whole system on this machine."""

import json
import shutil
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from threading import Event
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from portal.client.hub import Hub, HubProblem, HubUnreachable, http_client
from portal.commands.tables import console_of, pools_table
from portal.format import ago
from scheduler.clock import SystemClock
from scheduler.embedded.down import take_down
from scheduler.embedded.instance import Presence, alone, look, metrics_urls
from scheduler.embedded.layout import DEFAULT_DATA, Layout
from scheduler.embedded.narrator import Narrator
from scheduler.embedded.status import ProcessStatus, others, statuses
from scheduler.embedded.up import Started, Wishes, bring_up

app = typer.Typer(no_args_is_help=True)

Data = Annotated[
    Path,
    typer.Option("--data", envvar="COMMONPOOL_DATA", help="Folder that holds the whole state."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


@app.command()
def up(  # noqa: PLR0913, PLR0917  # the options are the command's surface
    data: Data = DEFAULT_DATA,
    hub_port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free one.")] = 8265,
    portal_port: Annotated[int, typer.Option(min=0, max=65535, help="As above.")] = 8501,
    no_portal: Annotated[bool, typer.Option("--no-portal", help="Start no portal.")] = False,
    policy: Annotated[
        Path | None, typer.Option(help="Policy to apply; default: keep the one in force.")
    ] = None,
    foreground: Annotated[
        bool, typer.Option("--foreground/--detach", help="Stay, and stop everything on Ctrl-C.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Start with little memory too.")] = False,
) -> None:
    """Start everything on this machine: hub, Ray, site agents, simulated nodes, portal.

    It needs no network. State lives in the data folder and survives `commonpool down`.
    """
    console = console_of()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    wishes = Wishes(data, hub_port, None if no_portal else portal_port, policy, force)
    started = bring_up(wishes, Narrator(console))
    _welcome(console, started)
    if foreground and started.fresh:
        _stay(started.layout, console)


@app.command()
def down(data: Data = DEFAULT_DATA) -> None:
    """Stop everything that `up` started, and check that no process is left."""
    console = console_of()
    layout = Layout.of(data)
    if not layout.run.exists():
        console.print(f"nothing was ever started in {layout.data}", soft_wrap=True)
        return
    with alone(layout):
        found = take_down(layout, Narrator(console))
    if found:
        console.print(f"down: none of {found} processes is left; the state stays in {layout.data}")
    else:
        console.print(f"nothing was running in {layout.data}", soft_wrap=True)


@app.command()
def status(data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    """Show each process, up or down, and the pools. Exit code 1 unless all is up."""
    console = console_of()
    layout = Layout.of(data)
    instance = look(layout)
    if instance.presence is Presence.ABSENT and not as_json:
        console.print(f"down: nothing runs in {layout.data}", soft_wrap=True)
        console.print("start it with: commonpool up", style="dim")
        raise typer.Exit(1)
    found = statuses(layout)
    if as_json:
        _print_json(console, layout, instance.presence, found)
    else:
        _print_status(console, layout, found)
    raise typer.Exit(0 if instance.presence is Presence.UP else 1)


def _welcome(console: Console, started: Started) -> None:
    """Say where everything is, who may sign in, and what to try next."""
    layout = started.layout
    console.print()
    console.print("Commonpool is up." if started.fresh else "Already up.", style="bold green")
    lines = [("hub", started.hub), ("portal", started.portal or "not started")]
    lines += [("node metrics", url) for url in metrics_urls(layout)]
    lines.append(("state", f"{_short(layout.data)}, with a log per process in log/"))
    # Whole lines, never cut or folded: they are there to be copied.
    lines += [(f"{person}'s token", layout.token(person)) for person in started.people]
    for name, value in lines:
        console.print(f"  {name:14s} {escape(value)}", highlight=False, soft_wrap=True)
    console.print("\nThree things to try:", style="bold")
    first = started.people[0] if started.people else "USER"
    default = layout.data == Layout.of(DEFAULT_DATA).data
    where = "" if default else f" --data {_short(layout.data)}"
    for line in _first_steps(started.hub, layout, first, where):
        console.print(f"  {escape(line)}", highlight=False, soft_wrap=True)


def _first_steps(hub: str, layout: Layout, person: str, where: str) -> tuple[str, ...]:
    token = _short(layout.tokens / f"{person}.token")
    programs = _short(Path(__file__).parent / "programs")
    submit = f"RAY_ADDRESS={hub} RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH={token}"
    program = f"--working-dir {programs} -- python word_statistics.py"
    return (
        f"{submit} {_typed('ray')} job submit {program}",
        f"{_typed('commonpool')} jobs --as {person}{where}",
        f"{_typed('commonpool')} demo{where}",
    )


def _typed(command: str) -> str:
    """Return a command of this environment as it is typed here: by its path if not on PATH."""
    here = Path(sys.executable).parent
    found = shutil.which(command)
    return command if found and Path(found).parent == here else _short(here / command)


def _short(path: Path) -> str:
    """Return a path as it is typed here: relative where it lies below."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _stay(layout: Layout, console: Console) -> None:
    console.print("\nCtrl-C stops everything.", style="dim")
    try:
        Event().wait()
    except KeyboardInterrupt:
        with alone(layout):
            take_down(layout, Narrator(console))


def _print_status(console: Console, layout: Layout, found: tuple[ProcessStatus, ...]) -> None:
    now = SystemClock().now()
    table = Table("process", "state", "pid", "since", "restarts", "MiB", "", box=None)
    for item in found:
        state = "[green]up[/green]" if item.up else "[red]down[/red]"
        since = ago(item.since, now) if item.since else ""
        cells = (str(item.pid or ""), since, str(item.restarts or ""), str(item.memory_mib or ""))
        table.add_row(item.name, state, *cells, escape(item.note))
    console.print(table)
    more = others(layout, found)
    console.print(
        f"and {more} more processes, Ray's and those of runs; logs: {layout.log}", style="dim"
    )
    urls = layout.hub_url.read_text().split() if layout.hub_url.exists() else []
    if urls:
        console.print(f"hub {' · portal '.join(urls)}\n", highlight=False, soft_wrap=True)
        with http_client() as client:
            _print_pools(console, Hub(urls[0], layout.token("admin"), client))


def _print_pools(console: Console, hub: Hub) -> None:
    try:
        console.print(pools_table(hub.pools()))
    except (HubUnreachable, HubProblem) as error:
        console.print(f"[yellow]the pools cannot be shown:[/yellow] {escape(str(error))}")


def _print_json(
    console: Console, layout: Layout, presence: Presence, found: tuple[ProcessStatus, ...]
) -> None:
    urls = layout.hub_url.read_text().split() if layout.hub_url.exists() else []
    document = {
        "data": str(layout.data),
        "state": presence.value,
        "hub": urls[0] if urls else None,
        "portal": urls[1] if len(urls) > 1 else None,
        "processes": [asdict(item) for item in found],
    }
    console.print_json(json.dumps(document, default=str))
