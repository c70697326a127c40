"""An identity that is unlinked or forgotten, and what ends with it."""

from tests.api.linking import (
    LINKING,
    audited,
    gov,
    just_now,
    known,
    link,
    signed_in,
    town,
    uni,
)
from tests.api.signing_in import Browser, with_desk

__all__ = ["gov", "town", "uni"]


async def test_unlinking_ends_what_that_identity_began_and_nothing_else(town, uni, gov):
    browser = await signed_in(town, uni)
    await link(town, browser, gov)
    other = await signed_in(town, gov)
    tokens = {}
    for name, one in (("uni", browser), ("gov", other)):
        made = await one.post(
            "/v1/personal-tokens", json={"name": name, "powers": ["read"]}, headers=one.csrf
        )
        tokens[name] = {"Authorization": f"Bearer {made.json()['token']}"}
    gone = await browser.ask("DELETE", "/v1/identities/alex/gov", headers=browser.csrf)
    assert gone.status_code == 204
    assert (await other.get("/v1/me")).status_code == 401
    assert (await browser.get("/v1/me")).status_code == 200
    assert (await town.http.get("/v1/me", headers=tokens["gov"])).status_code == 401
    assert (await town.http.get("/v1/me", headers=tokens["uni"])).status_code == 200
    (row,) = await audited(town, "identity.unlink")
    assert (row["after"]["sessions_ended"], row["after"]["tokens_revoked"]) == (1, 1)
    just_now(town, gov)
    back = await Browser(town).come_back(gov)
    assert back.status_code == 403, "and signs nobody in any more"


async def test_the_last_identity_is_not_unlinked(town, uni, gov):
    browser = await signed_in(town, uni)
    path = "/v1/identities/alex/state-u"
    refused = await browser.ask("DELETE", path, headers=browser.csrf)
    assert (refused.status_code, refused.json()["title"]) == (409, "It is the last one")
    await link(town, browser, gov)
    with_desk(town, uni, linking=None)  # the government's is taken no more
    browser = await signed_in(town, uni)
    refused = await browser.ask("DELETE", path, headers=browser.csrf)
    assert refused.status_code == 409, "one that signs nobody in is none"
    with_desk(town, uni, gov, linking=LINKING)
    assert (await browser.ask("DELETE", path, headers=browser.csrf)).status_code == 204
    assert (await browser.get("/v1/me")).status_code == 401, "it was the one of this session"
    other = await signed_in(town, gov)
    assert await known(other) == ["gov"]


async def test_others_identities_are_for_operators(town, uni, gov):
    browser = await signed_in(town, uni)
    await link(town, browser, gov)
    for who, status in (("dana", 404), ("lee", 404), ("audra", 404), ("admin", 200)):
        answer = await town.call(who, "GET", "/v1/identities?user=alex")
        assert answer.status_code == status, who
    for who, status in (("dana", 404), ("audra", 404), ("admin", 204)):
        answer = await town.call(who, "DELETE", "/v1/identities/alex/gov")
        assert answer.status_code == status, who
    (row,) = await audited(town, "identity.unlink")
    assert (row["actor"], row["on_behalf_of"]) == ("admin", "alex")
    assert (await town.call("admin", "DELETE", "/v1/identities/alex/gov")).status_code == 404


async def test_forgetting_a_user_ends_their_tokens_too(town, uni):
    browser = await signed_in(town, uni)
    made = await browser.post("/v1/personal-tokens", json={"name": "t"}, headers=browser.csrf)
    await town.call("admin", "DELETE", "/v1/identities/alex")
    headers = {"Authorization": f"Bearer {made.json()['token']}"}
    assert (await town.http.get("/v1/me", headers=headers)).status_code == 401
