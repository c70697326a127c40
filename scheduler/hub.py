"""A hub's process: database, files, loops and API, put together; started and stopped.

The database is migrated before the port opens, so whoever reaches the hub finds it
ready. On SIGTERM the loops end first, then every open request and socket; a log's tail
is dropped without a closing frame, which Ray's client takes for "go and ask again" and
not for "the job has ended" (notes/ray.md §1.3).
"""

import asyncio
import errno
import fcntl
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import structlog
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from scheduler import compiled, logs
from scheduler.api.app import create_app
from scheduler.api.deps import HubState
from scheduler.api.ray_jobs_socket import DroppingWebSocket
from scheduler.clock import Clock, SystemClock
from scheduler.config import HubSettings
from scheduler.core.eta import Eta, Settled
from scheduler.core.model import JobId
from scheduler.core.predict import Predictor
from scheduler.core.whatif import PastJob
from scheduler.db import etas
from scheduler.db.engine import Database
from scheduler.db.past import past_jobs
from scheduler.db.policies import PolicyCache
from scheduler.errors import StorageUnavailable
from scheduler.files import FileStore
from scheduler.fleet.launches import Launches
from scheduler.fleet.memory import Fleet
from scheduler.garbage import look_seldom
from scheduler.identity.desk import build_desk
from scheduler.loops.cycle import CycleLoop
from scheduler.loops.fleet import FleetLoop
from scheduler.loops.forecast import ForecastLoop, Past
from scheduler.loops.idle import IdleLoop
from scheduler.loops.notices import NoticeLoop
from scheduler.loops.supervise import Loop, Supervisor, alone, elected
from scheduler.loops.watch import WatchLoop
from scheduler.notify import Sender, Smtp, Webhook
from scheduler.replay.recorder import Recorder
from scheduler.sim.past import play
from scheduler.wake import Wake

log = structlog.get_logger("hub")

_REQUESTS_SECONDS = 2
# Looked through at each forecast: of the latest jobs, those that ended since the last.
_LEARN_FROM_JOBS = 1_000


@dataclass(frozen=True)
class Hub:
    """A hub that is put together and not yet started; `app` starts its loops with itself."""

    state: HubState
    app: FastAPI
    supervisor: Supervisor


