"""Leads see and end the jobs of their accounts' members; a stranger still sees nothing."""

import pytest

from tests.api.signing_in import signed_in, with_desk

DOORS = ("", "/explanation", "/log", "/utilisation", "/cost")


async def test_a_lead_sees_jobs_of_their_accounts_with_why_they_wait_and_their_log(small):
    job = await small.submit("dana")
    other = await small.submit("alex")
    with_desk(small)
    lee = await signed_in(small, "lee")
    for door in DOORS:
        assert (await lee.get(f"/v1/jobs/{job['id']}{door}")).status_code == 200
        assert (await lee.get(f"/v1/jobs/{other['id']}{door}")).status_code == 404
    for asked in ("scope=accounts", "account=arl", "account=arl-vision"):
        page = (await lee.get(f"/v1/jobs?{asked}")).json()
        assert [one["id"] for one in page["jobs"]] == [job["id"]], asked
    for asked in ("", "scope=mine", "scope=mine&account=arl-vision", "account=state-u"):
        assert (await lee.get(f"/v1/jobs?{asked}")).json()["jobs"] == [], asked


@pytest.mark.parametrize("person", ["dana", "iris", "alex"])
async def test_who_leads_nothing_is_told_so_and_sees_nothing_of_others(small, person):
    job = await small.submit("dana" if person != "dana" else "alex")
    with_desk(small)
    browser = await signed_in(small, person)
    refused = await browser.get("/v1/jobs?scope=accounts")
    assert (refused.status_code, refused.json()["field"]) == (403, "scope")
    assert (await browser.get(f"/v1/jobs?account={job['account']}")).json()["jobs"] == []
    for door in DOORS:
        assert (await browser.get(f"/v1/jobs/{job['id']}{door}")).status_code == 404
    path = f"/v1/jobs/{job['id']}/cancel?reason=mine"
    assert (await browser.post(path, headers=browser.csrf)).status_code == 404


async def test_a_lead_ends_a_members_job_with_a_reason_that_the_audit_log_and_its_owner_have(small):
    job = await small.submit("dana")
    with_desk(small)
    lee = await signed_in(small, "lee")
    path = f"/v1/jobs/{job['id']}/cancel"
    bare = await lee.post(path, headers=lee.csrf)
    assert (bare.status_code, bare.json()["field"]) == (422, "reason")
    for _ in range(2):
        ended = await lee.post(f"{path}?reason=wrong%20data", headers=lee.csrf)
        assert (ended.status_code, ended.json()["state"]) == (200, "stopped")
    mine = (await small.call("dana", "GET", f"/v1/jobs/{job['id']}")).json()
    assert mine["reason"] == "cancelled by lee: wrong data"
    (row,) = (
        await small.call("audra", "GET", f"/v1/audit?object=job:{job['id']}&action=job.cancel")
    ).json()["rows"]
    assert (row["actor"], row["reason"]) == ("lee", "wrong data")
    assert row["on_behalf_of"] == "dana"


async def test_one_ends_ones_own_job_without_a_word(small):
    job = await small.submit("dana")
    answer = await small.call("dana", "POST", f"/v1/jobs/{job['id']}/cancel")
    assert answer.status_code == 200


async def test_rays_own_api_and_submitting_again_are_not_widened(small):
    """Ray's tools list and stop without asking whose a job is; a copy would carry files along."""
    job = await small.submit("dana")
    with_desk(small)
    lee = await signed_in(small, "lee")
    assert (await lee.get("/api/jobs/")).json() == []
    assert (await lee.get(f"/api/jobs/{job['submission_id']}")).status_code == 404
    assert (await lee.get(f"/api/jobs/{job['submission_id']}/logs")).status_code == 404
    for method, path in (
        ("POST", f"/api/jobs/{job['submission_id']}/stop"),
        ("DELETE", f"/api/jobs/{job['submission_id']}"),
        ("POST", f"/v1/jobs/{job['id']}/again"),
    ):
        answer = await lee.ask(method, path, headers=lee.csrf, json={"change": {}})
        assert answer.status_code == 404, path
    assert (await small.call("dana", "GET", f"/v1/jobs/{job['id']}")).json()["state"] == "pending"


@pytest.mark.parametrize(("power", "sees"), [("read", 404), ("jobs", 404), ("manage", 200)])
async def test_a_personal_token_of_a_lead_sees_others_jobs_only_with_all_their_roles(
    small, power, sees
):
    job = await small.submit("dana")
    asked = {"name": "t", "powers": [power], "expires_in_days": 1}
    made = await small.call("lee", "POST", "/v1/personal-tokens", json=asked)
    if made.status_code != 201:
        with_desk(small)
        lee = await signed_in(small, "lee")
        made = await lee.post("/v1/personal-tokens", json=asked, headers=lee.csrf)
    headers = {"Authorization": f"Bearer {made.json()['token']}"}
    answer = await small.http.get(f"/v1/jobs/{job['id']}", headers=headers)
    assert answer.status_code == sees
