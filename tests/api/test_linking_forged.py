"""What comes back to link is of the session that asked, once, or links nothing."""

from datetime import timedelta

import pytest

from scheduler.api.cookies import COOKIE
from scheduler.api.leaving import SIGN_IN_COOKIE
from scheduler.identity.desk import CALLBACK
from tests.api.linking import (
    LINKING,
    asked_of,
    audited,
    gov,
    just_now,
    known,
    leave_to_link,
    signed_in,
    town,
    uni,
)
from tests.api.signing_in import fields, with_desk

__all__ = ["gov", "town", "uni"]


async def test_a_state_is_taken_once(town, uni, gov):
    browser = await signed_in(town, uni)
    asked = await asked_of(await leave_to_link(browser, gov), gov)
    just_now(town, gov)
    kept = browser.cookies[SIGN_IN_COOKIE]
    come = {"code": "c", "state": asked["state"]}
    assert (await browser.get(CALLBACK, params=come)).status_code == 303
    await browser.ask("DELETE", "/v1/identities/alex/gov", headers=browser.csrf)
    again = await browser.get(CALLBACK, params=come)
    assert again.status_code == 400, "the cookie is gone"
    browser.cookies[SIGN_IN_COOKIE] = kept
    again = await browser.get(CALLBACK, params=come)
    assert again.status_code == 400, "with the cookie brought back too"
    assert "Sign-in not begun here" in again.text
    assert await known(browser) == ["state-u"]


async def test_a_state_is_of_the_session_that_asked(town, uni, gov):
    """Somebody gives another person their link to finish: cookie, address and all."""
    thief = await signed_in(town, uni)
    asked = await asked_of(await leave_to_link(thief, gov), gov)
    just_now(town, gov)
    uni.claims = {"sub": "p1", "uid": "pat", "org": "SU"}
    victim = await signed_in(town, uni)
    victim.cookies[SIGN_IN_COOKIE] = thief.cookies[SIGN_IN_COOKIE]
    answer = await victim.get(CALLBACK, params={"code": "c", "state": asked["state"]})
    assert answer.status_code == 403
    assert "the session is over" in answer.text
    assert await known(victim) == ["state-u"]
    assert await known(thief) == ["state-u"]


async def test_a_later_link_of_a_session_takes_the_place_of_an_earlier_one(town, uni, gov):
    browser = await signed_in(town, uni)
    first = await asked_of(await leave_to_link(browser, gov), gov)
    kept = browser.cookies[SIGN_IN_COOKIE]
    await asked_of(await leave_to_link(browser, gov), gov)
    browser.cookies[SIGN_IN_COOKIE] = kept
    just_now(town, gov)
    answer = await browser.get(CALLBACK, params={"code": "c", "state": first["state"]})
    assert answer.status_code == 400


@pytest.mark.parametrize("how", ["signed out here", "ended elsewhere", "idle", "no session"])
async def test_nothing_is_linked_once_the_session_is_over(town, uni, gov, how, clock):
    browser = await signed_in(town, uni)
    name = (await browser.get("/v1/session")).json()["id"]
    asked = await asked_of(await leave_to_link(browser, gov), gov)
    if how == "signed out here":
        await browser.ask("DELETE", "/v1/session", headers=browser.csrf)
    elif how == "ended elsewhere":
        await town.call("admin", "DELETE", f"/v1/sessions/{name}")
    elif how == "idle":
        with_desk(town, uni, gov, linking=LINKING, sessions={"idle": "3m", "operator_idle": "3m"})
        clock.forward(timedelta(minutes=4))
    else:
        browser.cookies.pop(COOKIE)
    just_now(town, gov)
    answer = await browser.get(CALLBACK, params={"code": "c", "state": asked["state"]})
    assert answer.status_code in {400, 403}
    assert [row["actor"] for row in await audited(town, "identity.link")] == ["alex"]


async def test_a_session_that_another_hub_ended_this_moment_links_nothing(town, uni, gov):
    """What this hub keeps of sessions may be three seconds old; the database is asked."""
    browser = await signed_in(town, uni)
    name = (await browser.get("/v1/session")).json()["id"]
    asked = await asked_of(await leave_to_link(browser, gov), gov)
    kept = town.hub.callers.forget_all
    object.__setattr__(town.hub.callers, "forget_all", lambda: None)
    await town.call("admin", "DELETE", f"/v1/sessions/{name}")
    object.__setattr__(town.hub.callers, "forget_all", kept)
    just_now(town, gov)
    answer = await browser.get(CALLBACK, params={"code": "c", "state": asked["state"]})
    assert answer.status_code == 403
    assert len(await audited(town, "identity.link")) == 1


@pytest.mark.parametrize(
    ("headers", "form", "status"),
    [
        pytest.param({"Origin": "https://evil.example"}, {}, 403, id="a foreign page"),
        pytest.param({"Origin": "null"}, {}, 403, id="a page without an origin"),
        pytest.param({}, {"csrf": "x"}, 400, id="a wrong word"),
        pytest.param({}, {"csrf": ""}, 400, id="no word"),
        pytest.param({}, {"issuer": "evil"}, 403, id="an unknown issuer"),
        pytest.param({}, {"issuer": "state-u"}, 403, id="the issuer of the session"),
        pytest.param({}, {"issuer": "development"}, 403, id="an issuer that is not named"),
    ],
)
async def test_a_link_is_asked_for_on_our_own_page_only(town, uni, headers, form, status):
    browser = await signed_in(town, uni)
    page = fields((await browser.get("/auth/link")).text)
    sent = page | {"issuer": "gov"} | form
    answer = await browser.post("/auth/link", data=sent, headers=headers)
    assert answer.status_code == status, answer.text
    assert SIGN_IN_COOKIE not in browser.cookies


async def test_a_sealed_value_that_is_not_ours_or_for_something_else_links_nothing(town, uni, gov):
    browser = await signed_in(town, uni)
    asked = await asked_of(await leave_to_link(browser, gov), gov)
    sealed = browser.cookies[SIGN_IN_COOKIE]
    body, _, tag = sealed.partition(".")
    other = town.hub.desk.sealer.seal(
        "institution", {"state": asked["state"]}, town.clock.now(), timedelta(minutes=5)
    )
    for forged in (f"{body}.{'0' * len(tag)}", f"{body[:-4]}AAAA.{tag}", other, ""):
        browser.cookies[SIGN_IN_COOKIE] = forged
        answer = await browser.get(CALLBACK, params={"code": "c", "state": asked["state"]})
        assert answer.status_code == 400, forged


async def test_a_sign_in_is_no_link_and_a_link_no_sign_in(town, uni, gov):
    """A state that left for the one must not come back as the other."""
    browser = await signed_in(town, uni)
    before = browser.secret
    asked = await asked_of(await leave_to_link(browser, gov), gov)
    browser.cookies.pop(COOKIE)
    just_now(town, gov)
    await browser.get(CALLBACK, params={"code": "c", "state": asked["state"]})
    assert COOKIE not in browser.cookies
    browser.cookies[COOKIE] = before
    gov.claims["email"] = "dana"
    page = await browser.get("/auth/start?again=1")
    form = fields(page.text) | {"issuer": "gov"}
    back = await asked_of(await browser.post("/auth/start", data=form), gov)
    await browser.get(CALLBACK, params={"code": "c", "state": back["state"]})
    assert (await browser.get("/v1/session")).json()["user"] == "dana"
    assert await known(browser) == ["gov"]
