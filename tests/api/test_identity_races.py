"""Two of one person's sign-ins, links and unlinks at one moment: one after the other, or refused.

On both databases: SQLite's writers are alone, PostgreSQL's have to be made so.
"""

import asyncio
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import pytest

from scheduler.api import arrivals
from scheduler.db.identities import identities_of
from scheduler.db.policies import save_policy
from scheduler.identity.desk import CALLBACK
from tests.api.linking import GOV, LINKING, gov, just_now, known, link, linking, signed_in, uni
from tests.api.signing_in import Browser, with_desk
from tests.api.test_institutions import FOR, TWO

__all__ = ["gov", "uni"]
FOR_BOTH = {said: name for name, said in FOR.items()}


async def about_to_come_back(house, issuer):
    """Return somebody's browser, and the query with which the issuer sends it back."""
    just_now(house, issuer)
    browser = Browser(house)
    left = await browser.leave(issuer.name)
    asked = parse_qs(urlsplit(left.headers["location"]).query)
    issuer.nonce = asked["nonce"][0]
    return browser, {"code": "c", "state": asked["state"][0]}


@pytest.fixture
def met(monkeypatch):
    """Have two sign-ins wait for each other after they were looked at, before they are stored."""
    both, stored = asyncio.Barrier(2), arrivals.begin_session

    async def together(*words):
        await both.wait()
        return await stored(*words)

    monkeypatch.setattr(arrivals, "begin_session", together)


@pytest.mark.usefixtures("met")
async def test_of_two_first_sign_ins_by_one_name_at_two_issuers_one_is_believed(house, uni, gov):
    town = await linking(house, uni, gov)
    gov.claims["email"] = "alex"
    ways = [await about_to_come_back(town, issuer) for issuer in (uni, gov)]
    answers = await asyncio.gather(
        *(browser.get(CALLBACK, params=query) for browser, query in ways)
    )
    assert sorted(answer.status_code for answer in answers) == [303, 403]
    (refused,) = (answer for answer in answers if answer.status_code == 403)
    assert "does not take the same name" in refused.text
    async with town.hub.db.reading() as conn:
        assert len(await identities_of(conn, "alex")) == 1


@pytest.mark.usefixtures("met")
async def test_one_person_in_two_windows_is_signed_in_twice(house, uni, gov):
    town = await linking(house, uni, gov)
    first, query = await about_to_come_back(town, uni)
    nonce = uni.nonce
    second, other = await about_to_come_back(town, uni)
    given = iter([nonce, uni.nonce])
    tokens = uni.tokens

    def in_turn():
        uni.nonce = next(given)
        return tokens()

    uni.tokens = in_turn
    answers = await asyncio.gather(
        first.get(CALLBACK, params=query), second.get(CALLBACK, params=other)
    )
    assert [answer.status_code for answer in answers] == [303, 303]
    assert [(await one.get("/v1/me")).status_code for one in (first, second)] == [200, 200]


@pytest.fixture
def meanwhile(monkeypatch):
    """Have something done after a sign-in was looked at, and before it is stored."""
    stored = arrivals.begin_session

    def of(does):
        async def first(*words):
            await does()
            return await stored(*words)

        monkeypatch.setattr(arrivals, "begin_session", first)

    return of


async def test_an_identity_that_is_unlinked_meanwhile_signs_nobody_in(house, uni, gov, meanwhile):
    """What its claims say is another name: that it was alex was a link, which is gone."""
    town = await linking(house, uni, gov)
    browser = await signed_in(town, uni)
    await link(town, browser, gov)

    async def unlink():
        gone = await browser.ask("DELETE", "/v1/identities/alex/gov", headers=browser.csrf)
        assert gone.status_code == 204

    meanwhile(unlink)
    late, query = await about_to_come_back(town, gov)
    answer = await late.get(CALLBACK, params=query)
    assert answer.status_code in {400, 403}
    assert await known(browser) == ["state-u"]


async def test_a_choice_that_was_offered_before_the_identity_was_forgotten_signs_nobody_in(
    house, uni, gov
):
    """The question which institution it is for lasts minutes: the link behind it may not."""
    uni.claims |= {"uid": "pat"}
    gov.fields = GOV | {
        "speaks_for": ["state-u", "acme"],
        "sector": {"value": "academic"},
        "institution": {"claim": "org", "values": FOR_BOTH},
    }
    gov.claims |= {"org": list(FOR_BOTH)}
    with_desk(house, uni, gov, linking=LINKING, several_institutions="choose")
    async with house.hub.db.transaction() as conn:
        await save_policy(conn, TWO, house.clock.now(), "admin")
    await link(house, await signed_in(house, uni), gov)
    browser, query = await about_to_come_back(house, gov)
    page = await browser.get(CALLBACK, params=query)
    assert "For which institution?" in page.text
    assert (await house.call("admin", "DELETE", "/v1/identities/pat")).status_code == 204
    answer = await browser.post("/auth/institution", data={"institution": "acme"})
    assert answer.status_code in {400, 403}
    async with house.hub.db.reading() as conn:
        assert await identities_of(conn, "pat") == []


async def test_of_two_unlinks_at_once_one_leaves_the_last_identity(house, uni, gov, monkeypatch):
    town = await linking(house, uni, gov)
    browser = await signed_in(town, uni)
    await link(town, browser, gov)
    other = await signed_in(town, gov)
    paused(monkeypatch, town, 2)
    answers = await asyncio.gather(
        browser.ask("DELETE", "/v1/identities/alex/gov", headers=browser.csrf),
        other.ask("DELETE", "/v1/identities/alex/state-u", headers=other.csrf),
    )
    assert sorted(answer.status_code for answer in answers) in ([204, 409], [204, 401])
    with_desk(town, uni, gov, linking=LINKING)
    async with town.hub.db.reading() as conn:
        assert len(await identities_of(conn, "alex")) == 1


def paused(monkeypatch, house, writers):
    """Have so many writing transactions be open before any of them goes on, where that can be."""
    database = house.hub.db
    if database.dialect == "sqlite":
        return
    begun, transaction = asyncio.Barrier(writers), database.transaction

    @asynccontextmanager
    async def together():
        async with transaction() as conn:
            await begun.wait()
            yield conn

    monkeypatch.setattr(database, "transaction", together)
