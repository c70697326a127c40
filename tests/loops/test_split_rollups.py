"""What a GPU did is written once, however many hubs hear its node (R18)."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select

from scheduler.db.node_tables import gpu_rollups
from tests.loops.test_split_reports import LOOK, REPORT, SECONDS, Hubs, balancers


class Writing(Hubs):
    """The same hubs, which also write rollups; each by a clock that is a little off."""

    def __init__(self, hub, wake, count):
        super().__init__(hub, wake, count)
        for place, one in enumerate(self.hubs):
            one.loop.rollups._clock = Off(self.clock, place)  # noqa: SLF001  # one time, nearly

    async def pass_time(self, seconds, choose):
        for second in range(0, seconds, LOOK):
            if second % REPORT == 0:
                place = choose(self.sent)
                self.hubs[place].number = self.sent
                await self.hubs[place].report()
                self.sent += 1
            self.clock.forward(LOOK * SECONDS)
            for one in self.hubs:
                await one.loop.step()
                await one.loop.rollups.step()

    async def written(self):
        """Return the seconds and the GPU-seconds at work that all hubs wrote of each GPU."""
        seconds = gpu_rollups.c.seconds
        query = select(func.sum(seconds), func.sum(seconds * gpu_rollups.c.sm_mean))
        async with self.hubs[0].hub.db.reading() as conn:
            rows = await conn.execute(query.group_by(gpu_rollups.c.node_id, gpu_rollups.c.gpu))
            return [tuple(row) for row in rows]


class Off:
    def __init__(self, clock, milliseconds):
        self._clock, self._by = clock, timedelta(milliseconds=milliseconds)

    def now(self):
        return self._clock.now() + self._by

    def monotonic(self):
        return self._clock.monotonic()


@pytest.fixture
async def hubs(hub, wake, request):
    if hub.db.dialect == "sqlite":
        pytest.skip("on SQLite there is one process")
    return Writing(hub, wake, request.param)


@pytest.mark.parametrize(("hubs", "choose"), list(balancers()), indirect=["hubs"])
async def test_the_seconds_of_all_hubs_add_up_to_the_time_that_passed(hubs, choose):
    whole = 60 * 60
    await hubs.pass_time(whole, choose)
    found = await hubs.written()
    assert len(found) == 2  # GPUs
    for seconds, busy in found:
        # Of the first report to each hub nobody knows how long it tells of, and a last few wait.
        assert whole - 10 * 60 <= seconds <= whole
        assert busy == pytest.approx(0.25 * seconds)
