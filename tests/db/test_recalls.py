"""What owners were promised, and what came of it, on both databases (R10)."""

from datetime import timedelta

from scheduler.core.model import RunState
from scheduler.core.recalls import Recall
from scheduler.db.recalls import recalls_since
from tests.build import DAY, MINUTE, NOON
from tests.db.small_hub import POLICY, Hub

NOTICE = 30 * MINUTE  # of the national tier, in `tests.build`
TEARDOWN = POLICY.rules.teardown


async def lent_out(db):
    """A guest has every GPU; the owner, who has it all as nominal, wants two back."""
    hub = Hub(db)
    await hub.begin()
    for _ in range(2):
        await hub.submit(("guest", 2, False))
    await hub.turn()
    await hub.tell(0)
    await hub.tell(1)
    assert await told(db) == ()
    await hub.wait(5)
    await hub.submit(("own", 2, False))
    await hub.turn()
    return hub


async def told(db, since=NOON - DAY, **more):
    async with db.reading() as conn:
        return await recalls_since(conn, since, **more)


async def leave(hub):
    """Let the run that was told to leave do so, and be fenced."""
    alive = [record for record in hub.site.records.values() if record.alive]
    going = next(n for n, record in enumerate(alive) if record.lease.stop_reason is not None)
    hub.site.move(going, hub.now, well=False)
    hub.site.move(going, hub.now, well=False)
    await hub.sync()
    await hub.orders()


async def test_a_recall_is_measured_from_its_decision_until_the_owner_works(db):
    hub = await lent_out(db)
    decided_at = hub.now
    promised = Recall("own", "hub", decided_at, NOTICE, NOTICE + TEARDOWN)
    assert await told(db) == (promised,)
    await hub.wait(2)
    await leave(hub)
    await hub.wait(1)
    assert hub.site.records["cp-j3-1"].state is RunState.STARTING
    alive = [name for name, record in hub.site.records.items() if record.alive]
    await hub.tell(alive.index("cp-j3-1"))
    (found,) = await told(db)
    assert found.took == 3 * MINUTE
    assert (found.lender, found.pool, found.ended) == ("own", "hub", False)


async def test_a_recall_whose_job_is_cancelled_first_has_ended(db):
    hub = await lent_out(db)
    await hub.cancel(2)
    (found,) = await told(db)
    assert (found.took, found.ended) == (None, True)


async def test_recalls_are_told_within_a_window_and_the_latest_first(db):
    hub = await lent_out(db)
    first = hub.now
    await hub.wait(1)
    await hub.submit(("own", 2, False))
    await hub.cycle()
    assert [one.decided_at for one in await told(db)] == [hub.now, first]
    assert [one.decided_at for one in await told(db, most=1)] == [hub.now]
    assert await told(db, hub.now + timedelta(seconds=1)) == ()
