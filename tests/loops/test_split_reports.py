"""Reports of one node that go to several hubs: it is silent when all have heard nothing (R19)."""

import random
from datetime import timedelta

import pytest

from tests.loops.test_fleet import Told

SECONDS = timedelta(seconds=1)
REPORT, LOOK = 15, 5


class Hubs:
    """Several processes of one hub on one database, and one node's agent behind a balancer."""

    def __init__(self, hub, wake, count):
        self.hubs = [Told(hub, wake) for _ in range(count)]
        for one in self.hubs:
            one.clock = self.hubs[0].clock
            one.loop._clock = one.loop.rollups._clock = one.clock  # noqa: SLF001  # one time for all
        self.clock = self.hubs[0].clock
        self.sent = 0
        self.silenced = 0

    async def pass_time(self, seconds, choose):
        """Let time pass; each report goes to the hub that is chosen, None: to nobody."""
        for second in range(0, seconds, LOOK):
            if second % REPORT == 0 and (place := choose(self.sent)) is not None:
                self.hubs[place].number = self.sent
                await self.hubs[place].report()
                self.sent += 1
            self.clock.forward(LOOK * SECONDS)
            for one in self.hubs:
                await one.loop.step()
            if not (await self.hubs[0].node()).usable:
                self.silenced += 1


@pytest.fixture
async def hubs(hub, wake, request):
    if hub.db.dialect == "sqlite":
        pytest.skip("on SQLite there is one process")
    return Hubs(hub, wake, request.param)


def balancers():
    """Return how a balancer may choose among so many, with the words for it."""
    yield pytest.param(2, lambda n: n % 2, id="in turn between 2")
    yield pytest.param(8, lambda n: n % 8, id="in turn among 8")
    yield pytest.param(3, lambda n: (n // 20) % 3, id="five minutes each")
    yield pytest.param(2, lambda n: int(n >= 10), id="the other one for good")
    luck = random.Random(7)
    yield pytest.param(4, lambda _: luck.randrange(4), id="by chance among 4")


@pytest.mark.parametrize(("hubs", "choose"), list(balancers()), indirect=["hubs"])
async def test_a_node_that_is_heard_by_anybody_is_never_silent_and_one_that_stops_is(hubs, choose):
    await hubs.pass_time(20 * 60, choose)
    assert hubs.silenced == 0
    await hubs.pass_time(2 * 60, lambda _: None)
    node = await hubs.hubs[0].node()
    assert (node.usable, node.why_unusable.startswith("silent since ")) == (False, True)
