"""Which processes an instance consists of: the policy's sites and pools, turned into commands.

They are the commands that an operator of a hub or a site starts by hand, so what works
here works there.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from scheduler.core.model import Backend, Pool
from scheduler.core.policy import Policy
from scheduler.embedded.layout import Layout
from scheduler.embedded.processes import Spec

LOOPBACK = "127.0.0.1"
# Offsets from the start of a Ray head's block of ports. Ray's own defaults lie in the
# system's ephemeral range, where a clash disables job submission for good.
HEAD_PORTS = 100
_GCS, _DASHBOARD, _WORKERS = 0, 1, 20
_OTHER_PORTS = (
    "--dashboard-agent-listen-port",
    "--dashboard-agent-grpc-port",
    "--runtime-env-agent-port",
    "--metrics-export-port",
    "--node-manager-port",
    "--object-manager-port",
    "--ray-client-server-port",
)


@dataclass(frozen=True, slots=True)
class Ports:
    """Every port that an instance listens on. `heads` are starts of blocks, by site.

    `exporters` are those of the node agents' /metrics, by pool; none where there is none.
    """

    hub: int
    portal: int | None
    heads: tuple[tuple[str, int], ...]
    exporters: tuple[tuple[str, int], ...] = ()

    @property
    def hub_url(self) -> str:
        return f"http://{LOOPBACK}:{self.hub}"

    @property
    def portal_url(self) -> str | None:
        return None if self.portal is None else f"http://{LOOPBACK}:{self.portal}"

    def head_url(self, site: str) -> str | None:
        """Return the Jobs address of a site's shared Ray head, where it has one."""
        start = dict(self.heads).get(site)
        return None if start is None else f"http://{LOOPBACK}:{start + _DASHBOARD}"


def specs(layout: Layout, policy: Policy, ports: Ports) -> tuple[Spec, ...]:
    """Return all processes, in the order of their start; they end in the reverse order."""
    found = [_hub(layout, ports)]
    found += [_ray_head(layout, policy, site, start) for site, start in ports.heads]
    found += [_site_agent(layout, ports, site.id) for site in policy.sites]
    found += [_node_agent(layout, ports, policy, pool) for pool in policy.pools]
    if ports.portal is not None:
        found.append(_portal(ports))
    return tuple(found)


def shared_sites(policy: Policy) -> tuple[str, ...]:
    """Return the sites that run a shared Ray head."""
    shared = {pool.site for pool in policy.pools if pool.backend is Backend.RAY_SHARED}
    return tuple(site.id for site in policy.sites if site.id in shared)


def node_names(policy: Policy, pool: Pool) -> tuple[str, ...]:
    """Return the names of a pool's simulated nodes: after its site where that is clear."""
    alone = sum(other.site == pool.site for other in policy.pools) == 1
    stem = pool.site if alone else pool.id
    return tuple(f"{stem}-{number}" for number in range(1, pool.node_count + 1))


def _command(*arguments: str | Path | int) -> tuple[str, ...]:
    return (sys.executable, "-m", "scheduler.main", *map(str, arguments))


def _hub(layout: Layout, ports: Ports) -> Spec:
    """Return the hub, with the development issuer: whoever is on this machine may be anybody."""
    argv = _command("hub", "--data", layout.data, "--host", LOOPBACK, "--port", ports.hub)
    public = ports.portal_url or ports.hub_url
    sign_in = (("COMMONPOOL_PUBLIC_URL", public), ("COMMONPOOL_DEVELOPMENT_ISSUER", "true"))
    return Spec("hub", argv, sign_in)


def _site_agent(layout: Layout, ports: Ports, site: str) -> Spec:
    token = layout.tokens / f"{site}-site.token"
    argv = _command("site-agent", "--hub", ports.hub_url, "--site", site, "--token-file", token)
    argv += ("--data", str(layout.site(site)))
    shared = ports.head_url(site)
    if shared is not None:
        argv += ("--shared-ray", shared)
    # A Ray node that has not started within 30 s gives up, so few may start at a time.
    launches = max(1, (os.cpu_count() or 1) // 2)
    return Spec(f"site-{site}", argv, (("COMMONPOOL_LAUNCHES", str(launches)),), ports.hub)


def _node_agent(layout: Layout, ports: Ports, policy: Policy, pool: Pool) -> Spec:
    token = layout.tokens / f"{pool.site}-node.token"
    argv = _command("node-agent", "--hub", ports.hub_url, "--token-file", token, "--pool", pool.id)
    for name in node_names(policy, pool):
        argv += ("--node", name)
    argv += ("--simulated", f"{pool.gpus_per_node}x{pool.gpu_model}")
    argv += ("--data", str(layout.simulation))
    exporter = dict(ports.exporters).get(pool.id)
    if exporter is not None:
        argv += ("--exporter-address", LOOPBACK, "--exporter-port", str(exporter))
    return Spec(f"nodes-{pool.id}", argv, after_port=ports.hub)


def _portal(ports: Ports) -> Spec:
    argv = _command("portal", "--hub", ports.hub_url)
    argv += ("--host", LOOPBACK, "--port", str(ports.portal))
    return Spec("portal", argv, after_port=ports.hub)


def _ray_head(layout: Layout, policy: Policy, site: str, start: int) -> Spec:
    """Return the shared head of a site: one Ray node with the GPUs of the site's shared pools.

    Source: notes on running several clusters on one host; `--no-monitor` because nothing
    here scales, an IP of its own because Ray rewrites 127.0.0.1.
    """
    pools = [p for p in policy.pools if p.site == site and p.backend is Backend.RAY_SHARED]
    node = node_names(policy, pools[0])[0]
    argv = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
    argv += ["--disable-usage-stats", "--no-monitor", "--include-log-monitor", "false"]
    argv += ["--temp-dir", str(layout.ray / site), "--node-ip-address", "127.0.77.1"]
    argv += ["--port", str(start + _GCS)]
    argv += ["--dashboard-host", LOOPBACK, "--dashboard-port", str(start + _DASHBOARD)]
    argv += ["--num-cpus", "4", "--num-gpus", str(sum(pool.capacity for pool in pools))]
    argv += ["--object-store-memory", "80000000", "--labels", f"commonpool.io/node={node}"]
    for offset, option in enumerate(_OTHER_PORTS, _DASHBOARD + 1):
        argv += [option, str(start + offset)]
    argv += ["--min-worker-port", str(start + _WORKERS)]
    argv += ["--max-worker-port", str(start + HEAD_PORTS - 1)]
    return Spec(f"ray-{site}", tuple(argv), _ray_environment())


def _ray_environment() -> tuple[tuple[str, str], ...]:
    """Return what a head is told: call nobody, trust loopback, do not drain when it ends."""
    here = str(Path(sys.executable).parent)
    return (
        ("RAY_USAGE_STATS_ENABLED", "0"),
        ("RAY_AUTH_MODE", "disabled"),
        ("RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S", "0"),
        # Ray would start one idle worker per CPU for the first driver.
        ("RAY_prestart_worker_first_driver", "0"),
        ("PATH", f"{here}{os.pathsep}{os.environ.get('PATH', '')}"),
    )
