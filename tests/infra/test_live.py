"""A real Prometheus of a site and the global one, a real hub, two real agents, a webhook.

Every recording rule and every expression of every dashboard is asked for, with data; where
there can be none, `EMPTY` says why. The configuration is the one that is shipped: only
addresses, the token's file and the times between looks are others.
"""

import json
import re
import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.agents.node.conftest import library
from tests.e2e.hub_process import free_port
from tests.infra.programs import INFRA, Server, Webhook, alertmanager, prometheus, tool
from tests.infra.site import NODES, Site, site
from tests.waiting import until

__all__ = ["library"]

pytestmark = [pytest.mark.prometheus, pytest.mark.timeout(600)]

VALUES = {"site": "lab", "pool": "lab-pool|gpu-pool", "account": "lab-a", "node": NODES[0]}
EMPTY = {
    "commonpool_gpu_job_info": "no process of a run is on a faked GPU",
}
"""Metrics whose expressions have no data here, with the reason."""
BUSY = "[gpu]\nutil = 80\nsm_active = 55\ntensor = 30\n[events]\nevent = 1,0,8,31\n"


@dataclass
class Monitored:
    """Everything that runs."""

    site: Site
    local: Server
    whole: Server
    alerts: Server
    hook: Webhook


def rules(name: str) -> list[dict]:
    """Return the rules of one file that is shipped."""
    text = (INFRA / "prometheus/rules" / f"{name}.yml").read_text()
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


def configured(folder: Path, name: str, ports: dict[str, int], token: Path) -> Path:
    """Write a configuration that is shipped, with the addresses of this test."""
    folder.mkdir()
    shutil.copytree(INFRA / "prometheus/rules", folder / "rules")
    text = (INFRA / "prometheus" / f"{name}.yml").read_text()
    for shipped, here in (
        ("127.0.0.1:8265", f"127.0.0.1:{ports['hub']}"),
        ("127.0.0.1:9090", f"127.0.0.1:{ports['global']}"),
        ("127.0.0.1:9093", f"127.0.0.1:{ports['alertmanager']}"),
        ("site=state-u&port=9400", f"site=lab&port={ports['exporter']}"),
        ("prometheus.token", str(token)),
        ("refresh_interval: 1m", "refresh_interval: 1s"),
        ("_interval: 15s", "_interval: 1s"),
    ):
        text = text.replace(shipped, here)
    (folder / "prometheus.yml").write_text(text)
    return folder


def woken(folder: Path, hook: Webhook) -> Path:
    """Write the Alertmanager's configuration with this test's webhook, and no patience."""
    folder.mkdir()
    text = (INFRA / "alertmanager/alertmanager.yml").read_text()
    text = text.replace("http://127.0.0.1:9095/alerts", hook.url)
    text = re.sub(r"group_wait: \d+s", "group_wait: 1s", text)
    (folder / "alertmanager.yml").write_text(text)
    return folder


@pytest.fixture(scope="module")
def everything(tmp_path_factory, library):
    folder = tmp_path_factory.mktemp("monitored")
    hook = Webhook()
    with ExitStack() as stack:
        stack.callback(hook.close)
        the = stack.enter_context(site(folder, library))
        for state in the.states:
            state.write(BUSY)
        ports = {name: free_port() for name in ("global", "site", "alertmanager")}
        ports |= {"hub": the.lab.port, "exporter": the.port}
        alerts = stack.enter_context(
            alertmanager(woken(folder / "alerts", hook), ports["alertmanager"])
        )
        whole = stack.enter_context(
            prometheus(
                configured(folder / "global", "global", ports, the.metrics_token),
                ports["global"],
                "--web.enable-remote-write-receiver",
                "--enable-feature=exemplar-storage",
            )
        )
        local = stack.enter_context(
            prometheus(configured(folder / "site", "site", ports, the.metrics_token), ports["site"])
        )
        busy(the)
        yield Monitored(the, local, whole, alerts, hook)


def busy(the: Site) -> None:
    """Give the hub something to do, so that every number has a reason to be one."""
    for who in ("dana", "alex", "iris"):
        the.submit(who, 0.2, gpus_per_node=1)
    the.submit("dana", 600, gpus_per_node=8, nodes=1)
    the.submit("dana", 600, gpus_per_node=8, nodes=1)
    for _ in range(6):
        the.submit("alex", 600, gpus_per_node=8, nodes=1)
    the.submit("alex", 600, gpus_per_node=8, nodes=1, priority="urgent")


def up(server: Server) -> dict[str, str]:
    """Return each target's health by instance."""
    found = server.get("/api/v1/targets", state="active")["data"]["activeTargets"]
    return {one["labels"]["instance"]: one["health"] + one["lastError"] for one in found}


def test_the_sites_prometheus_finds_its_nodes_through_the_hub_and_scrapes_them(everything):
    port = everything.site.port
    wanted = {f"{name}:{port}": "up" for name in NODES}
    until(lambda: up(everything.local) == wanted, seconds=60)
    (found,) = everything.local.query(f'up{{node="{NODES[0]}"}}')
    assert found["metric"] == {
        "__name__": "up",
        "job": "commonpool-nodes",
        "instance": f"{NODES[0]}:{port}",
        "node": NODES[0],
        "site": "lab",
        "pool": "gpu-pool",
        "tier": "institution",
    }


def test_the_global_prometheus_scrapes_the_hub(everything):
    until(lambda: set(up(everything.whole).values()) == {"up"}, seconds=60)


