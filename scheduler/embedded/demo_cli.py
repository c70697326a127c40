"""`commonpool demo`: the story on a terminal, or as plain lines where there is none."""

import secrets
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from portal.client.hub import Hub, http_client
from portal.commands.tables import console_of, paid, state_text
from portal.format import gang, span
from scheduler.clock import Clock, SystemClock
from scheduler.core.lifecycle import JobState
from scheduler.embedded.demo import Stage, play
from scheduler.embedded.demo_story import EXPECTED, STORY, Cast, Part, Seen
from scheduler.embedded.instance import Presence, look
from scheduler.embedded.layout import DEFAULT_DATA, Layout
from scheduler.embedded.trouble import Trouble
from scheduler.wire.jobs import JobEvent

app = typer.Typer(no_args_is_help=True)
_COLOURS = {"dana": "green", "alex": "cyan", "iris": "magenta"}
_WORTH_TELLING = frozenset(
    {"leased", "running", "recalled", "preempted", "requeued", "lost", "failed", "succeeded"}
)


@app.callback()
def _group() -> None:
    """Keep `demo` a command of a group, as its siblings are."""


@app.command()
def demo(
    data: Annotated[
        Path, typer.Option("--data", envvar="COMMONPOOL_DATA", help="Folder of the instance.")
    ] = DEFAULT_DATA,
    seconds: Annotated[int, typer.Option(min=60, help="Give up after this long.")] = 600,
) -> None:
    """Run a dozen small real Ray programs of three sectors, and tell what happens.

    Takes about five minutes on two cores. Exit code 0 only if all that should be seen was.
    """
    console = console_of()
    # Told to stop, it cancels what it submitted, as on Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    stage = _stage(Layout.of(data))
    begun = stage.clock.monotonic()
    console.print(_cast_list(), highlight=False)
    cast: dict[str, Seen] = {}
    try:
        with _telling(console, stage.clock) as teller:
            play(stage, STORY, cast, seconds, teller)
    finally:
        if cast:
            console.print()
            console.print(_summary(cast))
    missed = _verdict(console, cast)
    took = span(timedelta(seconds=stage.clock.monotonic() - begun))
    console.print(
        f"\n{len(cast)} jobs in {took}; the portal and `commonpool jobs` still show them."
    )
    raise typer.Exit(1 if missed else 0)


def _stage(layout: Layout) -> Stage:
    """Return the stage, once it is known to be there and free.

    Raises:
        Trouble: the instance is not up, has another policy, or its GPUs are in use.
    """
    if look(layout).presence is Presence.ABSENT:
        raise Trouble(f"nothing runs in {layout.data}", "commonpool up, then commonpool demo")
    url = layout.hub_url.read_text().split()[0]
    tokens = {person: layout.token(person) for person in _COLOURS}
    with http_client() as client:
        pools = Hub(url, tokens["dana"], client).pools().pools
    names = {"arl-team", "state-u-hpc", "national-hub"}
    if {pool.pool for pool in pools} != names:
        raise Trouble("the demo's story needs the demo's policy", "use a data folder of its own")
    busy = [pool.pool for pool in pools if pool.in_quota + pool.borrowed + pool.background]
    if busy:
        what = f"other jobs hold GPUs in {', '.join(busy)}, which would change the story"
        raise Trouble(what, "wait until they have ended, or cancel them: commonpool jobs --as NAME")
    return Stage(url, tokens, secrets.token_hex(3), SystemClock())


def _cast_list() -> Text:
    return Text.assemble(
        ("Three sectors share one pool. ", "bold"),
        ("dana", _COLOURS["dana"]),
        " is of a DoD team (8 GPUs of its own), ",
        ("alex", _COLOURS["alex"]),
        " of a university (16), ",
        ("iris", _COLOURS["iris"]),
        " of a company; a national hub has 32.\n"
        "The GPUs are simulated; the Ray clusters and the programs on them are real.",
    )


class _Lines:
    """Tells the story line by line, each with the seconds since its beginning."""

    def __init__(self, console: Console, clock: Clock, live: Live | None) -> None:
        self._console, self._clock, self._live = console, clock, live
        self._begun = clock.monotonic()

    def scene(self, words: str) -> None:
        self._console.print(f"\n[bold]{escape(words)}[/bold]", highlight=False)

    def submitted(self, part: Part) -> None:
        self._say(part, f"submits by {part.door.value}: {part.shows}")

    def refused(self, part: Part, words: str) -> None:
        self._say(part, f"refused: {words}", "yellow")

    def event(self, part: Part, event: JobEvent) -> None:
        if event.event in _WORTH_TELLING:
            colour = "red" if event.event in {"failed", "lost"} else "default"
            says_it = event.sentence.startswith(event.event)
            words = event.sentence if says_it else f"{event.event}: {event.sentence}"
            self._say(part, words, colour)

    def line(self, part: Part, text: str) -> None:
        self._say(part, text, "dim")

    def look(self, cast: Cast) -> None:
        if self._live is not None:
            self._live.update(_summary(cast), refresh=True)

    def _say(self, part: Part, words: str, style: str = "default") -> None:
        at = self._clock.monotonic() - self._begun
        who = Text(f"{part.person}/{part.key}", style=_COLOURS[part.person])
        line = Text.assemble((f"{at:6.1f} s ", "dim"), who, " ", (words, style))
        self._console.print(line, soft_wrap=self._live is None, highlight=False)


@contextmanager
def _telling(console: Console, clock: Clock) -> Iterator[_Lines]:
    """Tell in lines; on a terminal, above a table of all jobs that is always up to date."""
    if not console.is_terminal:
        yield _Lines(console, clock, None)
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield _Lines(console, clock, live)


def _summary(cast: Cast) -> Table:
    columns = ("job", "asks for", "state", "ran in", "on which terms", "waited", "attempts")
    table = Table(*columns, title="Every job", title_justify="left", box=None)
    for seen in cast.values():
        table.add_row(*_row(seen))
    return table


def _row(seen: Seen) -> tuple[str | Text, ...]:
    part = seen.part
    name = Text(f"{part.person}/{part.key}", style=_COLOURS[part.person])
    asks = gang(int(part.asks.get("nodes", "1")), int(part.asks["gpus_per_node"]))
    if seen.job is None:
        return name, asks, Text("refused", "yellow"), "", "", "", ""
    first, latest = next(iter(seen.runs), None), next(reversed(seen.runs), None)
    begun = (first.started_at or first.ended_at) if first else None
    waited = span(begun - seen.job.submitted_at) if begun else ""
    where = f"{latest.pool} ({', '.join(latest.nodes)})" if latest else ""
    terms = " → ".join(dict.fromkeys(paid(run) for run in seen.runs))
    return name, asks, state_text(seen.job.state), where, terms, waited, str(len(seen.runs))


def _verdict(console: Console, cast: Cast) -> int:
    """Print what was expected, each seen or not; return how many were not."""
    missed = 0
    console.print("\nSeen in the hub's own records:", style="bold")
    for words, claim in EXPECTED:
        held = claim(cast)
        missed += not held
        console.print(f"  {'[green]✓[/green]' if held else '[red]✗[/red]'} {escape(words)}")
    for seen in cast.values():
        if seen.has_state(JobState.FAILED) and seen.job is not None:
            console.print(f"\n[red]{seen.part.key} failed:[/red] {escape(seen.job.reason)}")
            console.print(escape(seen.log[-1500:]), highlight=False)
    return missed
