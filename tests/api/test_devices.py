"""A command line is signed in by a browser beside it, and personal tokens are what they say."""

import re
from datetime import timedelta
from zlib import crc32

import pytest

from scheduler.api.cookies import csrf_of
from scheduler.api.devices import CLIENT_ID, GRANT
from scheduler.db.devices import MAX_WAITING
from tests.api.signing_in import PUBLIC, Browser, FakeIssuer, fields, signed_in, with_desk
from tests.api.test_sign_in import in_two

ASKED = {"client_id": CLIENT_ID, "client_name": "dana@laptop", "scope": "jobs"}


@pytest.fixture
def desk(small):
    return with_desk(small)


async def ask(house, **change):
    answer = await house.http.post("/auth/device", data=ASKED | change)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def poll(house, asked, **change):
    form = {"client_id": CLIENT_ID, "grant_type": GRANT, "device_code": asked["device_code"]}
    return await house.http.post("/auth/token", data=form | change)


async def answered(browser, asked, answer):
    page = await browser.get("/auth/device", params={"user_code": asked["user_code"]})
    return await browser.post("/auth/device/answer", data=fields(page.text) | {"answer": answer})


async def test_a_command_line_gets_a_token_of_whoever_agrees(house, clock):
    with_desk(house)
    asked = await ask(house)
    assert asked["verification_uri"] == f"{PUBLIC}/auth/device"
    assert re.fullmatch(r"[A-Z]{4}-[A-Z]{4}", asked["user_code"])
    assert (await poll(house, asked)).json()["error"] == "authorization_pending"
    dana = await signed_in(house, "dana")
    page = await dana.get("/auth/device", params={"user_code": asked["user_code"].lower()})
    assert "dana@laptop" in page.text
    assert asked["user_code"] in page.text
    assert "submitting and ending your jobs" in page.text
    assert (await answered(dana, asked, "approved")).status_code == 200
    clock.forward(timedelta(seconds=3))
    given = (await poll(house, asked)).json()
    assert (given["user"], given["scope"], given["token_type"]) == ("dana", "jobs", "Bearer")
    headers = {"Authorization": f"Bearer {given['access_token']}"}
    who = (await house.http.get("/v1/session", headers=headers)).json()
    assert (who["user"], who["kind"], who["powers"]) == ("dana", "personal", ["jobs"])
    made = await house.http.post("/v1/jobs", json={"entrypoint": "true"}, headers=headers)
    assert made.status_code == 201
    assert (await poll(house, asked)).json()["error"] == "expired_token"


@pytest.mark.usefixtures("desk")
async def test_who_refuses_gives_nothing(small):
    asked = await ask(small)
    dana = await signed_in(small, "dana")
    assert "refused" in (await answered(dana, asked, "denied")).text
    assert (await poll(small, asked)).json()["error"] == "access_denied"
    assert (await poll(small, asked)).json()["error"] == "expired_token"


@pytest.mark.usefixtures("desk")
async def test_a_question_ends_by_itself(small, clock):
    asked = await ask(small)
    dana = await signed_in(small, "dana")
    clock.forward(timedelta(minutes=10))
    assert (await poll(small, asked)).json()["error"] == "expired_token"
    page = await dana.get("/auth/device", params={"user_code": asked["user_code"]})
    assert "No command line waits with the code" in page.text
    late = {"user_code": asked["user_code"], "answer": "approved"} | {"csrf": csrf_of(dana.secret)}
    assert (await dana.post("/auth/device/answer", data=late)).status_code == 404


@pytest.mark.usefixtures("desk")
async def test_whoever_asks_too_often_is_told_to_slow_down(small, clock):
    asked = await ask(small)
    await poll(small, asked)
    assert (await poll(small, asked)).json()["error"] == "slow_down"
    clock.forward(timedelta(seconds=3))
    assert (await poll(small, asked)).json()["error"] == "authorization_pending"


@pytest.mark.usefixtures("desk")
async def test_whoever_is_not_signed_in_signs_in_first_and_comes_back(small):
    asked = await ask(small)
    answer = await Browser(small).get("/auth/device", params={"user_code": asked["user_code"]})
    wanted = f"/auth/device%3Fuser_code%3D{asked['user_code']}"
    assert answer.headers["location"] == f"/auth/start?next={wanted}"
    browser = Browser(small)
    back = await browser.sign_in("dana", then=f"/auth/device?user_code={asked['user_code']}")
    assert back.headers["location"] == f"/auth/device?user_code={asked['user_code']}"


@pytest.mark.usefixtures("desk")
async def test_an_answer_from_a_foreign_page_or_without_the_word_counts_for_nothing(small):
    asked = await ask(small)
    dana = await signed_in(small, "dana")
    form = {"user_code": asked["user_code"], "answer": "approved"}
    assert (await dana.post("/auth/device/answer", data=form)).status_code == 401
    form["csrf"] = dana.csrf["X-CSRF-Token"]
    foreign = {"Origin": "https://evil.example"}
    answer = await dana.post("/auth/device/answer", data=form, headers=foreign)
    assert answer.status_code == 403
    assert (await poll(small, asked)).json()["error"] == "authorization_pending"


@pytest.mark.usefixtures("desk")
@pytest.mark.parametrize(
    ("path", "change", "error"),
    [
        ("/auth/device", {"client_id": "other"}, "invalid_client"),
        ("/auth/device", {"scope": "jobs root"}, "invalid_scope"),
        ("/auth/token", {"grant_type": "password"}, "unsupported_grant_type"),
        ("/auth/token", {"grant_type": GRANT, "client_id": ""}, "invalid_client"),
        ("/auth/token", {"grant_type": GRANT, "device_code": "é\x00"}, "expired_token"),
    ],
)
async def test_what_is_asked_wrongly_is_told_in_the_standards_words(small, path, change, error):
    answer = await small.http.post(path, data=ASKED | change)
    assert answer.status_code == 400
    assert answer.json()["error"] == error


