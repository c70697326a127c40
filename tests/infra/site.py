"""A real hub, a simulated site, and two real node agents on faked GPUs, to be scraped."""

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.agents.node.live import LiveAgent
from tests.e2e.hub_process import POLICY, Lab, free_port
from tests.fake_nvml import State
from tests.waiting import until

NODES = ("127.0.0.2", "127.0.0.3")
"""Names of nodes that are addresses as well: Prometheus reaches them without a name server."""


def policy() -> str:
    """Return the lab's policy with a pool of GPUs, a budget and an agreement."""
    made = yaml.safe_load(POLICY)
    made["pools"].append({**made["pools"][0], "id": "gpu-pool", "owner": "lab-b"})
    acme = {"name": "acme", "parent": "national", "sector": "industry", "members": ["iris"]}
    made["accounts"].append(acme)
    made["users"].append({"name": "iris", "labels": ["public"]})
    dates = {"valid_from": "2026-01-01", "valid_to": "2036-01-01"}
    made["budgets"] = [{"id": "lab-a-years", "account": "lab-a", "h100e_hours": 1000, **dates}]
    made["agreements"] = [
        {
            "id": "lab-lends",
            "lender": "lab-b",
            "borrower": {"sector": "industry"},
            "pools": ["gpu-pool"],
            "cap": 4,
            "recall_notice": "1s",
            **dates,
        }
    ]
    # Through JSON, which has no anchors: policies may have none.
    return yaml.safe_dump(json.loads(json.dumps(made)), sort_keys=False)


class Site:
    """What runs, and how to load it."""

    def __init__(self, lab: Lab, agents: list[LiveAgent], states: list[State]) -> None:
        self.lab, self.agents, self.states = lab, agents, states
        self.port = agents[0].port
        self.metrics_token = lab.data / "metrics.token"
        self.metrics_token.write_text(lab.token("all-sites", "metrics"))
        self._people = {who: lab.token(who, "user") for who in ("dana", "alex", "iris")}

    def submit(self, who: str, seconds: float, **asked: Any) -> None:
        """Submit a job that is simulated to take so long."""
        answer = httpx.post(
            f"{self.lab.url}/v1/jobs",
            json={
                "entrypoint": "simulated",
                "submission_id": secrets.token_hex(6),
                "metadata": {"commonpool.simulated_seconds": str(seconds)},
                **asked,
            },
            headers={"Authorization": f"Bearer {self._people[who]}"},
            timeout=30,
        )
        assert answer.status_code == 201, answer.text

    def metrics(self, accept: str = "") -> str:
        """Return the hub's page."""
        token = self.metrics_token.read_text()
        headers = {"Authorization": f"Bearer {token}", "Accept": accept}
        return httpx.get(f"{self.lab.url}/metrics", headers=headers, timeout=30).text


@contextmanager
def site(folder: Path, library: Path) -> Iterator[Site]:
    """Start everything; end it all afterwards."""
    the = Lab(folder / "lab")
    the.data.mkdir(parents=True)
    (the.data / "lab.yaml").write_text(policy())
    the.command("admin", "migrate", "--data", str(the.data))
    the.command("policy", "apply", "--data", str(the.data), str(the.data / "lab.yaml"))
    agents, states = [], []
    try:
        the.start_hub()
        the.start_site()
        port = free_port()
        for name in NODES:
            home = folder / name
            home.mkdir()
            states.append(State(home / "state.ini"))
            agents.append(_agent(home, library, states[-1], the, (name, port)))
        yield Site(the, agents, states)
    finally:
        for agent in agents:
            agent.end()
        the.stop()


def _agent(home: Path, library: Path, state: State, the: Lab, at: tuple[str, int]) -> LiveAgent:
    name, port = at
    made = LiveAgent(
        home, library, state, the.url, port, node=name, pool="gpu-pool",
        exporter_address=name, token_file=the.data / "node.token", interval="0.5",
    )  # fmt: skip
    address = f"http://{name}:{port}/metrics"
    until(lambda: _answers(address), seconds=60)
    return made


def _answers(address: str) -> bool:
    try:
        return httpx.get(address, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False
