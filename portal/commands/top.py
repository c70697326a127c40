"""`commonpool top`: the fleet in a terminal, as it is now.

While the hub is away the last picture stays, with its age. Where standard output is no
terminal, and with `--once` or `--json`, it is printed once.
"""

import contextlib
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Annotated

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from portal.client.hub import Hub, HubProblem, HubUnreachable
from portal.commands import top_table as picture
from portal.commands.doors import with_hub
from portal.commands.tables import console_of, local_now
from portal.commands.top_keys import Keys
from portal.commands.top_table import Detail
from portal.format import ago, count
from portal.topview import Sort, fleet
from scheduler.core.model import Tier
from scheduler.wire.telemetry import NodeTelemetry, TelemetryPage

_MOST_NODES = 2000
_BROKEN_AT = 500
_SCROLL = 5
_GLANCE_SECONDS = 0.25
_LEAVE = frozenset("q\x03\x04")
_KEYS = "q quit · s sort · d detail · b busy only · j/k scroll · space pause"
app = typer.Typer(no_args_is_help=True)


@app.callback()
def _only_one() -> None:
    """Keep `top` a named command, as its table of commands looks it up."""


@dataclass(frozen=True, slots=True)
class Look:
    """How somebody wants to see the fleet."""

    sort: Sort = Sort.NAME
    detail: Detail = Detail.USED
    busy: bool = False
    first: int = 0
    paused: bool = False


@dataclass(slots=True)
class Known:
    """The last picture that the hub gave, and why there is no newer one."""

    page: TelemetryPage | None = None
    at: datetime | None = None
    away: str = ""
    asked: Mapping[str, str | None] = field(default_factory=dict)


@app.command()
@with_hub
def top(  # noqa: PLR0913, PLR0917  # the options are the command's surface
    hub: Hub,
    tier: Annotated[Tier | None, typer.Option(help="Only this tier.")] = None,
    site: Annotated[str | None, typer.Option(help="Only this site.")] = None,
    pool: Annotated[str | None, typer.Option(help="Only this pool.")] = None,
    account: Annotated[
        str | None, typer.Option(help="Only nodes where it, or one below it, has GPUs.")
    ] = None,
    sort: Annotated[Sort, typer.Option(help="What orders a pool's nodes.")] = Sort.NAME,
    detail: Annotated[Detail, typer.Option(help="How far down to draw.")] = Detail.USED,
    busy: Annotated[
        bool, typer.Option("--busy", help="Leave out nodes that are free and well.")
    ] = False,
    interval: Annotated[
        float, typer.Option(min=0.5, max=3600, help="Seconds between looks.")
    ] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Print once, and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON once, for programs.")] = False,
) -> None:
    """Watch GPUs: who uses them, how busy, how hot, how well, and what idles.

    SM is the part of the time in which an SM had work, not nvidia-smi's utilisation. Yellow is
    leased and idle, red is not well. Values are as old as the nodes' last report.
    """
    asked = {"tier": tier, "site": site, "pool": pool, "account": account}
    look = Look(sort, detail, busy)
    console = console_of()
    if as_json:
        typer.echo(read(hub, asked).model_dump_json(indent=2))
    elif once or not console.is_terminal or not sys.stdin.isatty():
        known = Known(read(hub, asked), local_now())
        console.print(drawn(known, look, local_now(), console.width, None))
    else:
        _live(hub, Known(asked=asked), look, interval, console)


def read(hub: Hub, asked: Mapping[str, str | None]) -> TelemetryPage:
    """Return what was asked for, its pages as one; `next` is set where there is more.

    Raises:
        HubUnreachable: the hub is away.
        HubProblem: it refused.
    """
    nodes: list[NodeTelemetry] = []
    page = hub.telemetry(asked)
    while True:
        nodes += page.nodes
        if page.next is None or len(nodes) >= _MOST_NODES:
            return page.model_copy(update={"nodes": tuple(nodes)})
        page = hub.telemetry(asked, page.next)


def refresh(known: Known, ask: Callable[[], TelemetryPage], now: datetime) -> None:
    """Ask once more; where no answer comes, keep the last one and say why.

    Raises:
        HubProblem: the hub refused, and would again.
    """
    try:
        known.page, known.at, known.away = ask(), now, ""
    except HubUnreachable as away:
        known.away = str(away)
    except HubProblem as problem:
        if problem.status < _BROKEN_AT:
            raise
        known.away = problem.sentence()


