"""Who is taken out of the policy, or whose session another replica ended, gets nothing more."""

import pytest

from scheduler.db.policies import save_policy
from scheduler.db.sessions import revoke_session
from tests.api.conftest import POLICY
from tests.api.signing_in import fields, signed_in, with_desk
from tests.api.test_devices import ask, poll

WITHOUT_DANA = POLICY.replace("  - {name: dana, labels: [public, controlled]}\n", "").replace(
    "members: [dana]", "members: []"
)


@pytest.fixture
async def dana(small):
    with_desk(small)
    return await signed_in(small, "dana")


async def token_of(browser):
    made = await browser.post("/v1/personal-tokens", json={"name": "t"}, headers=browser.csrf)
    assert made.status_code == 201, made.text
    return {"Authorization": f"Bearer {made.json()['token']}"}


async def take_out(house):
    async with house.hub.db.transaction() as conn:
        await save_policy(conn, WITHOUT_DANA, house.clock.now(), "admin")


async def end_elsewhere(house, browser):
    """End a session as another replica does: what is kept here does not know of it yet."""
    session = (await browser.get("/v1/session")).json()["id"]
    async with house.hub.db.transaction() as conn:
        assert await revoke_session(conn, session, None, "ops", house.clock.now())


async def test_a_personal_token_of_who_was_taken_out_opens_nothing(small, dana):
    headers = await token_of(dana)
    assert (await small.http.get("/v1/jobs", headers=headers)).status_code == 200
    await take_out(small)
    for path in ("/v1/jobs", "/v1/session", "/api/jobs/"):
        answer = await small.http.get(path, headers=headers)
        assert answer.status_code == 401, path
    assert "knows no user 'dana'" in (await small.http.get("/v1/me", headers=headers)).text


async def test_who_was_taken_out_agrees_to_no_command_line_and_links_nothing(small, dana):
    asked = await ask(small)
    page = await dana.get("/auth/device", params={"user_code": asked["user_code"]})
    await take_out(small)
    late = await dana.post("/auth/device/answer", data=fields(page.text) | {"answer": "approved"})
    assert late.status_code == 401
    assert (await poll(small, asked)).json()["error"] == "authorization_pending"
    for path in ("/auth/device", "/auth/link"):
        assert "/auth/start" in (await dana.get(path)).headers["location"], path


async def test_a_session_that_another_replica_ended_makes_no_token(house):
    with_desk(house)
    dana = await signed_in(house, "dana")
    await end_elsewhere(house, dana)
    made = await dana.post("/v1/personal-tokens", json={"name": "t"}, headers=dana.csrf)
    assert made.status_code == 401
    assert made.json()["title"] == "Session ended"


async def test_a_session_that_another_replica_ended_agrees_to_no_command_line(house):
    with_desk(house)
    dana, asked = await signed_in(house, "dana"), await ask(house)
    page = await dana.get("/auth/device", params={"user_code": asked["user_code"]})
    await end_elsewhere(house, dana)
    late = await dana.post("/auth/device/answer", data=fields(page.text) | {"answer": "approved"})
    assert late.status_code == 401
    assert (await poll(house, asked)).json()["error"] == "authorization_pending"
