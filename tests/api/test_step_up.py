"""Decisions ask for a recent or strong sign-in where the identity file says so."""

from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.api.signing_in import Browser, FakeIssuer, fields, signed_in, with_desk
from tests.api.test_requests import ask, budget, decide

PAT = {"sub": "p1", "uid": "pat", "org": "SU"}


async def word(browser, request, reason="as planned"):
    message = {"approve": True, "digest": request["digest"], "reason": reason}
    path = f"/v1/requests/{request['id']}/decide"
    return await browser.post(path, json=message, headers=browser.csrf)


async def again(browser, issuer="state-u", then="/request?id=r1"):
    """Go to the issuer to sign in once more; return what it is asked."""
    page = await browser.get("/auth/start", params={"next": then, "again": "1"})
    assert page.status_code == 200, "a session that is alive does not skip it"
    left = await browser.post("/auth/start", data=fields(page.text) | {"issuer": issuer})
    return parse_qs(urlsplit(left.headers["location"]).query)


async def test_a_decision_long_after_the_sign_in_asks_for_another_and_then_counts(small):
    with_desk(small, step_up={"within": "10m"})
    asked = await ask(small, "dana", budget())
    lee = await signed_in(small, "lee")
    small.clock.forward(timedelta(minutes=11))
    refused = await word(lee, asked)
    assert refused.status_code == 403
    assert refused.json()["field"] == "sign-in"
    assert refused.json()["limit"] == "a sign-in at most 10 minutes old"
    assert "11 minutes ago" in refused.json()["detail"]
    page = await lee.get("/auth/start", params={"next": "/request?id=r", "again": "1"})
    left = await lee.post("/auth/start", data=fields(page.text) | {"issuer": "development"})
    chosen = await lee.post(left.headers["location"], data={"user": "lee"})
    back = await lee.get(chosen.headers["location"])
    assert back.headers["location"] == "/request?id=r"
    assert (await word(lee, asked)).json()["state"] == "applied"


async def test_the_issuers_word_counts_and_not_when_the_browser_came_back(small):
    issuer = FakeIssuer(claims=PAT)
    with_desk(small, issuer, step_up={"within": "10m"})
    asked = await ask(small, "alex", budget(account="state-u"))
    old = int((small.clock.now() - timedelta(hours=1)).timestamp())
    for auth_time in (old, None):
        browser, issuer.override = Browser(small), {"auth_time": auth_time}
        await browser.come_back(issuer)
        assert (await word(browser, asked)).status_code == 403, auth_time
    browser, issuer.override = Browser(small), {"auth_time": int(small.clock.now().timestamp())}
    await browser.come_back(issuer)
    assert (await word(browser, asked)).json()["state"] == "applied"


async def test_a_second_factor_is_asked_for_by_its_words(small):
    issuer = FakeIssuer(claims=PAT)
    with_desk(small, issuer, step_up={"assurance": ["mfa", "urn:strong"]})
    asked = await ask(small, "alex", budget(account="state-u"))
    browser = Browser(small)
    issuer.override = {"amr": ["pwd"]}
    await browser.come_back(issuer)
    refused = await word(browser, asked)
    assert refused.json()["limit"] == "recognised by mfa or urn:strong"
    wanted = await again(browser)
    assert wanted["acr_values"] == ["mfa urn:strong"]
    assert wanted["max_age"] == ["0"], "a provider that knows somebody would ask for nothing"
    issuer.override = {"amr": ["pwd", "mfa"]}
    browser = Browser(small)
    await browser.come_back(issuer)
    assert (await word(browser, asked)).json()["state"] == "applied"


@pytest.mark.parametrize(("anew", "age"), [(True, "0"), (False, "43200")])
async def test_the_issuer_is_asked_how_old_the_sign_in_is(small, anew, age):
    with_desk(small, FakeIssuer(), step_up={"within": "10m"})
    browser = Browser(small)
    if anew:
        wanted = await again(browser)
    else:
        left = await browser.leave("state-u")
        wanted = parse_qs(urlsplit(left.headers["location"]).query)
    assert wanted["max_age"] == [age]


async def test_a_token_is_no_sign_in_and_reading_asks_for_none(small):
    with_desk(small, step_up={"within": "10m"})
    asked = await ask(small, "dana", budget())
    refused = await decide(small, "lee", asked)
    assert (refused.status_code, refused.json()["field"]) == (403, "sign-in")
    assert (await small.call("lee", "GET", f"/v1/requests/{asked['id']}")).status_code == 200


async def test_another_policy_is_proposed_after_a_recent_sign_in_only(small):
    with_desk(small, step_up={"within": "10m"})
    text = (await small.call("dana", "GET", "/v1/policy")).text
    change = {"kind": "policy", "base_revision": 1, "document": text.replace("cap: 8", "cap: 6")}
    message = {"change": change, "reason": "less"}
    lee = await signed_in(small, "lee")
    assert (await lee.post("/v1/requests", json=message, headers=lee.csrf)).status_code == 201
    small.clock.forward(timedelta(minutes=11))
    late = await lee.post("/v1/requests", json=message, headers=lee.csrf)
    assert (late.status_code, late.json()["field"]) == (403, "sign-in")
