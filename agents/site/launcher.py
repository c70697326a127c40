"""One Ray cluster per run on this machine: `ray start` per leased node, watched and fenced.

Every node has its own loopback address and ports, sees only the leased GPUs, and asks
for the run's own token. Source: notes/ray.md §2 (options and traps), §1.5 (tokens).
"""

import asyncio
import math
import os
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from secrets import token_hex

from agents.marks import MARK, NODE_LABEL, clean
from agents.site import processes
from agents.site.failures import BackendRejected, BackendUnavailable, RunGone
from agents.site.ports import NoPortsLeft, PortRegistry, loopback
from agents.site.records import Engine, Ledger, NodeProcess, Phase, RunRecord
from scheduler.clock import Clock
from scheduler.wire.sites import DesiredLease, LeasedNode

_HEAD_PORTS = ("port", "dashboard-port", "ray-client-server-port")
_NODE_PORTS = (
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "runtime-env-agent-port",
    "metrics-export-port",
    "node-manager-port",
    "object-manager-port",
)
_TERM_SECONDS = 1.5
_KILL_SECONDS = 15
_LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class LaunchSettings:
    """Where clusters keep their files, how large their object stores are, and Ray's command.

    `ray` empty: the one beside this Python, else the first on the path.
    """

    scratch: Path
    object_store_bytes: int
    ray: tuple[str, ...] = ()

    def command(self) -> tuple[str, ...]:
        """Return the words that `ray` is called by.

        Raises:
            BackendRejected: Ray is not installed here.
        """
        if self.ray:
            return self.ray
        beside = Path(sys.executable).parent / "ray"
        found = str(beside) if beside.exists() else shutil.which("ray")
        if found is None:
            raise BackendRejected(
                "Ray is not installed on this site's machine: pip install 'commonpool[site]'",
                "COMMONPOOL_SITE_MISCONFIGURED",
            )
        return (found,)


class Launcher:
    """Starts and ends the Ray processes of runs. What it starts outlives the agent."""

    def __init__(self, settings: LaunchSettings, ports: PortRegistry, clock: Clock) -> None:
        self._settings, self._ports, self._clock = settings, ports, clock
        self._children: set[asyncio.Task[int]] = set()

    def reserve(self, ledger: Ledger) -> None:
        """Choose ports, addresses, a folder and a token, and write them down: nothing started.

        Raises:
            BackendUnavailable: the machine has no ports left now.
            BackendRejected: Ray is not installed here.
        """
        lease = ledger.record.lease
        self._settings.command()
        ledger.write(phase=Phase.RESERVED)  # A claim stands as long as its record is on disk.
        count = len(_HEAD_PORTS) + len(_NODE_PORTS) * len(lease.nodes)
        try:
            claim = self._ports.claim(lease.run, ledger.file, count)
        except NoPortsLeft as error:
            raise BackendUnavailable(str(error)) from error
        # A short name: Unix socket paths, which Ray makes below it, end at 107 bytes.
        name = sha256(str(ledger.file).encode()).hexdigest()[:12]
        engine = Engine(
            address=f"http://{loopback(claim.index, 0)}:{claim.ports[1]}",
            secret=token_hex(32),
            folder=str(self._settings.scratch / f"cp-{name}"),
            index=claim.index,
            ports=claim.ports,
        )
        ledger.write(phase=Phase.LAUNCHING, engine=engine)

    async def launch_node(self, ledger: Ledger, number: int) -> None:
        """Start one node of a reserved cluster, the head first; write down its process.

        Raises:
            BackendUnavailable: the process cannot be started.
        """
        record = ledger.record
        engine = _engine(record)
        node = record.lease.nodes[number]
        folder = _private_folder(Path(engine.folder))
        ip = loopback(engine.index, number)
        try:
            with (folder / f"node-{number}.out").open("ab") as out:
                process = await asyncio.create_subprocess_exec(
                    *_command(record, number, self._settings),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    start_new_session=True,
                    env=_environment(record.run, node, engine),
                )
        except OSError as error:
            raise BackendUnavailable(f"ray start: {error}") from error
        self._reap(process)
        born = processes.created(process.pid) or 0
        entry = NodeProcess(node=node.node, ip=ip, pid=process.pid, created=born)
        ledger.write(engine=engine.model_copy(update={"processes": (*engine.processes, entry)}))

    def _reap(self, process: asyncio.subprocess.Process) -> None:
        task = asyncio.create_task(process.wait())
        self._children.add(task)
        task.add_done_callback(self._children.discard)

    def dead_node(self, record: RunRecord) -> str | None:
        """Return the node whose `ray start` has ended, with what it said last; None if all live."""
        engine = _engine(record)
        for number, entry in enumerate(engine.processes):
            if not processes.is_alive(entry.pid, entry.created):
                said = _last_words(Path(engine.folder) / f"node-{number}.out")
                return f"Ray on {entry.node} ended{said}"
        return None

    async def end(self, record: RunRecord) -> bool:
        """End every process of a run, orphans too; True once none is left. Frees its ports."""
        engine = record.engine
        sessions = {p.pid: p.created for p in engine.processes} if engine else {}
        for pid, born in sessions.items():
            if processes.is_alive(pid, born):
                processes.send(pid, signal.SIGTERM)
        await self._leave(sessions)
        if not await processes.end_all(record.run, sessions, self._clock, _KILL_SECONDS):
            return False
        self._ports.release(record.run)
        return True

    async def _leave(self, sessions: Mapping[int, int]) -> None:
        until = self._clock.monotonic() + _TERM_SECONDS
        while self._clock.monotonic() < until:
            if not any(processes.is_alive(*leader) for leader in sessions.items()):
                return
            await asyncio.sleep(_LOOK_SECONDS)

    async def remove(self, record: RunRecord) -> None:
        """Remove a fenced run's folder."""
        if record.engine and record.engine.folder:
            await asyncio.to_thread(shutil.rmtree, record.engine.folder, ignore_errors=True)


