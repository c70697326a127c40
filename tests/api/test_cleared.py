"""What another person's job printed is read only by those cleared for its label (R14)."""

import pytest

from tests.api.signing_in import signed_in, with_desk
from tests.api.test_jobs import append
from tests.api.test_telemetry import nodes_of, report

SAID = "secret: 42\n"
MADE_OF = {
    "entrypoint": "python train.py --target secret",
    "name": "secret detector",
    "metadata": {"sweep": "secret"},
    "runtime_env": {"env_vars": {"API_KEY": "secret"}},
}
RAYS = f"Job entrypoint command failed with exit code 1, last available logs:\n{SAID}"


async def of_label(house, label):
    """Let dana's job of a label print something, and fail with the end of it as its message."""
    job, run = await house.running("dana", label=label, **MADE_OF)
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
    assert (await lee.get(f"/v1/jobs/{job['id']}")).json()["entrypoint"] == MADE_OF["entrypoint"]
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


async def test_what_its_gpus_do_crosses_no_label_and_what_it_costs_is_in_sight(small):
    job = await of_label(small, "controlled")
    with_desk(small)
    lee, audra = await signed_in(small, "lee"), await signed_in(small, "audra")
    path = f"/v1/jobs/{job['id']}"
    assert (await lee.get(f"{path}/utilisation")).status_code == 200
    refused = await audra.get(f"{path}/utilisation")
    assert (refused.status_code, refused.json()["field"]) == (403, "label")
    assert refused.json()["detail"].startswith("What its GPUs do is data of a job labelled")
    assert (await audra.get(f"{path}/cost")).status_code == 200


@pytest.mark.parametrize("label", ["public", "controlled"])
async def test_the_fleets_telemetry_crosses_no_label(small, label):
    job, _ = await small.running("dana", label=label, gpus_per_node=8)
    node = (await small.call("dana", "GET", f"/v1/jobs/{job['id']}")).json()["runs"][-1]["nodes"][0]
    await report(small, node=node)
    doing = ("sm_active", "memory_used_mib", "power_watts", "temperature_celsius")
    for who, is_cleared in (("dana", True), ("lee", True), ("alex", False), ("admin", True)):
        gpu = (await nodes_of(small, who))[node]["gpus"][0]
        is_shown = is_cleared or label == "public"
        assert gpu["withheld"] != is_shown, who
        assert all((gpu[name] is not None) == is_shown for name in doing), who
        assert (gpu["healthy"], gpu["memory_mib"]) == (True, 81559), "how well it is is no secret"
    watched = (await nodes_of(small, "national-metrics"))[node]["gpus"][0]
    assert watched["sm_active"] is not None, "a site sees what its own GPUs do"