def build_hub(settings: HubSettings, clock: Clock) -> Hub:
    """Put a hub together. Nothing is opened but the folders for packages and logs."""
    db = Database(settings.sqlalchemy_url)
    wake = Wake()
    recorder = None if settings.record is None else Recorder(settings.record)
    cycle = CycleLoop(db, wake, clock, settings.cycle_seconds, recorder)
    forecasts = ForecastLoop(cycle, clock, _past_of(db), _StoredEtas(db))
    notices = NoticeLoop(db, clock, _senders(settings), settings.portal_url)
    loops = (cycle, WatchLoop(db, wake, clock, settings), forecasts, notices)
    leadership = alone if db.dialect == "sqlite" else elected(db)
    supervisor = Supervisor(leadership, loops, wake)
    # Reports come to every process, so what follows from them is not for the leader alone.
    fleet = Fleet(settings.node_stale_seconds)
    hearing = Supervisor(alone, _hearers(db, fleet, wake, clock, settings), wake, leads=False)
    state = HubState(
        db=db,
        files=FileStore(settings.data, settings.max_log_bytes),
        wake=wake,
        clock=clock,
        settings=settings,
        policies=PolicyCache(),
        loops_fault=supervisor.fault,
        forecasts=forecasts.starts,
        etas=forecasts.etas,
        looked_at=cycle.looked_at,
        run_times=forecasts.predictor,
        predictor=partial(_foreseen, forecasts.predictor),
        score=forecasts.score,
        play=play,
        fleet=fleet,
        launches=Launches(settings.launch_lease_seconds),
        desk=build_desk(settings, clock),
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        del app
        await db.migrate()
        supervisor.start()
        hearing.start()
        try:
            yield
        finally:
            await hearing.stop()
            await supervisor.stop()
            await db.close()

    return Hub(state, create_app(state, lifespan), supervisor)


def _senders(settings: HubSettings) -> list[Sender]:
    """Return the ways to tell people that the settings name."""
    ways: list[Sender] = []
    if settings.smtp_host:
        ways.append(
            Smtp(
                host=settings.smtp_host,
                port=settings.smtp_port,
                sender=settings.smtp_from,
                security=settings.smtp_security,
                user=settings.smtp_user,
                password=settings.smtp_password,
            )
        )
    if settings.webhook_url:
        ways.append(Webhook(settings.webhook_url, settings.webhook_secret))
    return ways


def _hearers(
    db: Database, fleet: Fleet, wake: Wake, clock: Clock, settings: HubSettings
) -> Sequence[Loop]:
    """Return the loops that look after what nodes tell this process."""
    watching = FleetLoop(db, fleet, wake, clock, settings)
    return watching, watching.rollups, IdleLoop(db, fleet, wake, clock)


def _foreseen(
    predictor: Predictor, user: str, account: str, gpus: int, name: str
) -> timedelta | None:
    """Return the mean run time of such jobs, by which queues may be ordered (R2)."""
    estimate = predictor.predict(user, account, gpus, name)
    return None if estimate is None else timedelta(seconds=estimate.mean)


_KEEP_ETAS = timedelta(days=90)


class _StoredEtas:
    """Keeps what jobs were first told; the plan that starts a job settles it."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def record(self, told: Mapping[JobId, Eta], made_at: datetime) -> None:
        """Keep whole intervals: of an open one nothing can be said later."""
        rows = [
            etas.Eta(job, made_at, eta.low, eta.likely, eta.high)
            for job, eta in told.items()
            if eta.likely is not None and eta.high is not None
        ]
        async with self._db.transaction() as conn:
            await etas.record(conn, rows)
            await etas.prune(conn, made_at - _KEEP_ETAS)

    async def settle(self, settled: Sequence[Settled]) -> None:
        """Do nothing: each lease has settled its own."""


def _past_of(db: Database) -> Past:
    async def past(since: datetime) -> Sequence[PastJob]:
        async with db.reading() as conn:
            return await past_jobs(conn, since, _LEARN_FROM_JOBS)

    return past


def serve(settings: HubSettings) -> None:
    """Run a hub until SIGTERM or Ctrl-C.

    Raises:
        SystemExit: with a sentence, where it cannot start: the port is in use, another
            hub has the data folder, the database cannot be reached.
    """
    logs.configure(settings.log_format)
    look_seldom()
    try:
        settings.data.mkdir(parents=True, exist_ok=True)
        with _data_folder(settings), closing(_listen(settings.host, settings.port)) as listener:
            hub = build_hub(settings, SystemClock())
            web = _Server(hub)
            with asyncio.Runner(loop_factory=web.config.get_loop_factory()) as runner:
                runner.run(web.run_until_told(listener))
    except (StorageUnavailable, OSError) as error:
        raise SystemExit(f"the hub cannot start: {error}") from error


@contextmanager
def _data_folder(settings: HubSettings) -> Iterator[None]:
    """Hold SQLite's folder against a second hub; the kernel lets go however this one ends.

    On PostgreSQL several hubs share one database, and one folder of packages and logs.
    """
    if settings.database_url:
        yield
        return
    file = settings.data / "hub.lock"
    lock = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(lock, "r+") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SystemExit(
                f"another hub (pid {held.read().strip() or 'unknown'}) works in {settings.data}: "
                "stop it first, or give this one a folder of its own with --data"
            ) from error
        held.truncate(0)
        held.write(str(os.getpid()))
        held.flush()
        yield


def _listen(host: str, port: int) -> socket.socket:
    """Open the port before anything else starts, so that a taken one is told at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise SystemExit(
                f"port {port} of {host} is in use: choose another with --port"
            ) from error
        raise SystemExit(f"cannot listen on {host} port {port}: {error.strerror}") from error
    return listener


class _Server(uvicorn.Server):
    """uvicorn, stopped in our order: loops, tails, long polls, and then what is left."""

    def __init__(self, hub: Hub) -> None:
        super().__init__(
            uvicorn.Config(
                hub.app,
                http="httptools",
                ws=DroppingWebSocket,
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=30,
                timeout_graceful_shutdown=_REQUESTS_SECONDS,
            )
        )
        self._hub = hub

    async def run_until_told(self, listener: socket.socket) -> None:
        """Serve until a signal.

        Raises:
            StorageUnavailable: the database cannot be written to.
        """
        state = self._hub.state
        async with state.db.transaction():
            pass  # Told as a sentence here; during start-up it would be a traceback.
        host, port = listener.getsockname()[:2]
        log.info(
            "hub_starts",
            url=f"http://{host}:{port}",
            database=state.db.dialect,
            planner=compiled.planner(),
        )
        if compiled.is_outdated():
            log.warning(
                "compiled_planner_is_of_other_sources", instead="python", do="make compiled"
            )
        await self.serve(sockets=[listener])
        if not self.started:
            raise SystemExit("the hub did not start: see the lines above")
        log.info("hub_stopped")

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on SIGTERM and SIGINT, and end like any program: uvicorn raises them again."""
        loop = asyncio.get_running_loop()
        told = (signal.SIGTERM, signal.SIGINT)
        for each in told:
            loop.add_signal_handler(each, self.handle_exit, each, None)
        try:
            yield
        finally:
            for each in told:
                loop.remove_signal_handler(each)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End in order, within about five seconds."""
        await self._hub.supervisor.stop()
        self._hub.state.wake.stopping.set()
        for connection in list(self.server_state.connections):
            if isinstance(connection, WebSocketsSansIOProtocol):
                connection.transport.abort()
        await super().shutdown(sockets)
