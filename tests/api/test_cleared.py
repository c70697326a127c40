"""What another person's job printed is read only by those cleared for its label (R14)."""

import pytest

from tests.api.signing_in import signed_in, with_desk
from tests.api.test_jobs import append

SAID = "secret: 42\n"
RAYS = f"Job entrypoint command failed with exit code 1, last available logs:\n{SAID}"


async def of_label(house, label):
    """Let dana's job of a label print something, and fail with the end of it as its message."""
    job, run = await house.running("dana", label=label)
    await append(house, run, 0, SAID.encode())
    ended = house.observed(run, "failed", fenced=True, log_bytes=len(SAID), message=RAYS)
    assert (await house.sync("national", ended, sequence=2)).status_code == 200
    return job


def not_cleared(policy, person):
    return policy.replace(
        f"{{name: {person}, labels: [public, controlled]}}", f"{{name: {person}, labels: [public]}}"
    )


@pytest.mark.parametrize("person", ["lee", "audra", "ops"])
async def test_a_role_reads_a_log_only_as_the_readers_own_labels_allow(small, person):
    """Lee leads dana's account and is cleared; audra and ops have roles on all, and are not."""
    open_to_all = await of_label(small, "public")
    with_desk(small)
    reader = await signed_in(small, person)
    assert SAID.strip() in (await reader.get(f"/v1/jobs/{open_to_all['id']}/log")).text


async def test_who_is_not_cleared_sees_the_job_and_none_of_its_output(small):
    job = await of_label(small, "controlled")
    with_desk(small)
    lee, audra = await signed_in(small, "lee"), await signed_in(small, "audra")
    assert (await lee.get(f"/v1/jobs/{job['id']}/log")).json()["text"] == SAID
    refused = await audra.get(f"/v1/jobs/{job['id']}/log")
    assert (refused.status_code, refused.json()["field"]) == (403, "label")
    assert refused.json()["limit"] == "labels of audra: public"
    for door in ("", "/explanation"):
        answer = await audra.get(f"/v1/jobs/{job['id']}{door}")
        assert answer.status_code == 200
        assert "secret" not in answer.text, door
        assert "exit code 1" in answer.text, door
    listed = await audra.get("/v1/jobs?scope=accounts")
    assert job["id"] in listed.text
    assert "secret" not in listed.text


async def test_a_lead_who_loses_the_clearance_loses_the_log_and_keeps_the_job(small):
    job = await of_label(small, "controlled")
    with_desk(small)
    lee = await signed_in(small, "lee")
    text = (await small.call("admin", "GET", "/v1/policy")).text
    changed = await small.call(
        "admin",
        "PUT",
        "/v1/policy?reason=left",
        content=not_cleared(text, "lee"),
        headers={"Content-Type": "text/yaml"},
    )
    assert changed.status_code == 200, changed.text
    assert (await lee.get(f"/v1/jobs/{job['id']}/log")).status_code == 403
    assert (await lee.get(f"/v1/jobs/{job['id']}")).status_code == 200
    mine = await small.call("dana", "GET", f"/v1/jobs/{job['id']}")
    assert "secret" in mine.json()["reason"]


async def test_rays_own_doors_hold_whoever_sees_all_to_labels_too(small):
    job = await of_label(small, "controlled")
    with_desk(small)
    audra = await signed_in(small, "audra")
    path = f"/api/jobs/{job['submission_id']}"
    assert (await audra.get(f"{path}/logs")).status_code in {403, 404}
    for door in (path, "/api/jobs/"):
        assert "secret" not in (await audra.get(door)).text, door
    own = await small.call("dana", "GET", f"{path}/logs")
    assert SAID.strip() in own.text
