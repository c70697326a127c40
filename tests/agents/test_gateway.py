"""The gateway: what it takes, what it delivers, and what it does while the hub is away."""

import asyncio
from datetime import timedelta

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from typer.testing import CliRunner

from agents.hub import HubAway, HubRefused
from agents.node import main
from agents.node.gateway import Gateway
from agents.node.http_door import MOST_BYTES, Asked, Door
from agents.node.spool import Spool
from scheduler.fleet.memory import Fleet, Heard
from scheduler.wire import reports as wire
from scheduler.wire.launches import LauncherReport
from scheduler.wire.nodes import (
    LaunchOrder,
    LaunchOrders,
    NodeLease,
    NodeLeases,
    NodeRefused,
    NodeReportReply,
)
from scheduler.wire.reports import GpuReport, GpuUse, NodeReport, RatioOver
from tests.build import NOON
from tests.waiting import eventually

LET_IN = {"authorization": "Bearer cp_node_secret"}


def said(number, node="n-1", boot="b"):
    return NodeReport(
        node=node,
        pool="p",
        boot_id=boot,
        sequence=number,
        sampled_at=NOON + timedelta(seconds=number),
        gpus=(GpuReport(index=0, uuid="G", model="H100"),),
        use=(GpuUse(index=0, sm_active=RatioOver(1, 1, 1)),),
    )


def asked(*reports, path="/v1/nodes/report", method="POST", headers=LET_IN):
    return Asked(method, path, headers, wire.encode(reports))


class FakeHub:
    """Takes what it is sent, after the troubles that a test gives it."""

    def __init__(self, *troubles, seconds=15.0, refuse=(), leases=(), orders=None):
        self.troubles, self.seconds, self.refuse = list(troubles), seconds, refuse
        self.leases, self.orders = leases, orders
        self.heard = []

    async def report_site(self, reports):
        return self._answer(reports)

    async def report(self, reports):
        return self._answer(reports).model_copy(update={"launches": self.orders})

    def _answer(self, reports):
        self.heard.append(tuple(reports))
        if self.troubles:
            raise self.troubles.pop(0)
        refused = tuple(NodeRefused(node=n, field="pool", detail="no") for n in self.refuse)
        return NodeReportReply(
            accepted=len(reports),
            next_report_seconds=self.seconds,
            refused=refused,
            leases=self.leases,
            leases_seconds_old=2.0,
        )


def gateway(hub, **spool):
    return Gateway(hub, lambda: "cp_node_secret", Spool(**spool))


async def test_reports_of_many_agents_go_out_in_one_message():
    hub = FakeHub()
    site = gateway(hub)
    for node in ("n-1", "n-2", "n-3"):
        answer = await site.take(asked(said(1, node)))
        assert answer.status == 200
    assert await site.deliver() == 3
    assert await site.deliver() == 0
    assert [report.node for report in hub.heard[0]] == ["n-1", "n-2", "n-3"]


async def test_while_the_hub_is_away_reports_wait_and_go_out_in_order():
    hub = FakeHub(HubAway("gone"), HubAway("gone"))
    site = gateway(hub)
    for number in (1, 2, 3):
        await site.take(asked(said(number)))
        if number < 3:
            with pytest.raises(HubAway):
                await site.deliver()
    await site.deliver_all()
    assert [report.sequence for report in hub.heard[-1]] == [1, 2, 3]


async def test_an_hour_without_a_hub_costs_a_bounded_memory_and_the_newest_is_kept():
    site = gateway(FakeHub(), nodes=2, each=3)
    for number in range(240):
        for node in ("n-1", "n-2"):
            await site.take(asked(said(number, node)))
    assert (len(site.spool), site.spool.dropped) == (6, 2 * 237)
    assert [r.sequence for r in site.spool.batch(10) if r.node == "n-1"] == [237, 238, 239]
    full = await site.take(asked(said(1, "n-3")))
    assert full.status == 507
    assert b"as many nodes as it can hold" in full.body


async def test_the_hubs_wish_for_fewer_reports_reaches_the_agents():
    site = gateway(FakeHub(seconds=45.0))
    await site.take(asked(said(1)))
    await site.deliver()
    answer = await site.take(asked(said(2)))
    assert NodeReportReply.model_validate_json(answer.body).next_report_seconds == 45


async def test_what_the_hub_refuses_is_told_to_the_agent_that_said_it():
    site = gateway(FakeHub(refuse=("n-1",)))
    await site.take(asked(said(1)))
    await site.deliver()
    reply = NodeReportReply.model_validate_json((await site.take(asked(said(2)))).body)
    assert [(refused.node, refused.detail) for refused in reply.refused] == [("n-1", "no")]


async def test_a_list_of_leases_reaches_the_agent_at_its_next_report():
    news = NodeLeases(node="n-1", digest="ab", leases=(NodeLease(run="r", token=1, gpus=(0,)),))
    site = gateway(FakeHub(leases=(news,)))
    first = NodeReportReply.model_validate_json((await site.take(asked(said(1)))).body)
    assert (first.leases, first.leases_seconds_old) == ((), None)
    await site.deliver()
    second = NodeReportReply.model_validate_json((await site.take(asked(said(2)))).body)
    assert second.leases == (news,)
    assert second.leases_seconds_old is not None
    assert second.leases_seconds_old >= 2


def launching(number):
    return structs.replace(said(number), launcher=LauncherReport(group="cgroup"))