async def test_at_a_hub_without_an_issuer_there_is_nothing_to_wait_for(small):
    answer = await small.http.post("/auth/device", data=ASKED)
    assert answer.json()["error"] == "unauthorized_client"


@pytest.mark.usefixtures("desk")
async def test_those_who_ask_and_never_answer_fill_no_disk(small, monkeypatch):
    monkeypatch.setattr("scheduler.db.devices.MAX_WAITING", 2)
    assert MAX_WAITING == 1_000
    await ask(small)
    await ask(small)
    answer = await small.http.post("/auth/device", data=ASKED)
    assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")


@pytest.mark.usefixtures("desk")
async def test_a_personal_token_is_shown_once_and_revoked_at_once(small):
    dana, iris = await signed_in(small, "dana"), await signed_in(small, "iris")
    asked = {"name": "sweep", "powers": ["read"], "expires_in_days": 90}
    made = (await dana.post("/v1/personal-tokens", json=asked, headers=dana.csrf)).json()
    body = made["token"].removeprefix("cp_pat_")
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}[0-9a-f]{8}", body)
    assert f"{crc32(body[:-8].encode()):08x}" == body[-8:]
    listed = (await dana.get("/v1/personal-tokens")).json()["tokens"]
    assert [(each["name"], each["revoked"]) for each in listed] == [("sweep", False)]
    assert made["token"] not in str(listed)
    assert (await iris.get("/v1/personal-tokens")).json()["tokens"] == []
    path = f"/v1/personal-tokens/{made['id']}"
    assert (await iris.ask("DELETE", path, headers=iris.csrf)).status_code == 404
    headers = {"Authorization": f"Bearer {made['token']}"}
    assert (await small.http.get("/v1/me", headers=headers)).status_code == 200
    assert (await dana.ask("DELETE", path, headers=dana.csrf)).status_code == 204
    answer = await small.http.get("/v1/me", headers=headers)
    assert "was revoked" in answer.json()["detail"]


@pytest.mark.usefixtures("desk")
async def test_a_personal_token_lives_ninety_days_at_most(small):
    dana = await signed_in(small, "dana")
    for days in (0, 91):
        asked = {"name": "t", "expires_in_days": days}
        answer = await dana.post("/v1/personal-tokens", json=asked, headers=dana.csrf)
        assert answer.status_code == 422
        assert answer.json()["field"] == "expires_in_days"


@pytest.mark.parametrize("secret", ["cp_pat_", "cp_pat_" + "A" * 51, "cp_pat_é", "cp_pat_" * 99])
async def test_a_made_up_personal_token_is_a_401(small, secret):
    headers = {"Authorization": f"Bearer {secret}".encode()}
    assert (await small.http.get("/v1/me", headers=headers)).status_code == 401


async def test_an_admins_token_makes_no_personal_one(small):
    answer = await small.call("admin", "POST", "/v1/personal-tokens", json={"name": "t"})
    assert answer.status_code == 403


async def in_one_of_two(house):
    """Return the browser of somebody of two institutions, signed in for acme."""
    issuer = FakeIssuer()
    await in_two(house, issuer, "choose")
    browser = Browser(house)
    await browser.come_back(issuer)
    await browser.post("/auth/institution", data={"institution": "acme"})
    return browser


async def minted(house, browser=None, token=None):
    """Return the headers of a personal token that a session or another token made."""
    asked = {"name": "sweep", "powers": ["jobs"], "expires_in_days": 7}
    path = "/v1/personal-tokens"
    if token is None:
        answer = await browser.post(path, json=asked, headers=browser.csrf)
    else:
        answer = await house.http.post(path, json=asked | {"expires_in_days": 1}, headers=token)
    assert answer.status_code == 201, answer.text
    return {"Authorization": f"Bearer {answer.json()['token']}"}


async def submitted(house, headers, **more):
    return await house.http.post("/v1/jobs", json={"entrypoint": "true"} | more, headers=headers)


async def test_a_token_acts_for_the_institution_of_the_session_that_made_it(house):
    browser = await in_one_of_two(house)
    by_session = await minted(house, browser)
    by_token = await minted(house, token=by_session)
    for headers in (by_session, by_token):
        who = (await house.http.get("/v1/session", headers=headers)).json()
        assert who["institution"] == "acme"
        assert (await submitted(house, headers)).json()["account"] == "acme-robotics"
        other = await submitted(house, headers, account="state-u-nlp")
        assert other.status_code == 403
        assert "signed in for acme" in other.json()["detail"]
    listed = (await browser.get("/v1/personal-tokens")).json()["tokens"]
    assert {one["institution"] for one in listed} == {"acme"}


async def test_a_command_line_acts_for_the_institution_of_who_agreed(house, clock):
    browser = await in_one_of_two(house)
    asked = await ask(house)
    assert (await answered(browser, asked, "approved")).status_code == 200
    clock.forward(timedelta(seconds=3))
    given = (await poll(house, asked)).json()
    headers = {"Authorization": f"Bearer {given['access_token']}"}
    assert (await submitted(house, headers, account="state-u-nlp")).status_code == 403
    assert (await submitted(house, headers)).json()["account"] == "acme-robotics"
