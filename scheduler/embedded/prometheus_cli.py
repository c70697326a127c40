"""`commonpool prometheus`: start it, and say what to ask it."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from portal.commands.tables import console_of
from scheduler.embedded.instance import plan_of
from scheduler.embedded.layout import DEFAULT_DATA, Layout
from scheduler.embedded.narrator import Narrator
from scheduler.embedded.prometheus import Watched, start_prometheus

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep `prometheus` a command of a group, as its siblings are."""


@app.command()
def prometheus(
    data: Annotated[
        Path, typer.Option("--data", envvar="COMMONPOOL_DATA", help="Folder of the instance.")
    ] = DEFAULT_DATA,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="0 takes any free one; default: 9090 if so")
    ] = None,
    alertmanager: Annotated[
        str, typer.Option(help="HOST:PORT of an Alertmanager; default: none, alerts are shown only")
    ] = "",
) -> None:
    """Start a real Prometheus with the shipped rules beside `up`; `down` ends it too."""
    console = console_of()
    layout = Layout.of(data)
    _tell(console, layout, start_prometheus(layout, port, alertmanager, Narrator(console)))


def _tell(console: Console, layout: Layout, watched: Watched) -> None:
    first = "Prometheus runs" if watched.fresh else "Already there"
    where = "" if layout.data == Layout.of(DEFAULT_DATA).data else f" --data {layout.data}"
    node = _some_node(layout)
    console.print(f"{first}: {watched.url}, with series of {watched.gpus} GPUs", soft_wrap=True)
    console.print("\nThree things to try:", style="bold")
    for line in (
        f"promtool query instant {watched.url} 'DCGM_FI_DEV_GPU_UTIL{{node=\"{node}\"}}'",
        f"commonpool node inject {node} --xid 79{where}",
        f"promtool query instant {watched.url} 'ALERTS{{alertname=\"GpuFatalXid\"}}'",
    ):
        console.print(f"  {escape(line)}", highlight=False, soft_wrap=True)


def _some_node(layout: Layout) -> str:
    """Return the last simulated node that was started: more than one is in its pool, if in any."""
    argvs = [spec.argv for spec in plan_of(layout) if "--node" in spec.argv]
    return argvs[-1][argvs[-1].index("--node") + 1] if argvs else "NODE"
