"""The demo's story as its sites would tell it, on both databases: the ledger follows it to zero.

The programs are not run; the hub, its planner, its database and its answers are the real ones.
"""

from collections import Counter
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise

import pytest

from scheduler.embedded.demo_story import STORY
from tests.api.conftest import NODES

LASTING = 6  # rounds that a run works before it ends by itself
ROUND = timedelta(seconds=7, microseconds=1)


class Sites:
    """What the three sites of the demo say: each run starts, works for a while, and ends."""

    def __init__(self, house):
        self.house = house
        self.sequence = Counter()
        self.age = Counter()
        self.leases = {site: [] for site in NODES}

    async def turn(self):
        """Plan once, and let every site hear what it shall do and say how far it is."""
        await self.house.plan()
        for site in NODES:
            self.sequence[site] += 1
            seen = [self.seen(lease) for lease in self.leases[site]]
            answer = await self.house.sync(site, *seen, sequence=self.sequence[site])
            assert answer.status_code == 200, answer.text
            self.leases[site] = answer.json()["leases"]
        self.house.clock.forward(ROUND)

    def seen(self, lease):
        run = lease["run"]
        self.age[run] += 1
        if lease["wanted"] == "stop":
            return self.told(lease, "preempted", fenced=True)
        if self.age[run] <= LASTING:
            return self.told(lease, "running")
        return self.told(lease, "succeeded", exit_code=0, fenced=True)

    def told(self, lease, state, **more):
        return self.house.observed(lease["run"], state, **more) | {"token": lease["token"]}


async def submitted(house, part):
    asks = dict(part.asks)
    low, _, high = asks.get("tier", "").partition("..")
    request = {
        "entrypoint": part.command,
        "submission_id": part.key,
        "nodes": int(asks.get("nodes", "1")),
        "gpus_per_node": int(asks["gpus_per_node"]),
        "label": asks.get("label", "public"),
        "time_limit_seconds": 600,
        **({"tier": [low, high or low]} if low else {}),
        **({"gpu_models": [asks["gpu_models"]]} if "gpu_models" in asks else {}),
    }
    await house.call(part.person, "POST", "/v1/jobs", json=request)


async def ledger(house, by="account", **params):
    answer = await house.call("admin", "GET", "/v1/ledger", params={"by": by, **params})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def balanced(house):
    for by in ("sector", "institution", "account"):
        found = await ledger(house, by)
        assert sum(Decimal(one["net_h100e_seconds"]) for one in found["balances"]) == 0
    assert sum(Decimal(one["h100e_seconds"]) for one in found["entries"]) == 0
    return found


@pytest.fixture
async def played(house):
    """Play the whole story; the ledger is balanced after every round of it."""
    for site in NODES:
        await house.report(site)
    sites, begun = Sites(house), house.clock.now()
    for scene in STORY:
        for part in scene.parts:
            await submitted(house, part)
        for _ in range(3):
            await sites.turn()
        await balanced(house)
    for _ in range(60):
        await sites.turn()
        if not any(sites.leases.values()):
            break
    return house, begun


async def test_the_demos_story_is_in_the_ledger_and_adds_up_to_zero(played):
    house, begun = played
    found = await balanced(house)
    pairs = {(one["lender"], one["borrower"]) for one in found["matrix"]}
    assert ("state-u", "acme-robotics") in pairs  # under the university's agreement
    assert ("arl-vision", "state-u-nlp") in pairs  # under the team's
    national = [one for one in found["loans"] if one["pool"] == "national-hub"]
    assert national
    assert all(one["agreement"] is None for one in national)
    assert all(one["lender"] != one["borrower"] for one in national)
    recalled = {one["borrower"]["account"] for one in found["loans"] if one["recalled_at"]}
    assert "acme-robotics" in recalled
    assert "state-u-nlp" in {one["lender"] for one in found["recalls"]}
    assert all(one["simulated"] for one in found["loans"])
    await adds_up(house, begun)


async def adds_up(house, begun):
    """Check that the story, cut anywhere, adds up to the whole."""
    end = house.clock.now()
    cuts = [begun, begun + (end - begun) / 3, begun + (end - begun) / 2, end]

    async def lent(since, until):
        window = {"from": since.isoformat(), "to": until.isoformat()}
        found = await ledger(house, **window)
        return {one["name"]: Decimal(one["net_h100e_seconds"]) for one in found["balances"]}

    whole, parts = await lent(cuts[0], cuts[-1]), Counter()
    for since, until in pairwise(cuts):
        for name, net in (await lent(since, until)).items():
            parts[name] += net
    assert {n: v for n, v in parts.items() if v} == {n: v for n, v in whole.items() if v}
