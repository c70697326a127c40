"""Tokens, policies, nodes, and what people are shown of pools and accounts."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from scheduler.db.accounts import account_views, pool_views
from scheduler.db.nodes import list_nodes, save_reports
from scheduler.db.planning import has_changes
from scheduler.db.policies import PolicyCache, current_policy, save_policy
from scheduler.db.tokens import find_token, issue_token, list_tokens, note_use, revoke_token
from scheduler.errors import Refused
from scheduler.wire.accounts import Scope, TokenRequest
from scheduler.wire.reports import GpuReport, NodeReport
from tests.build import MINUTE, NOON
from tests.db.small_hub import POLICY, Hub

DEMO = (Path(__file__).parents[2] / "infra" / "policies" / "demo.yaml").read_text()


async def test_a_token_is_found_by_its_secret_which_is_not_stored(db):
    async with db.transaction() as conn:
        issued = await issue_token(conn, TokenRequest(subject="ann", scope="user"), NOON)
        found = await find_token(conn, issued.token, NOON)
        (listed,) = await list_tokens(conn)
    assert issued.token.startswith("cp_user_")
    assert (found.subject, found.scope, found.expires_at) == (
        "ann",
        Scope.USER,
        NOON + timedelta(days=90),
    )
    assert issued.token not in repr(listed)


async def test_an_expired_token_is_found_so_that_its_bearer_can_be_told(db):
    async with db.transaction() as conn:
        asked = TokenRequest(subject="ann", scope="user", expires_in_days=1)
        issued = await issue_token(conn, asked, NOON)
        later = NOON + timedelta(days=1)
        found = await find_token(conn, issued.token, later)
        assert found.has_expired(later)
        assert not found.has_expired(later - MINUTE)


async def test_a_revoked_or_unknown_token_is_nobodys(db):
    async with db.transaction() as conn:
        issued = await issue_token(conn, TokenRequest(subject="ann", scope="user"), NOON)
        assert await revoke_token(conn, issued.id, NOON)
        assert not await revoke_token(conn, issued.id, NOON)
        assert await find_token(conn, issued.token, NOON) is None
        assert await find_token(conn, "cp_user_guess", NOON) is None


async def test_the_last_use_is_worth_noting_now_and_then(db):
    async with db.transaction() as conn:
        issued = await issue_token(conn, TokenRequest(subject="ann", scope="user"), NOON)
        assert (await find_token(conn, issued.token, NOON)).use_is_worth_noting(NOON)
        await note_use(conn, issued.id, NOON)
        found = await find_token(conn, issued.token, NOON)
    assert not found.use_is_worth_noting(NOON + MINUTE)
    assert found.use_is_worth_noting(NOON + 6 * MINUTE)


async def test_a_policy_gets_a_revision_only_when_it_is_another(db):
    async with db.transaction() as conn:
        assert await current_policy(conn) is None
        assert await save_policy(conn, DEMO, NOON, "admin") == (1, True)
        assert await save_policy(conn, DEMO, NOON, "admin") == (1, False)
        assert await save_policy(conn, DEMO + "\n", NOON, "admin") == (2, True)
        stored = await current_policy(conn)
        assert (await PolicyCache().current(conn)).revision == 2
    assert (stored.document, stored.applied_by) == (DEMO + "\n", "admin")


async def test_policies_saved_at_once_take_turns(db):
    async def save(number):
        async with db.transaction() as conn:
            return (await save_policy(conn, f"{DEMO}# {number}\n", NOON, "admin"))[0]

    assert sorted(await asyncio.gather(*(save(n) for n in range(4)))) == [1, 2, 3, 4]


async def test_without_a_policy_one_is_told_how_to_get_one(db):
    async with db.reading() as conn:
        with pytest.raises(Refused) as refused:
            await PolicyCache().current(conn)
    assert refused.value.status == 503
    assert "commonpool policy apply" in refused.value.next_step


def report(node="hub-1", sequence=10, **more):
    gpus = more.pop("gpus", [GpuReport(index=i, uuid=f"{node}{i}", model="H100") for i in range(2)])
    fields = {"pool": "hub", "boot_id": "boot", "sampled_at": NOON, **more}
    return NodeReport(node=node, sequence=sequence, gpus=gpus, **fields)


@pytest.fixture
async def hub(db):
    hub = Hub(db)
    await hub.begin()
    await hub.look()
    return hub


async def save(hub, *reports):
    async with hub.db.transaction() as conn:
        return len((await save_reports(conn, reports, POLICY, hub.now)).news)


GPU = {"uuid": "u", "model": "H100"}


@pytest.mark.parametrize(
    ("wrong", "field", "limit"),
    [
        pytest.param({"pool": "elsewhere"}, "pool", "one of hub", id="an unknown pool"),
        pytest.param(
            {"gpus": [GpuReport(index=0, uuid="u", model="A100")]},
            "gpus.model",
            "H100",
            id="another GPU model",
        ),
        pytest.param(
            {"gpus": [GpuReport(index=i, **GPU) for i in range(3)]},
            "gpus",
            "2 per node",
            id="more GPUs than the pool's nodes have",
        ),
        pytest.param(
            {"gpus": [GpuReport(index=0, **GPU)] * 2},
            "gpus.index",
            "each index once",
            id="one GPU twice",
        ),
        pytest.param({"node": "hub-3"}, "node", "2 nodes", id="more nodes than the pool has"),
    ],
)
async def test_a_report_against_the_policy_is_refused_by_name(hub, wrong, field, limit):
    with pytest.raises(Refused) as refused:
        await save(hub, report(**wrong))
    assert (refused.value.field, refused.value.limit) == (field, limit)


async def test_a_refused_report_takes_its_whole_batch_with_it(hub):
    hub.now += MINUTE
    with pytest.raises(Refused):
        await save(hub, report("hub-1"), report("hub-3"))
    async with hub.db.reading() as conn:
        assert {node.reported_at for node in await list_nodes(conn)} == {NOON}


async def test_an_older_report_of_the_same_boot_is_ignored(hub):
    broken = [GpuReport(index=0, **GPU, healthy=False)]
    assert await save(hub, report(sequence=5)) == 1
    assert await save(hub, report(sequence=5, gpus=broken)) == 0
    assert await save(hub, report(sequence=4, gpus=broken)) == 0
    assert await save(hub, report(sequence=0, boot_id="reboot", gpus=broken)) == 1


async def test_a_report_that_says_nothing_new_does_not_wake_the_planner(hub):
    again = [GpuReport(index=i, uuid=f"1-{i}", model="H100") for i in range(2)]
    await save(hub, report(gpus=again))
    before = (await hub.look()).snapshot()
    async with hub.db.reading() as conn:
        assert not await has_changes(conn)
    await save(hub, report(sequence=11, gpus=again[:1]))
    assert (await hub.look()).snapshot() != before


async def test_a_new_node_takes_the_place_of_a_silent_one(hub):
    hub.now += 6 * MINUTE
    await save(hub, report("hub-2"))
    await hub.watch()
    await save(hub, report("hub-3"))
    assert set((await hub.look()).snapshot().nodes) == {"hub-2", "hub-3"}


async def test_a_node_that_speaks_again_keeps_its_place_before_a_new_one(hub):
    hub.now += 6 * MINUTE
    await hub.watch()
    with pytest.raises(Refused, match="has all its nodes"):
        await save(hub, report("hub-3"), report("hub-1"), report("hub-2"))


async def test_a_silent_node_with_leases_keeps_its_place(hub):
    await hub.submit(("own", 2, False))
    await hub.cycle()
    run = await hub.run("j1")
    other = "hub-2" if run.slots[0].node == "hub-1" else "hub-1"
    hub.now += 6 * MINUTE
    await save(hub, report(other))
    await hub.watch()
    with pytest.raises(Refused):
        await save(hub, report("hub-3"))


async def test_pools_and_accounts_say_who_uses_what(hub):
    for who in ("own", "guest", "own"):
        await hub.submit((who, 2, False))
    await hub.cycle()
    hub.now += MINUTE
    async with hub.db.reading() as conn:
        (pool,) = await pool_views(conn, POLICY, hub.now)
        accounts = {view.account: view for view in await account_views(conn, POLICY, hub.now)}
        nodes = await list_nodes(conn, pool="hub")
        rest = await list_nodes(conn, after=nodes[0].node)
    assert (pool.capacity, pool.up, pool.free, pool.in_quota) == (4, 4, 0, 4)
    assert {q.account: q.used for q in pool.quotas} == {"national": 4, "own": 4, "guest": 0}
    owners = pool.quotas[0]
    assert (owners.nominal, owners.lend_max) == (4, 4), "R1: an owner has all of it, without a row"
    assert accounts["own"].running_gpus == accounts["national"].running_gpus == 4
    assert (accounts["guest"].pending_jobs, accounts["national"].pending_jobs) == (1, 1)
    assert accounts["own"].h100e_seconds == pytest.approx(4 * 60, rel=1e-3)
    assert [(node.node, node.free) for node in nodes] == [("hub-1", 0), ("hub-2", 0)]
    assert [node.node for node in rest] == ["hub-2"]
