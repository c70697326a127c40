"""One person, two issuers, one user: linked signed in at both, and by nothing less."""

from datetime import timedelta

import pytest

from scheduler.db.policies import save_policy
from scheduler.identity.desk import CALLBACK
from scheduler.identity.settings import IdentityFile
from tests.api.conftest import POLICY
from tests.api.linking import (
    GOV,
    LINKING,
    asked_of,
    audited,
    gov,
    just_now,
    known,
    leave_to_link,
    link,
    linking,
    signed_in,
    town,
    uni,
)
from tests.api.signing_in import STATE_U, Browser, fields, with_desk

__all__ = ["gov", "town", "uni"]


async def test_either_identity_signs_in_as_the_same_user_each_for_its_institution(house, uni, gov):
    town = await linking(house, uni, gov)
    browser = await signed_in(town, uni)
    page = await browser.get("/auth/link")
    assert "signed in as <strong>alex</strong>, by State University" in page.text
    assert "Government sign-in" in page.text
    assert 'value="state-u"' not in page.text, "known there already"
    answer = await link(town, browser, gov)
    assert (answer.status_code, answer.headers["location"]) == (303, "/account")
    me = (await browser.get("/v1/session")).json()
    assert (me["user"], me["issuer"], me["institution"]) == ("alex", "state-u", "state-u")
    other = await signed_in(town, gov)
    me = (await other.get("/v1/session")).json()
    assert (me["user"], me["issuer"], me["institution"]) == ("alex", "gov", "arl")
    assert (me["sector"], me["roles"]) == (
        "dod",
        [{"account": "arl-vision", "roles": ["researcher"]}],
    )
    assert (await other.get("/v1/me")).json()["accounts"] == ["arl-vision"]
    assert (await browser.get("/v1/me")).json()["accounts"] == ["state-u-nlp"]


async def test_both_sign_ins_are_asked_to_be_fresh_with_code_pkce_and_nonce(town, uni, gov):
    browser = await signed_in(town, uni)
    asked = await asked_of(await leave_to_link(browser, gov), gov)
    assert asked["max_age"] == "0"
    assert asked["code_challenge_method"] == "S256"
    assert len(asked["state"]) == len(asked["nonce"]) == 64


async def test_each_link_and_unlink_is_in_the_audit_log_with_before_and_after(house, uni, gov):
    town = await linking(house, uni, gov)
    browser = await signed_in(town, uni)
    (first,) = await audited(town, "identity.link")
    assert first["before"] == {"identities": []}
    await link(town, browser, gov)
    row = (await audited(town, "identity.link"))[0]
    before, after = row["before"]["identities"], row["after"]["identities"]
    assert (row["actor"], [one.partition(":")[0] for one in before]) == ("alex", ["state-u"])
    assert [one.partition(":")[0] for one in after] == ["state-u", "gov"]
    assert "g-77" not in str(row), "the log holds a digest of the subject"
    gone = await browser.ask("DELETE", "/v1/identities/alex/gov", headers=browser.csrf)
    assert gone.status_code == 204
    (row,) = await audited(town, "identity.unlink")
    assert set(row["before"]["identities"]) == set(after)
    assert row["after"]["identities"] == before
    assert (await town.call("admin", "GET", "/v1/audit/verify")).json()["fault"] is None


async def test_the_same_name_at_another_issuer_is_nobodys_word(town, uni, gov):
    """Linking never happens by a name or an address."""
    await signed_in(town, uni)
    gov.claims["email"] = "alex"
    just_now(town, gov)
    answer = await Browser(town).come_back(gov)
    assert answer.status_code == 403
    assert (
        "knows &#39;alex&#39; by State University, and does not take the same name" in answer.text
    )
    assert "link this identity on the page Account" in answer.text


async def test_an_operator_may_write_down_who_somebody_is_instead(town, uni, gov):
    gov.fields = GOV | {"user": {"claim": "sub", "values": {"g-77": "alex"}}}
    with_desk(town, uni, gov)
    await signed_in(town, uni)
    other = await signed_in(town, gov)
    assert (await other.get("/v1/session")).json()["user"] == "alex"


async def test_without_the_section_linking_nobody_links(town, uni, gov):
    with_desk(town, uni, gov)
    browser = await signed_in(town, uni)
    refused = await browser.get("/auth/link")
    assert refused.status_code == 403
    assert "links no other identity to one of State University" in refused.text
    assert (await browser.get("/v1/identities")).json()["may_link"] == []


async def test_an_identity_of_an_issuer_that_is_not_named_is_not_linked(town, uni, gov):
    with_desk(town, uni, gov, linking={"issuers": ["state-u", "development"]})
    browser = await signed_in(town, uni)
    page = await browser.get("/auth/link")
    assert "Government" not in page.text
    left = await browser.post("/auth/link", data=fields(page.text) | {"issuer": "gov"})
    assert left.status_code == 403
    assert "Not linked there" in left.text


async def test_who_signed_in_long_ago_signs_in_once_more_first(town, uni, gov, clock):
    browser = await signed_in(town, uni)
    form = fields((await browser.get("/auth/link")).text)
    clock.forward(timedelta(minutes=11))
    late = await browser.post("/auth/link", data=form | {"issuer": "gov"})
    assert (late.status_code, "sign in anew" in late.text) == (403, True)
    asked = await browser.get("/auth/link")
    there = asked.headers["location"]
    assert there == "/auth/start?again=1&next=/auth/link%3Fanew%3D1"
    page = await browser.get(there)
    left = await browser.post("/auth/start", data=fields(page.text) | {"issuer": "state-u"})
    again = await asked_of(left, uni)
    assert again["max_age"] == "0"
    just_now(town, uni)
    back = await browser.get(CALLBACK, params={"code": "c", "state": again["state"]})
    assert back.headers["location"] == "/auth/link?anew=1"
    assert (await link(town, browser, gov)).headers["location"] == "/account"


