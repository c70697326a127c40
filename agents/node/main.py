"""`commonpool node-agent`: report this machine's GPUs to the hub, or nodes that are simulated.

Simulated nodes, any number of them, are reported by this process. Real GPUs are watched by
a small one that takes its place: `daemon.py`.
"""

import asyncio
import contextlib
import ctypes
import importlib.util
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from secrets import token_hex
from typing import Annotated, NoReturn, Protocol

import structlog
import typer
from pydantic import ValidationError

from agents import logs
from agents.complaints import said
from agents.config import GatewaySettings, NodeSettings, TokenUnreadable
from agents.hub import Backoff, HttpHub, HubAway, HubRefused
from agents.node import handover, launch_ray, report
from agents.node.gateway import gather_until_told
from agents.node.samples import Gpu, NodeView
from agents.node.simulated import SimulatedNode, parse
from agents.node.simulation import Simulation
from scheduler.clock import Clock, SystemClock
from scheduler.wire.nodes import NodeReportReply
from scheduler.wire.reports import NodeReport, SamplerState, checked

log = structlog.get_logger(__name__)

_REFUSED = 2
_BATCH = 1000
_SHORTEST_SECONDS, _GLANCE_SECONDS = 0.05, 1.0
_LIBRARY = "libnvidia-ml.so.1"
_NEEDED = ("pynvml", "prometheus_client", "urllib3")

app = typer.Typer(
    help="Report this machine's GPUs, or simulated ones, to the hub.", add_completion=False
)


Simulated = Annotated[
    str,
    typer.Option(
        help="What each node has, e.g. 8xH100; no such GPU need exist. Without it: real GPUs"
    ),
]
Names = Annotated[
    list[str] | None,
    typer.Option(help="A node's name; may be repeated if simulated. Default: this machine's"),
]
Model = Annotated[
    str, typer.Option(help="What the pool calls these GPUs; default: by their name, e.g. H100")
]
Data = Annotated[
    Path | None, typer.Option(help="Folder that keeps the inventory of GPUs over restarts")
]
Interval = Annotated[
    float | None, typer.Option(help="Seconds between looks at the GPUs (default 1)")
]
Port = Annotated[int | None, typer.Option(help="Port of /metrics, 0 for none (default 9400)")]
Address = Annotated[str, typer.Option(help="Where /metrics listens (default 0.0.0.0)")]
Label = Annotated[str, typer.Option(help="Hostname or hostname, as your dashboards have it")]
Metrics = Annotated[
    str, typer.Option(help="default: some 30 names per GPU; all: dcgm-exporter's others too")
]
Launch = Annotated[
    bool, typer.Option("--launch", help="Start and end the Ray nodes of runs leased here")
]
LaunchAddress = Annotated[
    str, typer.Option(help="This machine's address for other nodes; default: the way to the hub")
]
Gather = Annotated[
    str, typer.Option(help="HOST:PORT: gather the reports of a site's agents there instead")
]


@app.callback(invoke_without_command=True, no_args_is_help=True)
def serve(  # noqa: PLR0913, PLR0917  # one parameter per option is how Typer asks for them
    simulated: Simulated = "",
    hub: Annotated[str, typer.Option(help="URL of the hub, or of a gateway")] = "",
    pool: Annotated[str, typer.Option(help="The pool that the nodes belong to")] = "",
    node: Names = None,
    token_file: Annotated[Path | None, typer.Option(help="File with the node token")] = None,
    block: Annotated[str, typer.Option(help="The leaf switch or NVLink domain they share")] = "",
    model: Model = "",
    data: Data = None,
    interval: Interval = None,
    exporter_port: Port = None,
    exporter_address: Address = "",
    host_label: Label = "",
    metrics: Metrics = "",
    log_format: Annotated[str, typer.Option(help="console or json")] = "console",
    gateway: Gather = "",
    launch: Launch = False,
    launch_address: LaunchAddress = "",
) -> None:
    """Report nodes until SIGTERM or Ctrl-C, which also lets go of the driver."""
    if gateway:
        _gather({"hub": hub, "token_file": token_file, "gateway": gateway}, log_format)
        return
    given = {
        "simulated": simulated,
        "hub": hub,
        "pool": pool,
        "nodes": tuple(node or ()),
        "token_file": token_file,
        "block": block,
        "model": model,
        "data": data,
        "interval": interval,
        "exporter_port": exporter_port,
        "exporter_address": exporter_address,
        "host_label": host_label,
        "metrics": metrics,
        "log_format": log_format,
        "launch": launch or None,
        "launch_address": launch_address,
    }
    try:
        wanted = {k: v for k, v in given.items() if v not in {"", (), None}}
        settings = NodeSettings(**wanted)  # type: ignore[arg-type]  # pydantic checks them
        settings.token()
        begin = _made_up(settings) if settings.simulated else _of_this_machine(settings)
    except (ValidationError, ValueError, TokenUnreadable) as error:
        _refuse(said(error))
    begin()


