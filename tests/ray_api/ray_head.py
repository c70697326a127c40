"""One slim, real Ray head on loopback, for as long as it is needed."""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.waiting import until

# Offsets in a block of ports. Ray's defaults lie in the ephemeral range, where a clash
# disables job submission for good.
_PORTS = {
    "--port": 0,
    "--dashboard-port": 1,
    "--dashboard-agent-listen-port": 2,
    "--dashboard-agent-grpc-port": 3,
    "--runtime-env-agent-port": 4,
    "--metrics-export-port": 5,
    "--node-manager-port": 6,
    "--object-manager-port": 7,
    "--ray-client-server-port": 8,
    "--min-worker-port": 20,
    "--max-worker-port": 99,
}


@dataclass(frozen=True)
class RayHead:
    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def is_ready(self) -> bool:
        """Say whether a node is alive: the version answers long before jobs are accepted."""
        if self.process.poll() is not None:
            raise RuntimeError(self.log.read_text()[-2000:])
        with contextlib.suppress(httpx.HTTPError):
            answer = httpx.get(f"{self.url}/nodes?view=summary", timeout=5, trust_env=False)
            return '"state": "ALIVE"' in answer.text
        return False


@contextlib.contextmanager
def ray_head(node: str, gpus: int = 8) -> Iterator[RayHead]:
    """Start a head of one node, labelled as Commonpool's node of that name."""
    folder = Path(tempfile.mkdtemp(prefix="cp-ray-", dir="/tmp"))  # its sockets need short paths
    start = _free_block()
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
    command += ["--disable-usage-stats", "--no-monitor", "--include-log-monitor", "false"]
    command += ["--temp-dir", str(folder), "--node-ip-address", "127.0.78.1"]
    command += ["--dashboard-host", "127.0.0.1", "--num-cpus", "4", "--num-gpus", str(gpus)]
    command += ["--object-store-memory", "80000000", "--labels", f"commonpool.io/node={node}"]
    for option, offset in _PORTS.items():
        command += [option, str(start + offset)]
    log = folder / "out.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, env=_environment(), stdout=out, stderr=out, start_new_session=True
        )
    head = RayHead(f"http://127.0.0.1:{start + 1}", process, log)
    try:
        until(head.is_ready, seconds=180)
        yield head
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=60)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return kept | {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        "RAY_prestart_worker_first_driver": "0",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}",
    }


def _free_block() -> int:
    """Return the first of a hundred ports below the ephemeral range of which none is in use."""
    dice = random.Random()
    while True:
        start = dice.randrange(12_000, 31_000, 100)
        with contextlib.ExitStack() as probes, contextlib.suppress(OSError):
            for port in range(start, start + 100):
                probe = probes.enter_context(socket.socket())
                probe.bind(("127.0.0.1", port))
            return start
