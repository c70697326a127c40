"""Reports that are wrong, late, twice, or of a sick node: each has its message (R19)."""

from datetime import timedelta

import pytest
import zstandard
from sqlalchemy import select

from scheduler.db.node_tables import node_events
from scheduler.wire import reports as wire
from tests.api.conftest import NOON
from tests.api.test_nodes import report, send

HOUR = timedelta(hours=1)


def gpus(**first):
    made = [{"index": i, "uuid": f"GPU-{i}", "model": "H100"} for i in range(8)]
    return [made[0] | first, *made[1:]]


async def node_of(house, name="national-1"):
    found = (await house.call("dana", "GET", "/v1/nodes")).json()["nodes"]
    return next(node for node in found if node["node"] == name)


async def events(house):
    async with house.hub.db.reading() as conn:
        query = select(node_events.c.event, node_events.c.sentence).order_by(node_events.c.id)
        return [tuple(row) for row in await conn.execute(query)]


async def test_a_body_of_ten_megabytes_is_refused_with_the_limit(small):
    headers = {"Content-Type": "application/json"}
    for path in ("/v1/nodes/report", "/v1/nodes/reports"):
        answer = await small.call(
            "national-node", "POST", path, content=b" " * 10_000_000, headers=headers
        )
        assert (answer.status_code, answer.json()["limit"]) == (413, "8 MiB")


async def test_a_small_body_that_unpacks_to_gigabytes_is_refused_with_the_limit(small):
    bomb = zstandard.compress(bytes(64_000_000))
    headers = {"Content-Type": "application/json", "Content-Encoding": "zstd"}
    answer = await small.call(
        "national-node", "POST", "/v1/nodes/report", content=bomb, headers=headers
    )
    assert len(bomb) < 10_000
    assert (answer.status_code, answer.json()["limit"]) == (413, "8 MiB")


@pytest.mark.parametrize(
    ("content", "encoding", "status", "said"),
    [
        pytest.param(b"not zstd", "zstd", 400, "cannot be unpacked", id="not what it says"),
        pytest.param(b"{}", "br", 415, "br", id="another packing"),
        pytest.param(b'{"reports": [', "", 400, "not JSON", id="torn"),
        pytest.param(b"\xff", "", 400, "UTF-8", id="not text"),
        pytest.param(b"7\xde", "", 400, "UTF-8", id="no object, and then not text"),
        pytest.param(b"", "", 400, "empty", id="empty"),
        pytest.param(b'{"reports": [NaN]}', "", 400, "NaN", id="no number"),
    ],
)
async def test_a_body_that_cannot_be_read_says_why(small, content, encoding, status, said):
    headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
    answer = await small.call(
        "national-node", "POST", "/v1/nodes/report", content=content, headers=headers
    )
    assert answer.status_code == status, answer.text
    assert said in answer.text


async def test_a_packed_report_is_taken(small):
    one = wire.decode(wire.encode(report()["reports"])).reports
    headers = {"Content-Type": "application/json", "Content-Encoding": "zstd"}
    packed = zstandard.compress(wire.encode(one))
    answer = await small.call(
        "national-node", "POST", "/v1/nodes/report", content=packed, headers=headers
    )
    assert answer.json()["accepted"] == 1


@pytest.mark.parametrize(
    ("more", "field", "limit"),
    [
        pytest.param(
            {"use": [{"index": 0, "sm_active": [7.5, 0, 0]}]},
            "reports.0.use.0.sm_active.0",
            "<= 1.0",
            id="busier than it can be",
        ),
        pytest.param(
            {"use": [{"index": 0, "power_watts": [0, -1, 0]}]},
            "reports.0.use.0.power_watts.1",
            ">= 0.0",
            id="negative power",
        ),
        pytest.param(
            {"use": [{"index": 0, "memory_mib": [1e300, 0, 0]}]},
            "reports.0.use.0.memory_mib.0",
            "<= ",
            id="more memory than there is in the world",
        ),
        pytest.param(
            {"gpus": gpus(xids=[{"xid": 79, "count": 0}])},
            "reports.0.gpus.0.xids.0.count",
            ">= 1",
            id="an XID that did not happen",
        ),
        pytest.param(
            {"gpus": gpus(uuid="a\x00")}, "reports.0.gpus.0.uuid", "without NUL", id="NUL in a name"
        ),
        pytest.param({"sampler": "fine"}, "reports.0.sampler", "Invalid", id="an unknown state"),
    ],
)
async def test_an_absurd_number_is_refused_with_its_limit(small, more, field, limit):
    answer = await send(small, report(**more))
    assert answer.status_code == 422, answer.text
    assert answer.json()["field"] == field
    assert limit in answer.json()["limit"]