def _gather(given: dict[str, object], log_format: str) -> None:
    try:
        settings = GatewaySettings(
            log_format=log_format,
            **{k: v for k, v in given.items() if v},  # type: ignore[arg-type]  # pydantic checks them
        )
        settings.token()
    except (ValidationError, ValueError, TokenUnreadable) as error:
        _refuse(said(error))
    logs.configure(settings.log_format)
    try:
        asyncio.run(gather_until_told(settings))
    except OSError as error:
        _refuse(f"cannot listen at {settings.gateway}: {error.strerror or error}")


def run(settings: NodeSettings) -> None:
    """Report nodes in this process until it is told to stop.

    Raises:
        ValueError: the settings describe nodes that no report can be made of.
    """
    _run(settings, simulated_nodes(settings, SystemClock()))


def _made_up(settings: NodeSettings) -> Callable[[], None]:
    nodes = simulated_nodes(settings, SystemClock())
    return lambda: _run(settings, nodes)


def _of_this_machine(settings: NodeSettings) -> Callable[[], None]:
    """Return what replaces this process by one that watches real GPUs.

    Raises:
        ValueError: that process would find no library to do it with.
    """
    if missing := [name for name in _NEEDED if importlib.util.find_spec(name) is None]:
        raise ValueError(f"{', '.join(missing)} is not installed: pip install 'commonpool[agent]'")
    try:
        ctypes.CDLL(_LIBRARY)
    except OSError as error:
        raise ValueError(
            f"no NVIDIA driver on this machine ({_LIBRARY} is not found): install the driver, or"
            " report GPUs that do not exist with --simulated 8xH100"
        ) from error
    told = report.Told(settings.nodes[0], settings.pool, settings.block, settings.model)
    view = NodeView(SamplerState.OK, gpus=(Gpu("GPU-0", 0, "H100"),))
    if made := report.report(
        told, report.Known(view), report.Process.begun(SystemClock().now()), 0
    ):
        checked(made)
    handed = _handed_over(settings)
    return lambda: handover.become(handed)


def _handed_over(settings: NodeSettings) -> handover.Settings:
    (node,) = settings.nodes
    return handover.Settings(
        node=node,
        pool=settings.pool,
        hub=settings.hub,
        token_file=str(settings.token_file.absolute()),
        block=settings.block,
        model=settings.model,
        data=str(settings.data.absolute()) if settings.data else "",
        interval=settings.interval,
        stuck_after=settings.stuck_after,
        exporter_address=settings.exporter_address,
        exporter_port=settings.exporter_port,
        host_label=settings.host_label,
        metrics=settings.metrics.value,
        log_format=settings.log_format,
        launch=settings.launch,
        launch_address=settings.launch_address,
        ray=_ray() if settings.launch else "",
        object_store_bytes=settings.object_store_bytes,
        scratch=str(settings.scratch.absolute()),
    )


def _ray() -> str:
    """Return Ray's command.

    Raises:
        ValueError: Ray is not installed here.
    """
    try:
        return launch_ray.ray_command()
    except launch_ray.CannotLaunch as error:
        raise ValueError(str(error)) from error


