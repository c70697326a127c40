"""Two processes of one hub on one PostgreSQL, and an agent whose reports reach each in turn.

A balancer that does not know nodes does that. Neither process hears the node for longer than
it may be silent, and both know from the other that it is not.
"""

import httpx
import pytest

from scheduler.clock import SystemClock
from scheduler.wire.reports import GpuReport, NodeReport, encode
from tests.e2e.hub_process import POLICY, Lab
from tests.waiting import until

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(240)]
STALE = 4


class Pair:
    """Two hubs, and a node of theirs."""

    def __init__(self, first, second):
        self.hubs = (first, second)
        self.node_token = first.token("lab", "node")
        self.dana = first.token("dana", "user")
        self.sequence = 0
        self.clock = SystemClock()
        self.began = self.clock.now()

    def report(self, hub):
        gpus = tuple(GpuReport(index=i, uuid=f"G-{i}", model="H100") for i in range(8))
        report = NodeReport(
            node="gpu-1", pool="lab-pool", boot_id="b", sequence=self.sequence,
            sampled_at=self.clock.now(), started_at=self.began, gpus=gpus,
        )  # fmt: skip
        self.sequence += 1
        headers = {
            "Authorization": f"Bearer {self.node_token}",
            "Content-Type": "application/json",
        }
        answer = httpx.post(
            f"{hub.url}/v1/nodes/report", content=encode((report,)), headers=headers, timeout=30
        )
        assert answer.json()["accepted"] == 1, answer.text

    def nodes(self):
        """Return whether the node may work, as each of the two sees it."""
        headers = {"Authorization": f"Bearer {self.dana}"}
        found = [httpx.get(f"{h.url}/v1/nodes", headers=headers, timeout=30) for h in self.hubs]
        return [answer.json()["nodes"][0]["usable"] for answer in found]


@pytest.fixture
def pair(tmp_path, postgres_server):
    url = postgres_server.url(postgres_server.create())
    hubs = [Stale(tmp_path, database_url=url) for _ in range(2)]
    (tmp_path / "lab.yaml").write_text(POLICY)
    try:
        hubs[0].command("admin", "migrate", "--data", str(tmp_path))
        hubs[0].command("policy", "apply", "--data", str(tmp_path), str(tmp_path / "lab.yaml"))
        for hub in hubs:
            hub.start_hub()
        yield Pair(*hubs)
    finally:
        for hub in hubs:
            hub.stop()


class Stale(Lab):
    """A hub that takes a node for silent after a few seconds."""

    def environment(self):
        return super().environment() | {"COMMONPOOL_NODE_STALE_SECONDS": str(STALE)}


def test_a_node_whose_reports_change_hubs_goes_on_working_and_one_that_is_silent_does_not(pair):
    begun = pair.clock.monotonic()
    seen = []
    for hub in (pair.hubs * 4)[:6]:
        # Longer than the other one may wait for the node by itself.
        turn_ends = pair.clock.monotonic() + 1.5 * STALE
        while pair.clock.monotonic() < turn_ends:
            pair.report(hub)
            seen += pair.nodes()
    assert all(seen), f"{seen.count(False)} of {len(seen)} looks"
    assert pair.clock.monotonic() - begun > 6 * STALE
    until(lambda: pair.nodes() == [False, False], seconds=60)
