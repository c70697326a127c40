"""One person, two issuers, one user: linked signed in at both, and by nothing less."""

from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from scheduler.api.cookies import COOKIE
from scheduler.api.leaving import SIGN_IN_COOKIE
from scheduler.db.policies import save_policy
from scheduler.identity.desk import CALLBACK
from scheduler.identity.settings import IdentityFile
from tests.api.conftest import POLICY
from tests.api.signing_in import STATE_U, Browser, FakeIssuer, fields, with_desk

GOV = {
    "name": "gov",
    "title": "Government sign-in",
    "issuer": "https://login.gov.example",
    "client_id": "commonpool",
    "speaks_for": ["arl"],
    "user": {"claim": "email"},
    "sector": {"value": "dod"},
    "institution": {"value": "arl"},
}
# alex works for the university, and is a member of a project of the laboratory's too.
BOTH = POLICY.replace("members: [dana]", "members: [dana, alex]")
LINKING = {"issuers": ["state-u", "gov"], "within": "10m"}


@pytest.fixture
def uni():
    return FakeIssuer()


@pytest.fixture
def gov():
    return FakeIssuer(claims={"sub": "g-77", "email": "alex@mail.example"}, fields=GOV)


async def linking(house, *issuers):
    """Have a hub sign people in at issuers, and link them."""
    with_desk(house, *issuers, linking=LINKING)
    async with house.hub.db.transaction() as conn:
        await save_policy(conn, BOTH, house.clock.now(), "admin")
    return house


@pytest.fixture
async def town(small, uni, gov):
    return await linking(small, uni, gov)


def just_now(house, *issuers):
    """Have issuers say that whoever comes signed in there at this moment."""
    for issuer in issuers:
        issuer.override["auth_time"] = int(house.clock.now().timestamp())


async def signed_in(house, issuer):
    just_now(house, issuer)
    browser = Browser(house)
    answer = await browser.come_back(issuer)
    assert answer.status_code == 303, answer.text
    return browser


async def leave_to_link(browser, issuer, **form):
    """Ask to link; return the answer that sends the browser to the issuer."""
    page = await browser.get("/auth/link")
    assert page.status_code == 200, page.headers.get("location", page.text)
    return await browser.post("/auth/link", data=fields(page.text) | {"issuer": issuer.name} | form)


async def asked_of(left, issuer):
    """Return what the issuer is asked; it answers with this nonce next."""
    assert left.status_code == 303, left.text
    asked = parse_qs(urlsplit(left.headers["location"]).query)
    issuer.nonce = asked["nonce"][0]
    return {name: values[0] for name, values in asked.items()}


async def link(house, browser, issuer):
    """Link whoever signs in at an issuer next; return the last answer."""
    asked = await asked_of(await leave_to_link(browser, issuer), issuer)
    just_now(house, issuer)
    return await browser.get(CALLBACK, params={"code": "c", "state": asked["state"]})


async def known(browser):
    found = (await browser.get("/v1/identities")).json()
    return [one["issuer"] for one in found["identities"]]


async def audited(house, action, user="alex"):
    path = f"/v1/audit?object=user:{user}&action={action}"
    return (await house.call("audra", "GET", path)).json()["rows"]


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