async def test_backslashes_before_u0000_are_only_backslashes_and_nul_is_found_anywhere(small):
    assert (await send(small, report(block=r"\u0000"))).status_code == 200
    seen = {"run": "r", "token": 1, "phase": "up", "why": "a\x00"}
    launcher = {"group": "cgroup", "launches": [seen]}
    answer = await send(small, report(launcher=launcher))
    problem = answer.json()
    assert (answer.status_code, problem["field"]) == (422, "reports.0.launcher.launches.0.why")
    assert "without NUL" in problem["limit"]


async def test_an_agent_that_is_newer_than_its_hub_is_told_what_to_upgrade(small):
    answers = [await send(small, report(mood="good")), await send(small, report(gpus=gpus(mood=1)))]
    answers.append(await small.sync("national", mood="good"))
    run = small.observed("cp-j-1", "running", mood="good")
    answers.append(await small.sync("national", run))
    assert [answer.status_code for answer in answers] == [422] * 4
    problems = [answer.json() for answer in answers]
    fields = ["reports.0.mood", "reports.0.gpus.0.mood", "mood", "runs.0.mood"]
    assert [problem["field"] for problem in problems] == fields
    assert all("upgrade the hub first" in problem["next_step"] for problem in problems)


async def test_a_wrong_token_is_told_what_it_needs(small):
    for who, status in (("dana", 403), ("national-site", 403)):
        answer = await send(small, report(), who=who)
        assert (answer.status_code, answer.json()["limit"]) == (status, "node")


async def test_a_nodes_own_token_speaks_for_that_node_alone(small):
    assert (await send(small, report(), who="national-1-node")).json()["accepted"] == 1
    answer = await send(small, report(node="national-2"), who="national-1-node")
    assert answer.status_code == 403
    problem = answer.json()
    assert (problem["title"], problem["value"]) == ("Another node's token", "national-2")
    assert problem["limit"] == "national-1"


async def test_an_old_sequence_counts_for_nothing(house):
    for number, accepted in ((5, 1), (6, 1), (6, 0), (5, 0), (7, 1)):
        answer = await send(house, report(sequence=number))
        assert answer.json()["accepted"] == accepted
    assert house.hub.fleet.reports == 3


async def test_a_clock_that_is_hours_off_is_told_and_does_no_harm(small):
    skewed = ((1, 3 * HOUR, "3:00:00 ahead of"), (2, -3 * HOUR, "3:00:00 behind"))
    for number, by, said in skewed:
        at = (NOON + by).isoformat()
        answer = (await send(small, report(sampled_at=at, sequence=number))).json()
        assert answer["accepted"] == 1
        assert said in answer["notes"][0]
    assert (await node_of(small))["reported_at"] == "2026-03-02T12:00:00Z"


async def test_of_two_agents_with_one_identity_the_older_is_fenced(house):
    def agent(boot, hour, number):
        at = (NOON - hour * HOUR).isoformat()
        return send(house, report(boot_id=boot, started_at=at, sequence=number))

    assert (await agent("older", 2, 1)).json()["accepted"] == 1
    assert (await agent("newer", 1, 1)).json()["accepted"] == 1
    fenced = await agent("older", 2, 2)
    assert fenced.status_code == 409
    assert "fenced" in fenced.json()["detail"]
    # A hub that has just started knows the newer one from its database.
    house.hub.fleet.forget("national-1")
    assert (await agent("older", 2, 3)).status_code == 409
    assert (await agent("newer", 1, 2)).json()["accepted"] == 1