def drawn(known: Known, look: Look, now: datetime, width: int, height: int | None) -> Group:
    """Return the picture for a terminal; `height` None: all of it, and no keys."""
    said = [] if not known.away else [_said_away(known, now)]
    if known.page is None or known.at is None:
        return Group(*(said or [Text("asking the hub …")]))
    arranged = fleet(known.page.nodes, known.page.at, look.sort, busy=look.busy)
    lines = picture.lines(arranged, look.detail)
    room = len(lines) if height is None else max(1, height - len(said) - 4)
    first = min(look.first, max(0, len(lines) - room))
    parts = [*said, picture.heading(arranged)]
    if lines:
        parts.append(picture.table(lines[first : first + room], width))  # type: ignore[arg-type]  # rich's parts
    else:
        parts.append(Text("No node that fits what was asked for.", style="yellow"))
    if known.page.next is not None:
        more = f"The first {count(len(known.page.nodes), 'node')}: narrow it by --pool or --site."
        parts.append(Text(more, style="yellow"))
    if height is not None:
        hidden = len(lines) - first - room
        parts.append(_footer(look, max(0, hidden)))
    return Group(*parts)


def _said_away(known: Known, now: datetime) -> Text:
    old = "" if known.at is None else f" This is what it said {ago(known.at, now)}."
    return Text(f"{known.away}{old}", style="bold red")


def _footer(look: Look, hidden: int) -> Text:
    parts = [f"sorted by {look.sort}", f"detail: {look.detail}"]
    parts += ["busy only"] if look.busy else []
    parts += ["PAUSED"] if look.paused else []
    parts += [f"{hidden} lines below"] if hidden else []
    return Text(f"{' · '.join(parts)} | {_KEYS}", style="dim", no_wrap=True, overflow="ellipsis")


def pressed(look: Look, key: str) -> Look:
    """Return the look after a key; one that means nothing changes nothing."""
    change = _CHANGES.get(key)
    return look if change is None else change(look)


def _next_sort(look: Look) -> Look:
    every = tuple(Sort)
    return replace(look, sort=every[(every.index(look.sort) + 1) % len(every)])


def _next_detail(look: Look) -> Look:
    every = tuple(Detail)
    return replace(look, detail=every[(every.index(look.detail) + 1) % len(every)])


_CHANGES: Mapping[str, Callable[[Look], Look]] = {
    "s": _next_sort,
    "d": _next_detail,
    "b": lambda look: replace(look, busy=not look.busy, first=0),
    "j": lambda look: replace(look, first=look.first + _SCROLL),
    "k": lambda look: replace(look, first=max(0, look.first - _SCROLL)),
    " ": lambda look: replace(look, paused=not look.paused),
}


class Asking:
    """One question to the hub at a time, in a thread: keys are heard while a hub is slow."""

    def __init__(self, known: Known, ask: Callable[[], TelemetryPage]) -> None:
        """Let the answers come into `known`."""
        self._known, self._ask = known, ask
        self._thread: threading.Thread | None = None
        self._refusal: HubProblem | None = None

    def begin(self) -> None:
        """Ask, unless an answer is still awaited."""
        if not self.is_on:
            self._thread = threading.Thread(target=self._run, name="asking", daemon=True)
            self._thread.start()

    @property
    def is_on(self) -> bool:
        """Whether an answer is awaited.

        Raises:
            HubProblem: the hub refused, and would again.
        """
        if self._refusal is not None:
            raise self._refusal
        return self._thread is not None and self._thread.is_alive()

    def _run(self) -> None:
        try:
            refresh(self._known, self._ask, local_now())
        except HubProblem as refusal:
            self._refusal = refusal


def _live(hub: Hub, known: Known, look: Look, interval: float, console: Console) -> None:
    asking, due = Asking(known, lambda: read(hub, known.asked)), local_now()
    with (
        contextlib.suppress(KeyboardInterrupt),
        Keys(sys.stdin) as keys,
        Live(console=console, screen=True, auto_refresh=False) as live,
    ):
        while True:
            if not asking.is_on and local_now() >= due and not look.paused:
                asking.begin()
                due = local_now() + timedelta(seconds=interval)
            size = console.size
            live.update(drawn(known, look, local_now(), size.width, size.height), refresh=True)
            for key in keys.within(_GLANCE_SECONDS):
                if key in _LEAVE:
                    return
                look = pressed(look, key)
