"""The `ray start` of one member: head or worker, with exactly the leased devices.

Source: notes/ray.md §2 (options and traps), §1.5 (tokens); as `agents.site.launcher` does on
its own machine.
"""

import os
import shutil
import socket
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from secrets import token_hex

from agents.free_ports import FIRST, LAST, free_ports
from agents.marks import MARK, NODE_LABEL, clean
from agents.node.launch_files import Order

_HEAD_PORTS = ("port", "dashboard-port", "ray-client-server-port")
_NODE_PORTS = (
    "node-manager-port",
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "runtime-env-agent-port",
    "metrics-export-port",
    "object-manager-port",
)


@dataclass(frozen=True, slots=True)
class Machine:
    """What is the same for every launch here. `ray` is the command, `address` of this node."""

    node: str
    address: str
    ray: str
    object_store_bytes: int
    boot: str


@dataclass(frozen=True, slots=True)
class Asked:
    """One member, as the hub ordered it; it expires at an uptime."""

    run: str
    token: int
    expires: float
    member: int
    gpu_uuids: tuple[str, ...]
    cpus: int
    head: str = ""
    secret: str = ""


class CannotLaunch(Exception):  # noqa: N818  # a state, told by its name
    """This machine lacks what a launch needs."""


def order(asked: Asked, machine: Machine, scratch: Path, taken: Collection[int]) -> Order:
    """Return the order for a keeper, with ports that are free now and not `taken`.

    Raises:
        CannotLaunch: there are no such ports.
    """
    names = (*_NODE_PORTS, *(_HEAD_PORTS if asked.member == 0 else ()))
    ports = dict(zip(names, free_ports(len(names), taken), strict=False))
    if len(ports) < len(names):
        raise CannotLaunch(f"no {len(names)} free ports between {FIRST} and {LAST}")
    is_head = asked.member == 0
    secret = token_hex(32) if is_head else asked.secret
    probe = ports["port"] if is_head else ports["node-manager-port"]
    # A short name: Unix socket paths, which Ray makes below it, end at 107 bytes.
    folder = scratch / f"cp-{sha256(f'{machine.node}/{asked.run}'.encode()).hexdigest()[:12]}"
    return Order(
        run=asked.run,
        token=asked.token,
        expires=asked.expires,
        boot=machine.boot,
        command=tuple(_command(asked, machine, ports, folder)),
        environment=_environment(asked, secret),
        probe=(machine.address, probe),
        ports=tuple(ports.values()),
        scratch=str(folder),
        head=f"{machine.address}:{ports['port']}" if is_head else "",
        api=f"http://{machine.address}:{ports['dashboard-port']}" if is_head else "",
        secret=secret if is_head else "",
    )


def _command(
    asked: Asked, machine: Machine, ports: Mapping[str, int], folder: Path
) -> Iterator[str]:
    yield from (machine.ray, "start")
    if asked.member == 0:
        yield from ("--head", "--no-monitor", f"--dashboard-host={machine.address}")
        # Asked for by name, as its Jobs API is: else Ray goes on where its dashboard cannot start.
        yield "--include-dashboard=true"
        yield f"--temp-dir={folder / 'ray'}"
    else:
        yield f"--address={asked.head}"
    options = {
        "node-ip-address": machine.address,
        "num-cpus": asked.cpus,
        "num-gpus": len(asked.gpu_uuids),
        "object-store-memory": machine.object_store_bytes,
        "include-log-monitor": "false",
        "labels": f"{NODE_LABEL}={machine.node}",
        "min-worker-port": 0,  # 0: any free one, which can clash with no other cluster's.
        "max-worker-port": 0,
        **ports,
    }
    yield from ("--block", "--disable-usage-stats")
    yield from (f"--{name}={value}" for name, value in options.items())


def _environment(asked: Asked, secret: str) -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {
        **clean(os.environ),
        "PATH": path,
        "CUDA_VISIBLE_DEVICES": ",".join(asked.gpu_uuids),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secret,
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        "RAY_prestart_worker_first_driver": "0",
        MARK: asked.run,  # Last: see agents.site.environment.injected.
    }


def ray_command() -> str:
    """Return Ray's command: the one beside this Python, else the first on the path.

    Raises:
        CannotLaunch: Ray is not installed here.
    """
    beside = Path(sys.executable).parent / "ray"
    found = str(beside) if beside.exists() else shutil.which("ray")
    if found is None:
        raise CannotLaunch("Ray is not installed on this machine: pip install 'commonpool[site]'")
    return found


def address_towards(host: str, port: int) -> str:
    """Return this machine's address on the way to a host. Nothing is sent.

    Raises:
        CannotLaunch: there is no way there.
    """
    try:
        family, *_, where = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(where)
            return str(probe.getsockname()[0])
    except OSError as error:
        raise CannotLaunch(
            f"no address of this machine leads to {host}: {error}; name one with --launch-address"
        ) from error
