"""Somebody with roles in two institutions acts by those of the one they signed in for."""

import pytest

from scheduler.db.policies import save_policy
from tests.api.conftest import POLICY
from tests.api.signing_in import Browser, FakeIssuer, with_desk
from tests.api.test_requests import ask, budget
from tests.api.test_step_up import word

# pat leads and approves for the university, and is an approver and a member of the company.
TWO = POLICY.replace(
    "{name: acme, parent: national, sector: industry}",
    "{name: acme, parent: national, sector: academic, approvers: [pat]}",
).replace("members: [iris]", "members: [iris, pat]")
FOR = {"state-u": "SU", "acme": "ACME"}


async def pat_for(house, institution):
    """Return pat's browser with a session for one of the two institutions."""
    issuer = FakeIssuer(claims={"sub": "p1", "uid": "pat", "org": FOR[institution]})
    with_desk(house, issuer, issuer_fields={"speaks_for": ["state-u", "acme"]})
    async with house.hub.db.transaction() as conn:
        await save_policy(conn, TWO, house.clock.now(), "admin")
    browser = Browser(house)
    answer = await browser.come_back(issuer)
    assert answer.status_code == 303, answer.text
    return browser


@pytest.mark.parametrize(
    ("institution", "account", "held"),
    [
        ("state-u", "state-u", ["lead", "approver"]),
        ("acme", "acme", ["approver"]),
    ],
)
async def test_a_session_says_which_roles_are_in_it(small, institution, account, held):
    browser = await pat_for(small, institution)
    me = (await browser.get("/v1/session")).json()
    assert {"account": account, "roles": held} in me["roles"]
    below = {"state-u": "state-u-nlp", "acme": "acme-robotics"}[account]
    assert {one["account"] for one in me["roles"]} == {account, below}


async def test_an_approver_of_two_decides_for_the_institution_of_the_session_only(small):
    asked = await ask(small, "alex", budget(account="state-u"))
    company = await pat_for(small, "acme")
    unseen = await word(company, asked)
    assert unseen.status_code == 404, "no role there sees it"
    university = await pat_for(small, "state-u")
    assert (await word(university, asked)).json()["state"] == "applied"
    path = f"/v1/audit?object=request:{asked['id']}&action=request.approve"
    (row,) = (await small.call("audra", "GET", path)).json()["rows"]
    assert row["after"]["institution"] == "state-u"


async def test_a_token_has_the_roles_of_the_session_that_made_it(small):
    asked = await ask(small, "alex", budget(account="state-u"))
    for institution, status in (("acme", 404), ("state-u", 200)):
        browser = await pat_for(small, institution)
        made = await browser.post(
            "/v1/personal-tokens", json={"name": "t", "powers": ["manage"]}, headers=browser.csrf
        )
        headers = {"Authorization": f"Bearer {made.json()['token']}"}
        answer = await small.http.get(f"/v1/requests/{asked['id']}", headers=headers)
        assert answer.status_code == status, institution


async def test_a_members_accounts_usage_and_projects_are_those_of_the_session(small):
    browser = await pat_for(small, "state-u")
    assert (await browser.get("/v1/me")).json()["accounts"] == []
    refused = await browser.get("/v1/usage?account=acme-robotics")
    assert refused.status_code == 403
    projects = (await browser.get("/v1/projects")).json()["projects"]
    yours = {one["account"]: one["yours"] for one in projects}
    assert yours["acme-robotics"] == []
    assert yours["state-u-nlp"] == ["lead", "approver"]
    company = await pat_for(small, "acme")
    assert (await company.get("/v1/me")).json()["accounts"] == ["acme-robotics"]
    assert (await company.get("/v1/usage?account=acme-robotics")).status_code == 200


async def test_ones_own_jobs_are_those_of_the_sessions_institution(small):
    """One issuer is not believed about what somebody does for another organisation."""
    company = await pat_for(small, "acme")
    sent = await company.post("/v1/jobs", json={"entrypoint": "true"}, headers=company.csrf)
    assert sent.status_code == 201, sent.text
    job = sent.json()
    doors = [f"/v1/jobs/{job['id']}", f"/v1/jobs/{job['id']}/log", f"/v1/jobs/{job['id']}/cost"]
    doors += [f"/api/jobs/{job['id']}", f"/api/jobs/{job['id']}/logs"]
    for door in doors:
        assert (await company.get(door)).status_code == 200, door
    university = await pat_for(small, "state-u")
    for door in doors:
        assert (await university.get(door)).status_code == 404, door
    for ending in (f"/v1/jobs/{job['id']}/cancel", f"/api/jobs/{job['id']}/stop"):
        answer = await university.post(ending, headers=university.csrf)
        assert answer.status_code == 404, ending
    assert (await university.get("/v1/jobs")).json()["jobs"] == []
    assert (await university.get("/v1/queue")).json()["jobs"] == []
    assert (await university.get("/api/jobs/")).json() == []
    assert len((await company.get("/v1/jobs")).json()["jobs"]) == 1
    assert len((await company.get("/api/jobs/")).json()) == 1
