"""The way to the hub: which answers mean «try again», which «someone must look»."""

import json
from contextlib import aclosing

import httpx
import pytest

from agents.config import TokenUnreadable
from agents.hub import HttpHub, HubAway, HubRefused, LogGap
from scheduler.wire.sites import SiteOrders, SiteSync
from tests.agents.fake_hub import NOW

MESSAGE = SiteSync(instance="i1", sequence=0)
ORDERS = SiteOrders(revision="r", leases=(), server_time=NOW())


@pytest.fixture
def token(tmp_path):
    file = tmp_path / "token"
    file.write_text("cp_site_secret\n")
    return file


def hub_that(answer, token) -> HttpHub:
    """A hub whose answers are made by `answer(request)`, without a network."""
    hub = HttpHub("http://127.0.0.1:1", token)
    hub._http = httpx.AsyncClient(  # noqa: SLF001  # the one seam to the network
        base_url="http://127.0.0.1:1", transport=httpx.MockTransport(answer)
    )
    return hub


def saying(status: int, body: object = None):
    return lambda _: httpx.Response(status, json=body or {})


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 507])
async def test_a_hub_in_trouble_is_away(status, token):
    with pytest.raises(HubAway):
        await hub_that(saying(status), token).sync("here", MESSAGE)


@pytest.mark.parametrize(
    "error",
    [httpx.ConnectError("refused"), httpx.ReadTimeout(""), httpx.RemoteProtocolError("cut")],
)
async def test_a_broken_connection_is_away(error, token):
    def broken(_):
        raise error

    hub = hub_that(broken, token)
    with pytest.raises(HubAway, match=type(error).__name__):
        await hub.sync("here", MESSAGE)
    with pytest.raises(HubAway):
        async with aclosing(hub.package("here", "0" * 64)) as pieces:
            await anext(pieces)


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 409, 413, 422])
async def test_a_refusal_says_why(status, token):
    body = {"detail": "This token speaks for site x.", "next_step": "Use another."}
    with pytest.raises(HubRefused, match=f"{status}: This token speaks.*; Use another."):
        await hub_that(saying(status, body), token).sync("here", MESSAGE)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"revision": 1}', b"\xff"])
async def test_an_answer_that_is_none_is_refused_not_crashed_on(body, token):
    with pytest.raises(HubRefused):
        await hub_that(lambda _: httpx.Response(200, content=body), token).sync("here", MESSAGE)


async def test_the_token_is_read_anew_each_time_and_missing_it_is_said(token):
    seen = []

    def answer(request):
        seen.append(request.headers["Authorization"])
        return httpx.Response(200, content=ORDERS.model_dump_json())

    hub = hub_that(answer, token)
    assert await hub.sync("here", MESSAGE) == ORDERS
    token.write_text("cp_site_other")
    await hub.sync("here", MESSAGE)
    assert seen == ["Bearer cp_site_secret", "Bearer cp_site_other"]
    token.write_text(" \n")
    with pytest.raises(TokenUnreadable, match="is empty"):
        await hub.sync("here", MESSAGE)
    token.unlink()
    with pytest.raises(TokenUnreadable, match="No such file"):
        await hub.sync("here", MESSAGE)


@pytest.mark.parametrize(
    "problem", [{"next_offset": 7}, {"limit": "7"}, {"next_offset": 7, "limit": "9"}]
)
async def test_a_gap_in_a_log_says_where_to_go_on(problem, token):
    with pytest.raises(LogGap) as gap:
        await hub_that(saying(409, problem), token).append_log("here", "cp-j1-1", 9, b"x")
    assert gap.value.next_offset == 7


async def test_a_piece_of_log_goes_out_as_it_is(token):
    def answer(request):
        assert request.url.path == "/v1/sites/here/runs/cp-j1-1/log"
        assert (request.url.params["offset"], request.content) == ("3", b"\x00\xff")
        return httpx.Response(200, content=json.dumps({"next_offset": 5}))

    assert await hub_that(answer, token).append_log("here", "cp-j1-1", 3, b"\x00\xff") == 5


async def test_a_package_that_is_not_given_is_refused(token):
    hub = hub_that(saying(404, {"detail": "no such package"}), token)
    with pytest.raises(HubRefused, match="no such package"):
        async with aclosing(hub.package("here", "0" * 64)) as pieces:
            await anext(pieces)