async def test_an_agent_that_launches_speaks_with_the_hub_itself_and_gets_its_orders():
    order = LaunchOrder(run="r", token=1, seconds=300, member=0, gpu_uuids=("G",), cpus=3)
    hub = FakeHub(orders=LaunchOrders(wanted=(order,)))
    site = gateway(hub)
    reply = NodeReportReply.model_validate_json((await site.take(asked(launching(1)))).body)
    assert reply.launches == LaunchOrders(wanted=(order,))
    assert (len(site.spool), hub.heard) == (0, [(launching(1),)])


@pytest.mark.parametrize(
    ("trouble", "status"),
    [
        pytest.param(HubAway("gone"), 503, id="the hub is away: it may be tried again"),
        pytest.param(HubRefused(409, "another agent"), 409, id="the hub says no"),
    ],
)
async def test_what_the_hub_says_to_an_agent_that_launches_is_passed_on(trouble, status):
    site = gateway(FakeHub(trouble))
    answer = await site.take(asked(launching(1)))
    assert (answer.status, len(site.spool)) == (status, 0)
    assert b"detail" in answer.body


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        pytest.param(asked(said(1), headers={}), 401, id="no token"),
        pytest.param(asked(said(1), headers={"authorization": "Bearer x"}), 401, id="another's"),
        pytest.param(asked(said(1), path="/v1/jobs"), 404, id="another path"),
        pytest.param(asked(said(1), method="GET"), 405, id="another method"),
        pytest.param(Asked("POST", "/v1/nodes/report", LET_IN, b"{"), 422, id="torn"),
        pytest.param(Asked("POST", "/v1/nodes/report", LET_IN, b"{}"), 422, id="no reports"),
    ],
)
async def test_what_is_no_report_of_this_site_is_refused_with_its_reason(request_, status):
    site = gateway(FakeHub())
    answer = await site.take(request_)
    assert (answer.status, len(site.spool)) == (status, 0)
    assert b"detail" in answer.body


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("say"), st.integers(0, 3)),
            st.sampled_from([("answer", 0), ("lose", 0), ("away", 0)]),
        ),
        max_size=40,
    )
)
def test_nothing_is_counted_twice_whatever_is_lost_on_the_way(steps):
    """`lose`: the hub counted a batch, and its answer did not arrive: the batch goes again."""
    fleet, spool, number = Fleet(60), Spool(each=5), 0
    delivered = set()
    for step, repeat in steps:
        if step == "say":
            number += 1
            for _ in range(1 + repeat):
                spool.offer(said(number))
            continue
        batch = spool.batch(3)
        if step == "away":
            continue
        for report in batch:
            if fleet.hear(report, NOON.timestamp()) is Heard.NEWS:
                fleet.stored(report, NOON.timestamp())
            delivered.add(report.sequence)
        if step == "answer":
            spool.delivered(batch)
    assert sum(r.reports for r in fleet.rolled_up("n-1")) == len(delivered)


async def test_a_refused_batch_stays_and_is_tried_again_later():
    hub = FakeHub(HubRefused(403, "another token"))
    site = gateway(hub)
    await site.take(asked(said(1)))
    with pytest.raises(HubRefused):
        await site.deliver()
    assert await site.deliver() == 1


@pytest.fixture
async def door():
    site = gateway(FakeHub())
    opened = Door(site.take)
    port = await opened.listen("127.0.0.1", 0)
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}", headers=LET_IN, trust_env=False
    ) as http:
        yield site, http, port
    await opened.close()


async def test_agents_speak_to_it_as_to_a_hub_over_one_connection(door):
    site, http, _ = door
    for number in (1, 2, 3):
        answer = await http.post("/v1/nodes/report", content=wire.encode([said(number)]))
        assert answer.json()["accepted"] == 1
    assert len(site.spool) == 3


async def test_a_body_that_is_too_large_is_refused_and_the_next_is_taken(door):
    _, http, _ = door
    answer = await http.post("/v1/nodes/report", content=b" " * (MOST_BYTES + 1))
    assert answer.status_code == 413
    good = await http.post("/v1/nodes/report", content=wire.encode([said(1)]))
    assert good.status_code == 200


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01 not http\r\n\r\n", b"POST /v1"])
async def test_what_is_not_http_harms_nobody(door, sent):
    _, http, port = door
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    writer.write_eof()
    await reader.read()
    writer.close()
    good = await http.post("/v1/nodes/report", content=wire.encode([said(1)]))
    assert good.status_code == 200


async def test_it_delivers_again_and_again_until_it_is_told_to_end(monkeypatch):
    monkeypatch.setattr("agents.node.gateway._EVERY_SECONDS", 0.01)
    hub = FakeHub(HubAway("gone"))
    monkeypatch.setattr("agents.node.gateway._FIRST_PAUSE", 0.01)
    site = gateway(hub)
    await site.take(asked(said(1)))
    delivering = asyncio.create_task(site.deliver_forever())
    await eventually(lambda: len(site.spool) == 0)
    delivering.cancel()
    await asyncio.wait({delivering})
    assert len(hub.heard) == 2


@pytest.mark.parametrize("address", ["8270", "host:port", "http://x:1"])
def test_an_address_that_cannot_be_is_one_line(tmp_path, address):
    token = tmp_path / "token"
    token.write_text("cp_node_x")
    options = ["--gateway", address, "--hub", "http://127.0.0.1:1", "--token-file", str(token)]
    said_ = CliRunner().invoke(main.app, options)
    assert said_.exit_code == 2
    assert "gateway" in said_.output
    assert len(said_.output.strip().splitlines()) == 1
