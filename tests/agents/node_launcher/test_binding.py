"""A site agent whose gang does not bind: all of it is ended, and the reason is stored (R5)."""

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta

from agents.site.agent import SiteAgent
from agents.site.backends.ray_nodes import RayOnNodes
from agents.site.environment import Signals
from agents.site.launched import Launched
from agents.site.packages import PackageCache
from agents.site.ray_jobs import http_client
from agents.site.records import RecordStore
from scheduler.clock import SystemClock
from scheduler.core.model import Backend, RunState
from scheduler.wire.launches import LaunchPhase
from scheduler.wire.sites import LeasedNode, NodeLaunched
from tests.agents.fake_hub import NOW, FakeHub, a_lease
from tests.agents.site import settings_of
from tests.waiting import eventually

RUN = "cp-j1-1"
NODES = (LeasedNode(node="n1", gpus=(0,)), LeasedNode(node="n2", gpus=(0,)))


class HubWithNodes(FakeHub):
    """Says of each member what `phases` say."""

    def __init__(self) -> None:
        super().__init__()
        self.phases = {"n1": LaunchPhase.UP, "n2": LaunchPhase.STARTING}
        self.why = ""

    def say(self, why="", **phases) -> None:
        self.phases, self.why = self.phases | phases, why
        self._ring()

    async def sync(self, site, message):
        orders = await super().sync(site, message)
        members = tuple(
            NodeLaunched(run=run, node=node, phase=phase, why=self.why)
            for run in self.leases
            for node, phase in self.phases.items()
        )
        return orders.model_copy(update={"launched": members})

    @property
    def wanted(self):
        return self.syncs[-1].launches if self.syncs else None


@asynccontextmanager
async def serving(folder, hub):
    settings, clock, launched = settings_of(folder), SystemClock(), Launched()
    store = RecordStore(folder)
    async with http_client() as ray:
        packages, signals = PackageCache(folder, hub, "here"), Signals(folder)
        backend = RayOnNodes(launched, ray, packages, signals, clock, stop_wait=1)
        backends = {Backend.RAY_PRIVATE: backend}
        agent = SiteAgent(settings, hub, store, backends, clock, launched)
        running = asyncio.create_task(agent.run())
        try:
            yield
        finally:
            running.cancel()
            await asyncio.wait({running})
            store.close()


def a_gang(**changes):
    return a_lease(RUN, backend=Backend.RAY_PRIVATE, nodes=NODES, **changes)


async def test_a_gang_that_is_not_whole_by_its_bind_time_is_lost_and_says_who_was_missing(tmp_path):
    hub = HubWithNodes()
    async with serving(tmp_path, hub):
        hub.order(a_gang(bind_by=NOW() + timedelta(seconds=2)))
        await eventually(lambda: hub.wanted == (RUN,), 20)
        # Past its time it is wanted no more; but it is not over while a member is there.
        await eventually(lambda: hub.wanted == (), 20)
        hub.say(n1=LaunchPhase.FENCED)
        syncs = len(hub.syncs)
        await eventually(lambda: len(hub.syncs) > syncs, 20)
        assert hub.end_of(RUN) is None
        hub.say(n2=LaunchPhase.FENCED)
        end = await eventually(lambda: hub.end_of(RUN), 30)
    assert end.state is RunState.LOST
    assert "waits for Ray on n2 (starting)" in end.message


async def test_a_member_that_ends_before_the_gang_is_whole_ends_it_at_once(tmp_path):
    hub = HubWithNodes()
    async with serving(tmp_path, hub):
        hub.order(a_gang())
        await eventually(lambda: hub.wanted == (RUN,), 20)
        hub.say(why="Ray ended: no memory", n2=LaunchPhase.FENCED)
        await eventually(lambda: hub.wanted == (), 20)
        hub.say(why="Ray ended: no memory", n1=LaunchPhase.FENCED)
        end = await eventually(lambda: hub.end_of(RUN), 30)
    assert end.state is RunState.LOST
    assert "n2: Ray ended: no memory" in end.message


async def test_a_lease_that_the_hub_no_longer_lists_is_wanted_on_no_node(tmp_path):
    hub = HubWithNodes()
    async with serving(tmp_path, hub):
        hub.order(a_gang())
        await eventually(lambda: hub.wanted == (RUN,), 20)
        hub.drop(RUN)
        await eventually(lambda: hub.wanted == () and not hub.runs, 20)
