"""`commonpool site-agent`: serve one site, or put an end to all that it runs.

Stopping the agent (SIGTERM, Ctrl-C) leaves its runs going; the next one adopts them.
"""

import asyncio
import contextlib
import re
import signal
import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from pydantic import ValidationError

from agents import logs
from agents.complaints import said
from agents.config import SiteSettings, TokenUnreadable
from agents.hub import HttpHub
from agents.site import processes
from agents.site.agent import SiteAgent
from agents.site.backends.base import Backend
from agents.site.backends.ray_nodes import RayOnNodes
from agents.site.backends.ray_private import RayPrivate
from agents.site.backends.ray_shared import RayShared, confirmation
from agents.site.backends.simulated import Simulated
from agents.site.environment import Signals
from agents.site.launched import Launched
from agents.site.launcher import Launcher, LaunchSettings
from agents.site.packages import PackageCache
from agents.site.ports import PortRegistry
from agents.site.ray_jobs import RayHead, http_client
from agents.site.records import DataFolderInUse, RecordStore
from scheduler.clock import Clock, SystemClock
from scheduler.core.model import Backend as BackendName

app = typer.Typer(
    help="Serve one site: carry out its leases on Ray, and tell the hub what is.",
    invoke_without_command=True,
    no_args_is_help=True,
    add_completion=False,
)

_REFUSED = 2
_KILL_SECONDS = 20


@app.callback()
def serve(  # noqa: PLR0913, PLR0917  # one parameter per option is how Typer asks for them
    context: typer.Context,
    hub: Annotated[str, typer.Option(help="URL of the hub")] = "",
    site: Annotated[str, typer.Option(help="This site's name in the policy")] = "",
    token_file: Annotated[Path | None, typer.Option(help="File with the site token")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of this site's state")] = None,
    shared_ray: Annotated[
        str | None, typer.Option(help="Jobs address of the site's shared Ray head")
    ] = None,
    shared_ray_token_file: Annotated[
        Path | None, typer.Option(help="File with that head's token, where it asks for one")
    ] = None,
    launcher: Annotated[
        str, typer.Option(help="Who starts the Ray nodes of a run: site (this agent), or node")
    ] = "",
    log_format: Annotated[str, typer.Option(help="console or json")] = "console",
) -> None:
    """Serve a site until SIGTERM or Ctrl-C; its runs go on without the agent."""
    if context.invoked_subcommand is not None:
        return
    given = {
        "hub": hub,
        "site": site,
        "token_file": token_file,
        "data": data,
        "shared_ray": shared_ray,
        "shared_ray_token_file": shared_ray_token_file,
        "launcher": launcher,
        "log_format": log_format,
    }
    try:
        settings = SiteSettings(**{k: v for k, v in given.items() if v})  # type: ignore[arg-type]  # pydantic checks them
        settings.token()
        settings.shared_token()
    except (ValidationError, TokenUnreadable) as error:
        _refuse(said(error))
    run(settings)


@app.command()
def stop_all(
    data: Annotated[Path, typer.Option(help="Folder of the site agent's state")],
    scratch: Annotated[Path, typer.Option(help="Short folder for Ray's sockets")] = Path("/tmp"),  # noqa: S108  # see SiteSettings.scratch
) -> None:
    """End every process of every run on record. The agent must not be running.

    Records stay: the next agent tells the hub that these runs are lost, and why.
    """
    left = asyncio.run(_stop_all(_opened(data), scratch, SystemClock()))
    if left:
        _refuse(f"processes are left of {', '.join(left)}")


@app.command()
def confirm_fenced(
    run_id: Annotated[str, typer.Argument(help="The run, e.g. cp-j2abc-1")],
    data: Annotated[Path, typer.Option(help="Folder of the site agent's state")],
) -> None:
    """Vouch that nothing of a lost run is left on any machine of a shared cluster.

    Only for a cluster on other machines than the agent's, whose head forgot its runs:
    the agent cannot look there, and starts the job again only once it is sure.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,120}", run_id):
        _refuse(f"{run_id!r} is not the id of a run, such as cp-j2abc-1")
    confirmation(Signals(data).file(run_id)).touch()


def run(settings: SiteSettings) -> None:
    """Serve a site in this process until it is told to stop."""
    logs.configure(settings.log_format)
    store = _opened(settings.data)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(settings, store, SystemClock()))


async def _serve(settings: SiteSettings, store: RecordStore, clock: Clock) -> None:
    hub = HttpHub(settings.hub, settings.token_file)
    async with http_client() as ray:
        packages = PackageCache(settings.data, hub, settings.site)
        signals = Signals(settings.data)
        old = clock.now() - timedelta(days=settings.keep_days)
        signals.prune({record.lease.job for record in store.records.values()}, old)
        packages.prune(old)
        head = settings.shared_ray and RayHead(ray, settings.shared_ray, settings.shared_token())
        launch = LaunchSettings(settings.scratch, settings.object_store_bytes)
        launched = Launched() if settings.launcher == "node" else None
        backends: dict[BackendName, Backend] = {
            BackendName.RAY_SHARED: RayShared(
                head or None, packages, signals, clock, settings.stop_wait
            ),
            BackendName.RAY_PRIVATE: RayPrivate(
                Launcher(launch, PortRegistry(), clock),
                ray,
                packages,
                signals,
                clock,
                launches=settings.launches,
                stop_wait=settings.stop_wait,
            )
            if launched is None
            else RayOnNodes(launched, ray, packages, signals, clock, stop_wait=settings.stop_wait),
            BackendName.SIMULATED: Simulated(clock),
        }
        agent = SiteAgent(settings, hub, store, backends, clock, launched)
        await _until_told(agent)
        await hub.close()
    store.close()


async def _until_told(agent: SiteAgent) -> None:
    serving = asyncio.create_task(agent.run())
    for what in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(what, serving.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await serving


async def _stop_all(store: RecordStore, scratch: Path, clock: Clock) -> list[str]:
    launcher = Launcher(LaunchSettings(scratch, 0), PortRegistry(), clock)
    left = []
    for run_id, record in store.records.items():
        typer.echo(f"ending {run_id}")
        if not await launcher.end(record):
            left.append(run_id)
    left += [
        run_id
        for run_id in store.damaged
        if not await processes.end_all(run_id, None, clock, _KILL_SECONDS)
    ]
    store.close()
    return left


def _opened(data: Path) -> RecordStore:
    try:
        return RecordStore(data)
    except DataFolderInUse as error:
        _refuse(str(error))
    except OSError as error:
        _refuse(f"--data {data}: {error}")


def _refuse(why: str) -> NoReturn:
    typer.echo(f"commonpool site-agent: {why}", err=True)
    raise typer.Exit(_REFUSED)


if __name__ == "__main__":
    sys.exit(app())
