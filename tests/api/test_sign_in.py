"""Signing in: through the notice, by an issuer that is checked, as a user of the policy."""

import re
from dataclasses import replace
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc.jwk import RSAKey

from scheduler.api.cookies import COOKIE
from scheduler.api.forms import own_path
from scheduler.db.policies import save_policy
from scheduler.identity.desk import CALLBACK
from scheduler.wire.accounts import Scope
from tests.api.conftest import POLICY
from tests.api.signing_in import (
    PUBLIC,
    Browser,
    FakeIssuer,
    fields,
    signed_in,
    with_desk,
)


@pytest.fixture
def issuer():
    return FakeIssuer()


@pytest.fixture
def browser(small, issuer):
    with_desk(small, issuer)
    return Browser(small)


async def test_a_demo_user_signs_in_by_the_development_issuer(house):
    with_desk(house)
    browser = Browser(house)
    answer = await browser.sign_in("lee", then="/approvals")
    assert (answer.status_code, answer.headers["location"]) == (303, "/approvals")
    cookie = next(c for c in answer.headers.get_list("set-cookie") if c.startswith(COOKIE))
    for word in ("HttpOnly", "Secure", "SameSite=lax", "Path=/"):
        assert word in cookie
    assert "Domain" not in cookie
    me = (await browser.get("/v1/session")).json()
    assert me["user"] == "lee"
    assert me["kind"] == "session"
    assert me["institution"] == "arl"
    assert me["roles"][0] == {"account": "arl", "roles": ["lead", "approver"]}
    assert (await browser.get("/v1/me")).json()["labels"] == ["controlled", "public"]


async def test_the_page_says_loudly_that_it_is_the_development_issuer(small):
    with_desk(small)
    page = (await Browser(small).get("/auth/start")).text
    assert "Whoever reaches this page can be anybody" in page
    left = await Browser(small).leave()
    choice = (await Browser(small).get(left.headers["location"])).text
    assert "This is no real sign-in" in choice
    assert "lead and approver of arl (dod)" in choice


async def test_the_notice_is_agreed_to_first(small, issuer):
    with_desk(small, issuer, banner="You are accessing a U.S. Government\nsystem & <more>.")
    browser = Browser(small)
    page = await browser.get("/auth/start", params={"next": "/jobs?state=failed"})
    assert "system &amp; &lt;more&gt;." in page.text
    assert 'type="checkbox"' in page.text
    form = fields(page.text)
    assert form["next"] == "/jobs?state=failed"
    refused = await browser.post("/auth/start", data=form | {"issuer": "state-u", "agreed": ""})
    assert refused.status_code == 400
    assert "agree to it first" in refused.text
    left = await browser.post("/auth/start", data=form | {"issuer": "state-u"})
    assert left.status_code == 303


async def test_who_agreed_to_an_older_notice_is_asked_again(small, issuer):
    with_desk(small, issuer, banner="old")
    browser = Browser(small)
    form = fields((await browser.get("/auth/start")).text) | {"issuer": "state-u"}
    with_desk(small, issuer, banner="new")
    assert (await browser.post("/auth/start", data=form)).status_code == 400


async def test_another_issuer_is_left_for_with_code_pkce_and_nonce(browser, issuer):
    left = await browser.leave("state-u")
    asked = parse_qs(urlsplit(left.headers["location"]).query)
    assert asked["response_type"] == ["code"]
    assert asked["code_challenge_method"] == ["S256"]
    assert asked["redirect_uri"] == [PUBLIC + CALLBACK]
    assert len(asked["nonce"][0]) == len(asked["state"][0]) == 64
    answer = await browser.come_back(issuer)
    assert answer.status_code == 303
    sent = issuer.forms[0]
    assert sent["grant_type"] == "authorization_code"
    assert re.fullmatch(r"[0-9a-f]{64}", sent["code_verifier"])
    me = (await browser.get("/v1/session")).json()
    assert (me["user"], me["issuer"], me["sector"]) == ("alex", "state-u", "academic")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        pytest.param({"iss": "https://evil.example"}, "not for this sign-in", id="issuer"),
        pytest.param({"aud": "another"}, "not for this sign-in", id="audience"),
        pytest.param({"nonce": "0" * 64}, "not for this sign-in", id="nonce"),
        pytest.param({"nonce": None}, "not for this sign-in", id="no nonce"),
        pytest.param({"exp": 1}, "not for this sign-in", id="expired"),
        pytest.param({"sub": None}, "not for this sign-in", id="no subject"),
        pytest.param({"aud": ["commonpool", "x"], "azp": "x"}, "not for this", id="other party"),
    ],
)
async def test_an_id_token_for_something_else_is_refused(browser, issuer, override, said):
    issuer.override = override
    answer = await browser.come_back(issuer)
    assert answer.status_code == 401
    assert said in answer.text
    assert COOKIE not in browser.cookies


