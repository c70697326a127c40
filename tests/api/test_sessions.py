"""Sessions: how they end, who may end them, and from where a cookie is believed."""

from datetime import timedelta

import pytest

from scheduler.api.cookies import COOKIE
from scheduler.db.policies import save_policy
from tests.api.conftest import POLICY
from tests.api.signing_in import PUBLIC, Browser, signed_in, with_desk
from tests.waiting import eventually


@pytest.fixture
async def dana(small):
    with_desk(small)
    return await signed_in(small, "dana")


async def test_a_session_ends_when_nobody_clicks_for_long(dana, clock):
    clock.forward(timedelta(minutes=14))
    assert (await dana.get("/v1/me")).status_code == 200
    clock.forward(timedelta(minutes=14))
    assert (await dana.get("/v1/me")).status_code == 200
    clock.forward(timedelta(minutes=15))
    answer = await dana.get("/v1/me")
    assert answer.status_code == 401
    assert answer.json()["detail"] == "This session has ended: 15 minutes without a click."
    assert answer.json()["next_step"] == "Sign in again: /auth/start."


async def test_a_page_that_looks_again_by_itself_keeps_nobody_signed_in(dana, clock):
    for _ in range(3):
        clock.forward(timedelta(minutes=4))
        passive = await dana.get("/v1/me", headers={"X-CP-Passive": "1"})
        assert passive.status_code == 200
    clock.forward(timedelta(minutes=4))
    assert (await dana.get("/v1/me", headers={"X-CP-Passive": "1"})).status_code == 401


async def test_a_session_ends_at_its_absolute_limit_however_busy(dana, clock):
    for _ in range(12 * 6 - 1):
        clock.forward(timedelta(minutes=10))
        assert (await dana.get("/v1/me")).status_code == 200
    clock.forward(timedelta(minutes=10))
    assert "its time was over" in (await dana.get("/v1/me")).json()["detail"]


async def test_an_operator_is_signed_out_sooner(small, clock):
    with_desk(small)
    ops = await signed_in(small, "ops")
    clock.forward(timedelta(minutes=10))
    assert (await ops.get("/v1/me")).status_code == 401


async def test_the_last_click_is_stored(house, clock):
    with_desk(house)
    browser = await signed_in(house, "dana")
    clock.forward(timedelta(minutes=5))
    await browser.get("/v1/me")

    async def is_stored():
        listed = (await browser.get("/v1/sessions", headers={"X-CP-Passive": "1"})).json()
        return listed["sessions"][0]["seen_at"] == "2026-03-02T12:05:00Z"

    assert await eventually(is_stored)


async def test_people_list_and_end_their_own_sessions(small, dana, clock):
    clock.forward(timedelta(minutes=1))
    other = await signed_in(small, "dana")
    listed = (await other.get("/v1/sessions")).json()["sessions"]
    assert [each["current"] for each in listed] == [True, False]
    path = f"/v1/sessions/{listed[1]['id']}"
    assert (await other.ask("DELETE", path, headers=other.csrf)).status_code == 204
    assert (await dana.get("/v1/me")).json()["detail"] == "This session was ended."
    assert (await other.get("/v1/me")).status_code == 200
    assert (await other.ask("DELETE", path, headers=other.csrf)).status_code == 404


async def test_only_an_operator_sees_and_ends_other_peoples_sessions(small, dana):
    iris, ops = await signed_in(small, "iris"), await signed_in(small, "ops")
    mine = (await dana.get("/v1/sessions")).json()["sessions"][0]["id"]
    for path in ("/v1/sessions?user=dana", "/v1/sessions?user=*"):
        assert (await iris.get(path)).status_code == 403
    assert (await iris.ask("DELETE", f"/v1/sessions/{mine}", headers=iris.csrf)).status_code == 404
    users = {s["user"] for s in (await ops.get("/v1/sessions?user=*")).json()["sessions"]}
    assert users == {"dana", "iris", "ops"}
    assert (await ops.ask("DELETE", f"/v1/sessions/{mine}", headers=ops.csrf)).status_code == 204
    assert (await dana.get("/v1/me")).status_code == 401