def _run(settings: NodeSettings, nodes: Sequence[SimulatedNode]) -> None:
    logs.configure(settings.log_format)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_until_told(settings, nodes))


def simulated_nodes(settings: NodeSettings, clock: Clock) -> tuple[SimulatedNode, ...]:
    """Return the nodes to speak for, each checked as a report of it will be.

    Raises:
        ValueError: a name, the pool or the specification is not possible.
    """
    if twice := sorted({n for n in settings.nodes if settings.nodes.count(n) > 1}):
        raise ValueError(f"--node {', '.join(twice)} is given more than once")
    boot, now = token_hex(8), clock.now()
    gpus = parse(settings.simulated)
    made = tuple(
        SimulatedNode(name, settings.pool, gpus, boot, settings.block, now, settings.exporter)
        for name in settings.nodes
    )
    for node in made:
        checked(node.report(0, now))
    return made


class Reports(Protocol):
    """Where reports go; the tests have one without a network."""

    async def report(self, reports: Sequence[NodeReport]) -> NodeReportReply:
        """Deliver node reports."""
        ...


async def report_forever(
    nodes: Sequence[SimulatedNode], hub: Reports, clock: Clock, world: Simulation | None = None
) -> None:
    """Report as often as the hub wants; keep trying while it is away."""
    world = world or Simulation(nodes, clock)
    backoff, sequence = Backoff(), 0
    while True:
        try:
            world.gather()
            for batch in _batches(nodes):
                now = clock.now()
                reports = tuple(node.report(sequence, now, world.known(node)) for node in batch)
                reply = await hub.report(reports)
                for note in reply.notes:
                    log.warning("hub_notes", note=note)
            world.told()
            sequence += 1
            backoff.reset()
            await _rest(world, max(_SHORTEST_SECONDS, reply.next_report_seconds))
        except HubAway as away:
            log.warning("hub_away", why=str(away))
            await backoff.pause()
        except (HubRefused, TokenUnreadable) as refused:
            log.error("report_refused", why=str(refused))  # noqa: TRY400  # its words say all
            await backoff.pause()


async def _rest(world: Simulation, seconds: float) -> None:
    """Wait for the next report, and look meanwhile; what was injected is told at once."""
    left = seconds
    while left > 0:
        await asyncio.sleep(min(_GLANCE_SECONDS, left))
        left -= _GLANCE_SECONDS
        news = world.has_news()
        if news or world.is_due():
            world.look()
        if news:
            return


def _batches(nodes: Sequence[SimulatedNode]) -> Iterator[Sequence[SimulatedNode]]:
    for start in range(0, len(nodes), _BATCH):
        yield nodes[start : start + _BATCH]


async def _until_told(settings: NodeSettings, nodes: Sequence[SimulatedNode]) -> None:
    hub, clock = HttpHub(settings.hub, settings.token_file), SystemClock()
    try:
        world = Simulation(nodes, clock, settings.data)
    except OSError as error:
        _refuse(f"--data {settings.data}: {error.strerror}")
    with contextlib.ExitStack() as stack:
        if settings.serves_metrics:
            stack.callback(_exported(settings, world))
        reporting = asyncio.create_task(report_forever(nodes, hub, clock, world))
        for what in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(what, reporting.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await reporting
        await hub.close()


def _exported(settings: NodeSettings, world: Simulation) -> Callable[[], None]:
    """Serve `/metrics` of simulated nodes; the library is loaded by those who asked for it."""
    served = importlib.import_module("agents.node.simulated_metrics")
    address, port = settings.exporter_address, settings.exporter_port
    shown = served.Shown(settings.host_label, settings.metrics)
    try:
        ended: Callable[[], None] = served.serve_simulated(
            world, settings.nodes, shown, address, port
        )
    except OSError as error:
        _refuse(
            f"/metrics on {address}:{port}: {error.strerror}; choose another --exporter-port,"
            " or 0 for none"
        )
    return ended


def _refuse(why: str) -> NoReturn:
    typer.echo(f"commonpool node-agent: {why}", err=True)
    raise typer.Exit(_REFUSED)


if __name__ == "__main__":
    sys.exit(app())