async def test_an_issuer_that_does_not_say_when_is_named_and_nobody_goes_in_circles(town, uni):
    uni.override["auth_time"] = None
    browser = Browser(town)
    await browser.come_back(uni)
    refused = await browser.get("/auth/link?anew=1")
    assert refused.status_code == 403
    assert "tell the operator that it sends no auth_time" in refused.text


@pytest.mark.parametrize("ago", [timedelta(minutes=11), None], ids=["long ago", "not said when"])
async def test_the_sign_in_there_must_be_fresh_too(town, uni, gov, ago):
    browser = await signed_in(town, uni)
    asked = await asked_of(await leave_to_link(browser, gov), gov)
    gov.override["auth_time"] = ago and int((town.clock.now() - ago).timestamp())
    answer = await browser.get(CALLBACK, params={"code": "c", "state": asked["state"]})
    assert answer.status_code == 403
    assert "Government sign-in says you signed in there more than 10 minutes ago" in answer.text
    assert await known(browser) == ["state-u"]


async def test_linking_asks_for_as_much_as_decisions_do(town, uni, gov):
    with_desk(town, uni, gov, linking=LINKING, step_up={"assurance": ["mfa"]})
    weak = await signed_in(town, uni)
    assert (await weak.get("/auth/link")).headers["location"].startswith("/auth/start?again=1")
    refused = await weak.get("/auth/link?anew=1")
    assert "recognised by mfa, as decisions do" in refused.text
    uni.override["amr"] = ["mfa"]
    strong = await signed_in(town, uni)
    assert (await strong.get("/auth/link")).status_code == 200


async def test_an_identity_of_another_user_is_refused_with_the_way_out(town, uni, gov):
    gov.claims["email"] = "dana"
    await signed_in(town, gov)
    gov.claims["email"] = "alex@mail.example"  # the same subject: it is dana's
    browser = await signed_in(town, uni)
    answer = await link(town, browser, gov)
    assert answer.status_code == 409
    assert "signs in here as &#39;dana&#39; already" in answer.text
    assert "commonpool admin forget-identity dana --issuer gov" in answer.text
    assert await known(browser) == ["state-u"]
    freed = await town.call("admin", "DELETE", "/v1/identities/dana/gov")
    assert freed.status_code == 204
    assert (await link(town, browser, gov)).status_code == 303


async def test_an_identity_whose_claims_name_another_user_is_that_ones(town, uni, gov):
    """dana has not signed in yet; with a session of alex's nobody takes what is dana's."""
    gov.claims["email"] = "dana"
    browser = await signed_in(town, uni)
    answer = await link(town, browser, gov)
    assert answer.status_code == 409
    assert "it is &#39;dana&#39; who signs in with it" in answer.text


async def test_a_name_that_means_nobody_there_is_in_nobodys_way(town, uni, gov):
    """iris is the company's; the government's iris is somebody else, alex here."""
    gov.claims["email"] = "iris"
    browser = await signed_in(town, uni)
    assert (await link(town, browser, gov)).status_code == 303


async def test_a_second_subject_of_one_issuer_is_refused(town, uni, gov):
    browser = await signed_in(town, uni)
    await link(town, browser, gov)
    page = await browser.get("/auth/link")
    assert "There is none that this hub links and does not know you by" in page.text
    left = await browser.post(
        "/auth/link", data={"issuer": "gov", "csrf": browser.csrf["X-CSRF-Token"]}
    )
    assert left.status_code == 403


async def test_an_identity_that_lets_in_nowhere_is_not_linked(town, uni, gov):
    async with town.hub.db.transaction() as conn:
        await save_policy(conn, POLICY, town.clock.now(), "admin")
    browser = await signed_in(town, uni)
    answer = await link(town, browser, gov)
    assert answer.status_code == 403
    assert "It would let you in nowhere" in answer.text
    assert "Once an account of that organisation names you" in answer.text


async def test_a_linked_identity_goes_by_the_link_whatever_its_claims_call_it(town, uni, gov):
    browser = await signed_in(town, uni)
    await link(town, browser, gov)
    for name in (None, "dana", "mallory"):
        gov.claims["email"] = name
        other = await signed_in(town, gov)
        assert (await other.get("/v1/session")).json()["user"] == "alex", name


async def test_an_issuer_signs_in_for_what_it_speaks_for_only(town, uni):
    """alex is the laboratory's too: by the university's issuer nobody gets at that."""
    browser = await signed_in(town, uni)
    me = (await browser.get("/v1/session")).json()
    assert {one["account"] for one in me["roles"]} == {"state-u-nlp"}
    refused = await browser.post(
        "/v1/jobs", json={"entrypoint": "true", "account": "arl-vision"}, headers=browser.csrf
    )
    assert refused.status_code == 403


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"issuers": ["state-u", "nowhere"]}, "there is no issuer 'nowhere'"),
        ({"issuers": ["state-u", "cac"]}, "there is no issuer 'cac'"),
        ({"issuers": ["state-u"]}, "at least 2"),
        ({"issuers": ["state-u", "gov"], "within": "soon"}, "must be a time"),
    ],
)
def test_a_section_that_makes_no_sense_is_refused(section, said):
    with pytest.raises(ValueError, match=said):
        IdentityFile.model_validate({"issuers": [STATE_U, GOV], "linking": section})