@pytest.mark.parametrize("name", ["nodes", "hub"])
def test_every_recording_rule_has_data(everything, name):
    server = everything.local if name == "nodes" else everything.whole
    names = [rule["record"] for rule in rules(name)]
    missing = dict.fromkeys(names)

    def all_there():
        for record in [record for record in missing if server.query(record)]:
            del missing[record]
        assert not missing, sorted(missing)
        return True

    until(all_there, seconds=60)
    for group in server.get("/api/v1/rules")["data"]["groups"]:
        for rule in group["rules"]:
            assert rule["health"] == "ok", rule


def test_only_what_rules_have_summed_goes_up(everything):
    until(lambda: everything.whole.query("node:gpu_sm_active:avg"), seconds=60)
    names = everything.whole.get("/api/v1/label/__name__/values")["data"]
    assert not [name for name in names if name.startswith("DCGM")]
    sent = {name for name in names if name.startswith(("node:", "cluster:gpu_"))}
    assert sent <= {rule["record"] for rule in rules("nodes")}
    assert sent


def expressions() -> list:
    found = []
    for file in sorted((INFRA / "grafana/dashboards").glob("*.json")):
        board = json.loads(file.read_text())
        for panel in board["panels"]:
            for target in panel["targets"]:
                name = f"{file.stem}: {panel['id']} {panel['title']}"
                found.append(pytest.param(file.stem, target["expr"], id=name))
    return found


def test_every_expression_of_every_dashboard_has_data_or_a_reason_to_have_none(everything):
    missing = {}
    for param in expressions():
        board, expr = param.values
        missing[param.id] = (board, expr)

    def all_there():
        for name, (board, expr) in list(missing.items()):
            server = everything.local if board == "commonpool-node" else everything.whole
            asked = re.sub(r"\$(\w+)", lambda found: VALUES[found[1]], expr)
            if server.query(asked) or any(metric in expr for metric in EMPTY):
                del missing[name]
        assert not missing, missing
        return True

    until(all_there, seconds=60)


def test_what_is_listed_as_empty_is_empty(everything):
    for metric in EMPTY:
        assert not everything.local.query(metric) + everything.whole.query(metric)


def test_numbers_are_the_right_ones(everything):
    def value(server, expr):
        (found,) = server.query(expr)
        return float(found["value"][1])

    local, whole = everything.local, everything.whole
    until(lambda: value(local, "sum(node:gpus_up:sum)") == 16, seconds=30)
    assert value(local, f'node:gpu_sm_active:avg{{node="{NODES[0]}"}}') == pytest.approx(0.55)
    until(lambda: value(whole, 'sum(cluster:nodes:max{state="healthy"})') == 4, seconds=30)
    until(lambda: value(whole, "sum(cluster:gpus_held:sum)") == 32, seconds=60)
    assert value(whole, 'sum(cluster:jobs:sum{state="pending",priority="urgent"})') in {0, 1}
    assert value(whole, 'account:budget_left:ratio{budget="lab-a-years"}') < 1


def test_a_slow_cycles_exemplar_leads_to_its_lines_in_the_log(everything):
    def ids():
        found = everything.whole.get(
            "/api/v1/query_exemplars",
            query="commonpool_cycle_seconds_bucket",
            start="0",
            end="9999999999",
        )["data"]
        return {one["labels"]["cycle_id"] for series in found for one in series["exemplars"]}

    seen = until(ids, seconds=60)
    log = re.sub(r"\x1b\[\d*m", "", (everything.site.lab.data / "hub.log").read_text())
    assert [line for line in log.splitlines() if any(f"cycle={one}" in line for one in seen)]


@pytest.mark.parametrize("accept", ["text/plain", "application/openmetrics-text;version=1.0.0"])
def test_our_own_names_are_as_prometheus_wants_them(everything, accept):
    page = everything.site.metrics(accept)
    assert "commonpool_decisions_total" in page
    if accept == "text/plain":  # promtool reads nothing else
        assert_good(page)


def test_the_agents_own_names_are_as_prometheus_wants_them(everything):
    agent = Server.get(_Page(f"http://{NODES[0]}:{everything.site.port}"), "/metrics")
    assert "DCGM_FI_PROF_SM_ACTIVE" in agent
    assert_good(agent)


class _Page(Server):
    """A page of somebody else's."""

    def __init__(self, url: str) -> None:
        self.url, self.log = url, Path("/dev/null")


def assert_good(page: str) -> None:
    """Hold our names to promtool; NVIDIA's are as dashboards expect them."""
    ours = "".join(
        f"{line}\n" for line in page.splitlines() if re.match(r"(# (HELP|TYPE) )?commonpool_", line)
    )
    checked = tool("promtool", "check", "metrics", given=ours)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_fatal_xid_wakes_somebody_within_seconds(everything):
    everything.site.states[1].write(f"{BUSY}event = 2,3,8,79\n")
    (alert,) = until(lambda: everything.hook.firing("GpuFatalXid"), seconds=60)
    assert alert["labels"] | {"node": NODES[1], "gpu": "3", "xid": "79"} == alert["labels"]
    assert alert["labels"]["severity"] == "critical"
    assert alert["annotations"] == {
        "summary": f"XID 79 on GPU 3 of {NODES[1]}",
        "description": "The driver reported XID 79 within 15 minutes. The hub drains the node and"
        " requeues what ran there.",
        "runbook_url": "docs/runbooks.md#gpufatalxid",
    }
    until(
        lambda: everything.whole.query('cluster:nodes:max{state="draining",pool="gpu-pool"} == 1'),
        seconds=60,
    )
