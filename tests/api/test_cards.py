"""The door for cards: believed is only the proxy, only a verified certificate, only in time."""

from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from scheduler.api.cookies import COOKIE
from tests.api.signing_in import PUBLIC, Browser, with_desk

DOOR = "https://cac.test/auth/cac"
CARD = {
    "url": DOOR,
    "proxy_secret": {"env": "UNUSED_HERE"},
    "people": {"1234567890": "dana", "1111111111": "alex"},
    "subjects": ["OU=ARL,O=U.S. Government,C=US"],
    "speaks_for": ["arl"],
    "sector": {"value": "dod"},
    "institution": {"value": "arl"},
}
PROXY = {
    "X-CP-Proxy-Secret": "proxy-secret",
    "X-CP-Client-Verify": "SUCCESS",
    "X-CP-EDIPI": "1234567890",
    "X-CP-Client-DN": "CN=LEE.DANA.M.1234567890,OU=ARL,O=U.S. Government,C=US",
}


@pytest.fixture
def browser(small):
    with_desk(small, card=CARD)
    return Browser(small)


async def state_of(browser):
    left = await browser.leave("cac")
    assert left.headers["location"].startswith(f"{DOOR}?state=")
    return parse_qs(urlsplit(left.headers["location"]).query)["state"][0]


async def at_the_door(browser, state, **headers):
    """Ask the hub as the proxy does; the browser's cookies are of another host."""
    sent = {n: v for n, v in (PROXY | headers).items() if v is not None}
    return await browser.http.get("/auth/cac", params={"state": state}, headers=sent)


async def test_a_card_signs_its_owner_in(browser):
    back = await at_the_door(browser, await state_of(browser))
    assert back.status_code == 303
    assert back.headers["location"].startswith(f"{PUBLIC}/auth/callback?ticket=")
    answer = await browser.get(back.headers["location"])
    assert (answer.status_code, answer.headers["location"]) == (303, "/jobs")
    me = (await browser.get("/v1/session")).json()
    assert (me["user"], me["issuer"], me["assurance"]) == ("dana", "cac", "card")


async def test_the_page_offers_the_card(browser):
    page = await browser.get("/auth/start")
    assert "CAC or PIV card" in page.text
    assert "form-action 'self' https://cac.test" in page.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        pytest.param({"X-CP-Proxy-Secret": None}, "through the card proxy only", id="no secret"),
        pytest.param({"X-CP-Proxy-Secret": "guess"}, "through the card proxy only", id="wrong"),
        pytest.param({"X-CP-Proxy-Secret": ""}, "through the card proxy only", id="empty"),
        pytest.param({"X-CP-Client-Verify": "NONE"}, "could not verify", id="no certificate"),
        pytest.param({"X-CP-Client-Verify": "FAILED:expired"}, "FAILED:expired", id="expired"),
        pytest.param({"X-CP-Client-Verify": None}, "could not verify", id="no word on it"),
        pytest.param({"X-CP-EDIPI": "123"}, "names no EDIPI", id="too short"),
        pytest.param({"X-CP-EDIPI": "١٢٣٤٥٦٧٨٩٠".encode()}, "names no EDIPI", id="other digits"),
        pytest.param(
            {"X-CP-Client-DN": "CN=X.1234567890,OU=EVIL,O=U.S. Government,C=US"},
            "are not taken here",
            id="another unit",
        ),
        pytest.param(
            {"X-CP-Client-DN": "CN=X\\,OU=ARL,O=U.S. Government,C=US"},
            "are not taken here",
            id="an end that is part of a name",
        ),
    ],
)
async def test_what_the_proxy_did_not_vouch_for_is_refused(browser, headers, said):
    answer = await at_the_door(browser, await state_of(browser), **headers)
    assert answer.status_code == 403
    assert said in answer.text


async def test_forged_headers_from_elsewhere_open_no_door(small):
    """Neither at the callback nor at any path of the API is a card's header believed."""
    with_desk(small, card=CARD)
    forged = PROXY | {"X-CP-Proxy-Secret": "guess"}
    assert (await small.http.get("/v1/me", headers=PROXY)).status_code == 401
    assert (await small.http.get("/auth/callback?ticket=x", headers=forged)).status_code == 400


async def test_a_ticket_is_for_the_browser_that_left_and_for_a_minute(browser, small, clock):
    back = (await at_the_door(browser, await state_of(browser))).headers["location"]
    thief = Browser(small)
    assert "begun in another browser" in (await thief.get(back)).text
    await state_of(thief)  # who has begun a sign-in of their own
    assert (await thief.get(back)).status_code == 400
    clock.forward(timedelta(minutes=1))
    assert "came too late" in (await browser.get(back)).text
    assert COOKIE not in browser.cookies


async def test_a_ticket_is_not_put_into_another_sign_in(browser, small):
    ticket = parse_qs(
        urlsplit((await at_the_door(browser, await state_of(browser))).headers["location"]).query
    )["ticket"][0]
    victim = Browser(small)
    state = await state_of(victim)
    answer = await victim.get("/auth/callback", params={"ticket": ticket, "state": state})
    assert answer.status_code == 403
    assert COOKIE not in victim.cookies


@pytest.mark.parametrize(
    ("edipi", "said"),
    [
        pytest.param("0000000001", "who you are", id="nobody's"),
        pytest.param("1111111111", "this issuer does not speak", id="of an academic"),
    ],
)
async def test_a_card_of_somebody_else_is_told_so(browser, edipi, said):
    back = await at_the_door(browser, await state_of(browser), **{"X-CP-EDIPI": edipi})
    answer = await browser.get(back.headers["location"])
    assert answer.status_code == 403
    assert said in answer.text


async def test_a_hub_without_a_card_door_has_none(small):
    with_desk(small)
    answer = await small.http.get("/auth/cac", params={"state": "f" * 64}, headers=PROXY)
    assert answer.status_code == 403