def driver_log(record: RunRecord) -> Path | None:
    """Return the file that Ray writes the driver's output to, once it is there."""
    if record.engine is None:
        return None
    logs = Path(record.engine.folder).glob(f"ray/session_[0-9]*/logs/job-driver-{record.run}.log")
    return next(iter(logs), None)


def _engine(record: RunRecord) -> Engine:
    if record.engine is None:
        raise RunGone(f"{record.run} has no cluster on record")
    return record.engine


def _command(record: RunRecord, number: int, settings: LaunchSettings) -> Sequence[str]:
    engine, lease = _engine(record), record.lease
    node = lease.nodes[number]
    ip = loopback(engine.index, number)
    first = len(_HEAD_PORTS) + number * len(_NODE_PORTS)
    ports = dict(zip(_NODE_PORTS, engine.ports[first:], strict=False))
    options: dict[str, object] = {
        "node-ip-address": ip,
        "num-cpus": _cpus(lease, node),
        "num-gpus": len(node.gpus),
        "object-store-memory": settings.object_store_bytes,
        "include-log-monitor": "false",
        "labels": f"{NODE_LABEL}={node.node}",
        "min-worker-port": 0,  # 0: any free one, which can clash with no other cluster's.
        "max-worker-port": 0,
        **ports,
    }
    if number == 0:
        options |= dict(zip(_HEAD_PORTS, engine.ports, strict=False))
        options |= {"dashboard-host": ip, "temp-dir": str(Path(engine.folder) / "ray")}
        # Asked for by name, as its Jobs API is: else Ray goes on where its dashboard cannot start.
        role = ["--head", "--no-monitor", "--include-dashboard=true"]
    else:  # Without a temp-dir of its own: else logs of jobs placed there are empty.
        role = ["--address", f"{loopback(engine.index, 0)}:{engine.ports[0]}"]
    flags = [f"--{name}={value}" for name, value in options.items()]
    return [*settings.command(), "start", *role, "--block", "--disable-usage-stats", *flags]


def _cpus(lease: DesiredLease, node: LeasedNode) -> int:
    """Return Ray's count of CPUs: a number for its bookkeeping, one per GPU and some to spare."""
    return max(len(node.gpus) + 2, math.ceil(lease.entrypoint_num_cpus or 0) + len(node.gpus))


def _environment(run: str, node: LeasedNode, engine: Engine) -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    devices = ",".join(str(gpu) for gpu in node.gpus)
    return {
        **clean(os.environ),
        "PATH": path,
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": devices,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token" if engine.secret else "disabled",
        **({"RAY_AUTH_TOKEN": engine.secret} if engine.secret else {}),
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        # Ray would start one idle worker per CPU for the first driver.
        "RAY_prestart_worker_first_driver": "0",
        MARK: run,  # Last: see agents.site.environment.injected.
    }


def _private_folder(folder: Path) -> Path:
    """Make a folder that is ours alone; in a shared scratch folder someone may be there first."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = folder.lstat().st_uid
    except OSError as error:
        raise BackendUnavailable(f"{folder}: {error}") from error
    if owner != os.getuid() or folder.is_symlink():
        raise BackendUnavailable(f"{folder} belongs to someone else: remove it")
    return folder


def _last_words(file: Path) -> str:
    try:
        lines = file.read_text(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return f": {lines[-1].strip()[:300]}" if lines else ""