async def test_a_gateway_is_told_which_nodes_are_refused_and_the_others_are_taken(house):
    def of(node, **more):
        return report(node=node, **more)["reports"][0]

    batch = [of("national-1"), of("national-2", pool="atlantis"), of("x-1", pool="state-u-hpc")]
    batch.append(of("national-3", gpus=gpus(model="A100")))
    answer = await house.call("national-node", "POST", "/v1/nodes/reports", json={"reports": batch})
    assert answer.json()["accepted"] == 1
    refused = {one["node"]: one["field"] for one in answer.json()["refused"]}
    assert refused == {"national-2": "pool", "x-1": "reports.2.pool", "national-3": "gpus.model"}


async def test_a_report_that_says_nothing_new_costs_no_sql(house):
    await send(house, report(sequence=1))
    bell = house.hub.wake.bell("cycle")
    assert (await send(house, report(sequence=2))).json()["accepted"] == 1
    assert not bell.is_set()
    assert house.hub.fleet.seat("national-1").sequence == 2


async def test_the_reply_asks_for_fewer_reports_while_the_hub_does_not_keep_up(small):
    small.hub.fleet.pace.factor = 2.0
    assert (await send(small, report())).json()["next_report_seconds"] == 30


async def test_xid_79_takes_the_node_out_and_moves_its_job(house):
    job, _ = await house.running("dana", gpus_per_node=8)
    (lease,) = (await house.sync("national")).json()["leases"]
    node = lease["nodes"][0]["node"]
    sick = gpus(xids=[{"xid": 79, "count": 1}], healthy=False, why_unhealthy="lost")
    await send(house, report(node=node, sequence=2, boot_id="b", gpus=sick, simulated=True))
    why = (await node_of(house, node))["why_unusable"]
    assert "XID 79" in why
    assert "power-cycle" in why
    (lease,) = (await house.sync("national", sequence=2)).json()["leases"]
    assert (lease["wanted"], lease["stop_reason"]) == ("stop", "drained")
    told = (await house.call("dana", "GET", f"/v1/jobs/{job['id']}/explanation")).json()
    sentences = " ".join(event["sentence"] for event in told["history"])
    assert "XID 79" in sentences


async def test_an_xid_that_is_told_again_happened_once(house):
    await send(house, report())
    for number in (2, 3, 4):
        xids = gpus(xids=[{"xid": 94, "count": 1}])
        await send(house, report(sequence=number, gpus=xids))
        house.hub.fleet.doubt("national-1")
    assert [event for event, _ in await events(house)] == ["xid"]
    assert (await node_of(house))["usable"]


async def test_a_pending_row_remap_cordons_and_the_owner_sees_why(house):
    await house.running("dana", gpus_per_node=8)
    (lease,) = (await house.sync("national")).json()["leases"]
    node = lease["nodes"][0]["node"]
    waits = gpus(remap_pending=True)
    await send(house, report(node=node, sequence=2, gpus=waits, simulated=True))
    assert not (await node_of(house, node))["usable"]
    (lease,) = (await house.sync("national", sequence=2)).json()["leases"]
    assert lease["wanted"] == "run"
    assert [event for event, _ in await events(house)] == ["cordoned"]


async def test_a_gpu_that_others_use_is_told_to_whoever_has_its_lease_and_once(house):
    job, _ = await house.running("dana", gpus_per_node=8)
    (lease,) = (await house.sync("national")).json()["leases"]
    node = lease["nodes"][0]["node"]
    foreign = [{"gpu": 3, "run": "cp-other-1", "processes": 2}]
    for number in (2, 3):
        await send(house, report(node=node, sequence=number, foreign=foreign, simulated=True))
        house.hub.fleet.doubt(node)
    said = "GPU 3 is used by 2 processes of run cp-other-1, which has no lease there"
    assert await events(house) == [("foreign_use", said)]
    told = (await house.call("dana", "GET", f"/v1/jobs/{job['id']}/explanation")).json()
    assert [e["sentence"] for e in told["history"] if e["event"] == "foreign_use"] == [
        f"node {node}: {said}"
    ]
    assert (await node_of(house, node))["usable"]