async def test_signing_out_through_the_api_ends_the_session(dana):
    answer = await dana.ask("DELETE", "/v1/session", headers=dana.csrf)
    assert answer.status_code == 204
    assert COOKIE not in dana.cookies


async def test_a_token_has_no_session_to_end(small):
    answer = await small.call("dana", "DELETE", "/v1/session")
    assert answer.status_code == 400


async def test_somebody_who_left_the_policy_is_out_at_the_next_click(small, dana):
    text = POLICY.replace("  - {name: dana, labels: [public, controlled]}\n", "")
    text = text.replace(", members: [dana]", "")
    async with small.hub.db.transaction() as conn:
        await save_policy(conn, text, small.clock.now(), "admin")
    assert "knows no user 'dana'" in (await dana.get("/v1/me")).json()["detail"]


async def test_a_new_sign_in_ends_the_one_it_replaces(dana):
    before = dict(dana.cookies)
    dana.house.clock.forward(timedelta(minutes=20))
    assert (await dana.sign_in("alex")).status_code == 303
    dana.cookies, now = before, dana.cookies
    assert (await dana.get("/v1/me")).status_code == 401
    dana.cookies = now
    assert (await dana.get("/v1/me")).json()["subject"] == "alex"


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Origin": "https://evil.example"}, id="a foreign page"),
        pytest.param({"Origin": "null"}, id="a page of nowhere"),
        pytest.param({"Origin": ""}, id="no origin"),
        pytest.param({"X-CSRF-Token": ""}, id="our page without the word"),
        pytest.param({"X-CSRF-Token": "0" * 32}, id="our page with another word"),
        pytest.param({"X-CSRF-Token": "é"}, id="a word that is not ASCII"),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_a_cookie_changes_nothing_from_a_foreign_page(dana, headers, method):
    """CSRF: every method that changes something, whatever the path."""
    sent = {**dana.csrf, **headers}
    sent = {name: value.encode() for name, value in sent.items()}
    for path in ("/v1/jobs", "/v1/session", "/v1/policy", "/api/jobs/"):
        answer = await dana.ask(method, path, headers=sent, json={"entrypoint": "true"})
        assert answer.status_code in {403, 405}, (method, path, answer.text)
    assert (await dana.get("/v1/jobs")).json()["jobs"] == []


async def test_a_cookie_from_our_own_page_with_its_word_submits(dana):
    answer = await dana.post("/v1/jobs", json={"entrypoint": "true"}, headers=dana.csrf)
    assert answer.status_code == 201
    csrf = (await dana.get("/v1/session")).json()["csrf"]
    assert csrf == dana.csrf["X-CSRF-Token"]


async def test_the_portal_brings_a_session_as_a_bearer_token(dana, small):
    headers = {"Authorization": f"Bearer {dana.secret}"}
    assert (await small.http.get("/v1/me", headers=headers)).json()["subject"] == "dana"
    answer = await small.http.post("/v1/jobs", json={"entrypoint": "true"}, headers=headers)
    assert answer.status_code == 201


@pytest.mark.parametrize(
    "secret", ["cp_session_", "cp_session_" + "A" * 43, "cp_session_é", "x" * 9000]
)
async def test_a_made_up_session_is_a_401_and_never_worse(small, secret):
    with_desk(small)
    browser = Browser(small)
    headers = {"Cookie": f"{COOKIE}={secret}".encode()}
    assert (await browser.get("/v1/me", headers=headers)).status_code == 401


async def test_headers_that_name_a_person_are_not_believed(small):
    forged = {"X-CP-Sub": "ops", "X-CP-Session": "1", "X-CP-User": "ops"}
    assert (await small.http.get("/v1/me", headers=forged)).status_code == 401


async def test_no_secret_of_a_session_is_stored(dana, small):
    async with small.hub.db.reading() as conn:
        rows = (await conn.exec_driver_sql("select * from sessions")).all()
    assert len(rows) == 1
    assert dana.secret not in str(rows)
    assert PUBLIC not in dana.secret