async def test_a_token_that_somebody_else_signed_is_refused(browser, issuer):
    issuer.signed_with = RSAKey.generate_key(2048, {"kid": "k1"})
    answer = await browser.come_back(issuer)
    assert answer.status_code == 401
    assert "signature does not hold" in answer.text


async def test_an_issuer_may_change_its_keys(browser, issuer):
    assert (await browser.come_back(issuer)).status_code == 303
    issuer.key = RSAKey.generate_key(2048, {"kid": "k2"})
    browser.cookies.clear()
    assert (await browser.come_back(issuer)).status_code == 303


async def test_claims_may_come_from_userinfo_of_the_same_subject_only(browser, issuer):
    issuer.claims = {"sub": "a1"}
    issuer.userinfo = {"sub": "a1", "uid": "alex", "org": "SU"}
    assert (await browser.come_back(issuer)).status_code == 303
    issuer.userinfo = {"sub": "b2", "uid": "alex", "org": "SU"}
    browser.cookies.clear()
    assert "userinfo is of somebody else" in (await browser.come_back(issuer)).text


@pytest.mark.parametrize(
    ("query", "said"),
    [
        pytest.param({"state": "f" * 64}, "begun in another browser", id="another state"),
        pytest.param({"error": "access_denied"}, "it was cancelled", id="cancelled"),
        pytest.param({"error": "<b>"}, "&lt;b&gt;", id="an error with markup"),
        pytest.param({"iss": "https://evil.example"}, "does not take sign-ins", id="mix-up"),
    ],
)
async def test_what_comes_back_otherwise_is_refused_in_words(browser, issuer, query, said):
    answer = await browser.come_back(issuer, **query)
    assert answer.status_code in {400, 401, 403}
    assert said in answer.text
    assert COOKIE not in browser.cookies


async def test_only_the_browser_that_left_can_come_back(browser, small, clock):
    left = await browser.leave("state-u")
    state = parse_qs(urlsplit(left.headers["location"]).query)["state"][0]
    thief = Browser(small)
    answer = await thief.get(CALLBACK, params={"code": "c", "state": state})
    assert "begun in another browser" in answer.text
    clock.forward(timedelta(minutes=11))
    answer = await browser.get(CALLBACK, params={"code": "c", "state": state})
    assert "ten minutes ago" in answer.text


async def test_an_issuer_that_does_not_answer_is_named(browser, issuer):
    issuer.away = True
    page = (await browser.get("/auth/start")).text
    assert "does not answer just now" in page
    answer = await browser.leave("state-u")
    assert answer.status_code == 502
    assert "State University cannot be asked now" in answer.text


async def test_an_unknown_issuer_is_refused_and_the_known_ones_named(browser):
    answer = await browser.leave("evil")
    assert answer.status_code == 403
    assert "Known are: State University, Development sign-in." in answer.text


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        pytest.param({"org": None}, "did not tell this hub your institution", id="no institution"),
        pytest.param({"org": "MIT"}, "(known here: ACME, SU)", id="an unknown institution"),
        pytest.param({"uid": None}, "the claim &#39;uid&#39; is missing", id="no name"),
        pytest.param({"uid": "mallory"}, "knows no user &#39;mallory&#39;", id="a stranger"),
        pytest.param({"uid": "dana"}, "this issuer does not speak", id="somebody of the DoD"),
        pytest.param({"uid": "ops"}, "this issuer does not speak", id="the operator"),
    ],
)
async def test_claims_that_do_not_do_are_named(browser, issuer, claims, said):
    issuer.override = claims
    answer = await browser.come_back(issuer)
    assert answer.status_code == 403
    assert said in answer.text


async def test_a_name_that_another_person_had_is_not_given_to_a_new_one(browser, issuer, small):
    assert (await browser.come_back(issuer)).status_code == 303
    issuer.claims["sub"] = "a2"
    answer = await Browser(small).come_back(issuer)
    assert answer.status_code == 403
    assert "knows another person as &#39;alex&#39;" in answer.text
    issuer.claims |= {"sub": "a1", "uid": "pat"}
    answer = await Browser(small).come_back(issuer)
    assert (
        "knows you as &#39;alex&#39;, and your organisation now calls you &#39;pat&#39;"
        in answer.text
    )
    gone = await small.call("admin", "DELETE", "/v1/identities/alex")
    assert gone.status_code == 204
    assert (await browser.get("/v1/me")).status_code == 401
    assert (await Browser(small).come_back(issuer)).status_code == 303


TWO = POLICY.replace("members: [iris]", "members: [iris, alex]")


