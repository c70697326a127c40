"""Hubs are upgraded first: replies may have more than an agent knows, requests may not."""

import json

import httpx
import pytest

from agents.hub import HubRefused
from agents.node.delivery import Reply
from agents.node.gateway import Gateway
from agents.node.http_door import Asked
from scheduler.wire import reports as wire
from scheduler.wire.nodes import NodeReportReply
from scheduler.wire.replies import reply_of
from scheduler.wire.sites import SiteOrders, SiteSync
from tests.agents.test_gateway import LET_IN, FakeHub, said
from tests.agents.test_hub import MESSAGE, ORDERS, hub_that, token

__all__ = ["token"]

NEWER = {"of_a_newer_hub": {"any": ["thing"]}}


def newer(value):
    """Return a message with a field that nobody knows in each of its objects."""
    if isinstance(value, dict):
        return {name: newer(item) for name, item in value.items()} | NEWER
    return [newer(item) for item in value] if isinstance(value, list) else value


REPLY = {
    "accepted": 1,
    "next_report_seconds": 15.0,
    "refused": [{"node": "n-1", "field": "pool", "detail": "no"}],
    "launches": {"wanted": [], "settled": ["r"]},
    "leases": [{"node": "n-1", "digest": "ab", "leases": [{"run": "r", "token": 1, "gpus": [0]}]}],
}


async def test_a_site_agent_reads_what_a_newer_hub_orders(token):
    body = newer(json.loads(ORDERS.model_dump_json()))
    hub = hub_that(lambda _: httpx.Response(200, json=body), token)
    assert await hub.sync("here", MESSAGE) == ORDERS


async def test_a_gateway_reads_what_a_newer_hub_answers(token):
    hub = hub_that(lambda _: httpx.Response(200, json=newer(REPLY)), token)
    found = NodeReportReply.model_validate_json(json.dumps(REPLY))
    assert await hub.report_site([said(1)]) == await hub.report([said(1)]) == found


def test_a_node_agent_reads_what_a_newer_hub_answers():
    body = newer({**REPLY, "refused": []})
    found = wire.msgspec.json.decode(json.dumps(body).encode(), type=Reply)
    assert (found.next_report_seconds, found.leases[0].node) == (15.0, "n-1")
    assert found.launches.settled == ("r",)


def test_a_reply_that_lacks_what_is_needed_is_refused_all_the_same():
    with pytest.raises(ValueError, match="server_time"):
        reply_of(SiteOrders, b'{"revision": "r", "leases": [], "new": 1}')


async def test_a_gateway_that_is_older_than_an_agent_says_what_to_upgrade():
    body = json.loads(wire.encode([said(1)]))
    body["reports"][0]["mood"] = "good"
    gateway = Gateway(FakeHub(), lambda: "cp_node_secret")
    asked = Asked("POST", "/v1/nodes/report", LET_IN, json.dumps(body).encode())
    answer = await gateway.take(asked)
    assert answer.status == 422
    detail = json.loads(answer.body)["detail"]
    assert "`mood`" in detail
    assert "upgrade the hub, then gateways, then agents" in detail


async def test_a_newer_agent_that_says_nothing_new_is_read_by_an_older_hub(token):
    told = json.loads(wire.encode([said(1)]))["reports"][0]
    assert "launcher" not in told
    assert "healthy" not in told["gpus"][0]
    asked = []

    def answer(request):
        asked.append(json.loads(request.content))
        return httpx.Response(200, content=ORDERS.model_dump_json())

    await hub_that(answer, token).sync("here", SiteSync(instance="i1", sequence=3))
    assert asked == [{"instance": "i1", "sequence": 3}]


async def test_a_refusal_tells_the_agent_what_to_upgrade(token):
    problem = {"title": "Not valid", "detail": "mood: there is no such field"}
    problem["next_step"] = "Leave it out. … upgrade the hub first."
    hub = hub_that(lambda _: httpx.Response(422, json=problem), token)
    with pytest.raises(HubRefused, match=r"mood: there is no such field; .*upgrade the hub first"):
        await hub.report([said(1)])