async def in_two(small, issuer, rule):
    with_desk(
        small, issuer, several_institutions=rule, issuer_fields={"speaks_for": ["state-u", "acme"]}
    )
    async with small.hub.db.transaction() as conn:
        text = TWO.replace("name: acme, parent: national, sector: industry", ACME)
        await save_policy(conn, text, small.clock.now(), "admin")
    issuer.override = {"org": ["SU", "ACME"]}


ACME = "name: acme, parent: national, sector: academic"


async def test_somebody_in_two_institutions_is_refused_where_the_hub_says_so(small, issuer):
    await in_two(small, issuer, "refuse")
    answer = await Browser(small).come_back(issuer)
    assert answer.status_code == 403
    assert "You belong to state-u and acme here" in answer.text


async def test_somebody_in_two_institutions_chooses_and_acts_for_that_one(small, issuer):
    await in_two(small, issuer, "choose")
    browser = Browser(small)
    question = await browser.come_back(issuer, then="/submit")
    assert "For which institution?" in question.text
    assert COOKIE not in browser.cookies
    wrong = await browser.post("/auth/institution", data={"institution": "arl"})
    assert wrong.status_code == 400
    answer = await browser.post("/auth/institution", data={"institution": "acme"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/submit")
    asked = {"entrypoint": "true"}
    done = await browser.post("/v1/jobs", json=asked, headers=browser.csrf)
    assert done.json()["account"] == "acme-robotics"
    asked["account"] = "state-u-nlp"
    done = await browser.post("/v1/jobs", json=asked, headers=browser.csrf)
    assert done.status_code == 403
    assert done.json()["detail"].startswith("You are signed in for acme")


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("/job?id=j1&tab=Log", "/job?id=j1&tab=Log"),
        ("/auth/device?user_code=ABCD-EFGH", "/auth/device?user_code=ABCD-EFGH"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("/a\nb", "/"),
        ("/auth/sign-out", "/"),
        ("/auth/start?next=/", "/"),
        ("/" + "a" * 600, "/"),
        ("", "/"),
        (None, "/"),
    ],
)
def test_only_a_path_of_this_site_follows_a_sign_in(given, path):
    assert own_path(given) == path


async def test_a_page_under_another_name_goes_to_the_hubs_own_first(browser):
    answer = await browser.get("/auth/start?next=/x", headers={"Host": "localhost:8501"})
    assert answer.headers["location"] == f"{PUBLIC}/auth/start?next=%2Fx&here=1"
    again = await browser.get("/auth/start?next=/x&here=1", headers={"Host": "localhost:8501"})
    assert again.status_code == 200  # no circle, where a proxy changes the Host


async def test_a_form_from_a_foreign_page_is_refused(browser):
    form = fields((await browser.get("/auth/start")).text) | {"issuer": "state-u"}
    for origin in ("https://evil.example", "null", ""):
        answer = await browser.post("/auth/start", data=form, headers={"Origin": origin})
        assert answer.status_code == 403


async def test_pages_are_closed_to_scripts_frames_and_caches(browser):
    answer = await browser.get("/auth/start")
    csp = answer.headers["content-security-policy"]
    assert "default-src 'none'" in csp
    assert "frame-ancestors 'none'" in csp
    assert "form-action 'self' https://sso.state-u.example" in csp
    assert "script-src" not in csp
    assert answer.headers["cache-control"] == "no-store"


async def test_signing_out_ends_the_session_everywhere(small):
    with_desk(small)
    browser = await signed_in(small, "dana")
    page = await browser.get("/auth/sign-out")
    wrong = await browser.post("/auth/sign-out", data={"csrf": "x"})
    assert wrong.status_code == 400
    kept = dict(browser.cookies)
    answer = await browser.post("/auth/sign-out", data=fields(page.text))
    assert answer.headers["location"] == "/auth/signed-out"
    assert (await browser.get("/auth/signed-out")).status_code == 200
    assert COOKIE not in browser.cookies
    browser.cookies = kept
    assert (await browser.get("/v1/me")).status_code == 401


async def test_a_link_alone_signs_nobody_out(small):
    with_desk(small)
    browser = await signed_in(small, "dana")
    answer = await browser.get("/auth/signed-out")
    assert answer.headers["location"] == "/auth/sign-out"
    assert (await browser.get("/v1/me")).status_code == 200


async def test_without_an_issuer_the_page_says_what_is_missing(small):
    answer = await small.http.get("/auth/start")
    assert "Nobody can sign in here yet" in answer.text
    token = await small.token("dana", Scope.USER)
    assert token.token.startswith("cp_user_")


async def test_a_hub_without_a_development_issuer_has_no_page_of_it(small, issuer):
    desk = with_desk(small, issuer)
    object.__setattr__(small.hub, "desk", replace(desk, development=None))
    answer = await Browser(small).get("/auth/development/authorize")
    assert answer.status_code == 404
