"""What people do is in the audit log, who may read it is few, and reading it is in it too."""

import json
from datetime import timedelta

import pytest
from sqlalchemy import text

from scheduler.audit_export import verify_export
from scheduler.core.audit import Head
from scheduler.errors import Refused
from tests.api.conftest import NOON
from tests.api.signing_in import signed_in, with_desk


async def rows(house, who="audra", **wanted):
    answer = await house.call(who, "GET", "/v1/audit", params=wanted)
    assert answer.status_code == 200, answer.text
    return answer.json()["rows"]


async def verified(house, **part):
    answer = await house.call("audra", "GET", "/v1/audit/verify", params=part)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_job_is_traced_from_submission_over_the_cycle_to_its_end(house):
    job, run = await house.running("dana", nodes=2, gpus_per_node=8)
    await house.call("admin", "POST", f"/v1/jobs/{job['id']}/cancel")
    found = await rows(house, object=f"job:{job['id']}")
    assert [row["action"] for row in found] == ["job.cancel", "plan.commit", "job.submit"]
    cancel, cycle, submit = found
    assert (submit["actor"], submit["after"]["account"]) == ("dana", "arl-vision")
    assert (cancel["actor"], cancel["on_behalf_of"]) == ("admin", "dana")
    assert cancel["before"] == {"state": "running"}
    assert cancel["after"] == {"state": "stopping"}
    (start,) = cycle["after"]["starts"]
    assert (start["job"], start["pool"], start["gpus"]) == (job["id"], "national-hub", 16)
    assert start["why"], "the reason of the start is in the row"
    assert cycle["after"]["policy_revision"] == 1
    assert len(cycle["decision"]) == 24
    assert await rows(house, decision=cycle["decision"]) == [cycle]
    assert (await rows(house, object=f"run:{run}"))[0] == cycle


async def test_a_retry_of_a_submission_and_a_second_cancel_are_no_second_rows(house):
    key = {"headers": {"Idempotency-Key": "k1"}, "json": {"entrypoint": "true"}}
    first = (await house.call("dana", "POST", "/v1/jobs", **key)).json()
    await house.call("dana", "POST", "/v1/jobs", **key)
    for _ in range(2):
        await house.call("dana", "POST", f"/v1/jobs/{first['id']}/cancel")
    assert [r["action"] for r in await rows(house, actor="dana")] == ["job.cancel", "job.submit"]


async def test_what_operators_and_admins_do_is_recorded_with_its_reason(house):
    await house.report("national")
    drained = {"reason": "new firmware"}
    for method, path, body in (
        ("POST", "/v1/nodes/national-1/drain", drained),
        ("POST", "/v1/nodes/national-1/resume", {"reason": "it is in"}),
        ("POST", "/v1/nodes/national-1/resume", None),
    ):
        assert (await house.call("admin", method, path, json=body)).status_code == 200
    window = {
        "nodes": ["national-2"],
        "starts_at": NOON.isoformat(),
        "ends_at": (NOON + timedelta(hours=1)).isoformat(),
        "reason": "cables",
    }
    (made,) = (await house.call("admin", "POST", "/v1/maintenance", json=window)).json()["windows"]
    await house.call("admin", "DELETE", f"/v1/maintenance/{made['name']}")
    asked = {"subject": "dana", "scope": "user", "expires_in_days": 7}
    issued = (await house.call("admin", "POST", "/v1/tokens", json=asked)).json()
    await house.call("admin", "DELETE", f"/v1/tokens/{issued['id']}")
    found = await rows(house, actor="admin")
    assert [(row["action"], row["reason"]) for row in reversed(found)] == [
        ("node.drain", "new firmware"),
        ("node.resume", "it is in"),
        ("maintenance.plan", "cables"),
        ("maintenance.cancel", ""),
        ("token.issue", ""),
        ("token.revoke", ""),
    ], "resuming a node that works changes nothing, so it is no row"
    assert found[-2]["before"]["why"] == "new firmware"
    assert issued["token"] not in json.dumps(found), "a secret is never in the log"
    assert (await rows(house, object="node:national-2"))[0]["action"] == "maintenance.plan"


async def test_a_refused_request_leaves_no_row(house):
    before = await verified(house)
    assert await house.call("admin", "POST", "/v1/nodes/nobody/drain", json={"reason": "x"})
    await house.call("dana", "POST", "/v1/jobs", json={"entrypoint": "true", "nodes": 10_000})
    after = await verified(house)
    assert after["last"] == before["last"] + 1, "the verification between them, and no more"


async def test_whoever_may_not_read_is_told_which_role_and_who_has_it(house):
    answer = await house.call("dana", "GET", "/v1/audit")
    assert answer.status_code == 403
    problem = answer.json()
    assert "the role auditor or operator on the account above all" in problem["detail"]
    assert "audra" in problem["next_step"]


async def test_reading_is_one_row_for_each_request(house):
    for path in ("/v1/audit?action=job.&limit=5", "/v1/audit/verify?first=1", "/v1/audit/export"):
        assert (await house.call("audra", "GET", path)).status_code == 200
    found = await rows(house, actor="audra")
    assert [row["action"] for row in found] == ["audit.export", "audit.verify", "audit.read"]
    assert found[-1]["after"] == {"action": "job.", "limit": 5}
    assert found[-1]["session"], "the token by which it was read"


async def test_rows_come_in_pages(house):
    for _ in range(5):
        await house.submit("dana")
    first = (await house.call("audra", "GET", "/v1/audit", params={"limit": 2})).json()
    assert [row["sequence"] for row in first["rows"]] == [5, 4]
    rest = {"limit": 9, "before": first["next"]}
    last = (await house.call("audra", "GET", "/v1/audit", params=rest)).json()
    assert [row["sequence"] for row in last["rows"]] == [3, 2, 1]
    assert last["next"] is None


async def tamper(house, *statements):
    """Do what whoever owns the database can: take the triggers away, and change rows."""
    on_sqlite = house.hub.db.dialect == "sqlite"
    names = ("no_update", "no_delete") if on_sqlite else ("no_change",)
    async with house.hub.db.transaction() as conn:
        for name in names:
            at = "" if on_sqlite else " ON audit_log"
            await conn.execute(text(f"DROP TRIGGER audit_log_{name}{at}"))
        for statement in statements:
            await conn.execute(text(statement))


BROKEN = [
    pytest.param(
        "UPDATE audit_log SET actor = 'eve' WHERE sequence = 3", 3, "changed", id="changed"
    ),
    pytest.param("DELETE FROM audit_log WHERE sequence = 3", 3, "missing", id="missing"),
    pytest.param("DELETE FROM audit_log WHERE sequence = 5", 5, "missing", id="the tail"),
]


@pytest.mark.parametrize(("statement", "row", "wrong"), BROKEN)
async def test_verify_names_the_first_bad_row_and_why(house, statement, row, wrong):
    for _ in range(5):
        await house.submit("dana")
    assert (await verified(house))["fault"] is None
    # Also away with the row that the verification has left, to have the tail at 5.
    await tamper(house, "DELETE FROM audit_log WHERE sequence > 5", statement)
    fault = (await verified(house))["fault"]
    assert (fault["sequence"], fault["wrong"]) == (row, wrong)


async def test_two_rows_that_changed_places_are_named(house):
    for _ in range(4):
        await house.submit("dana")
    await tamper(
        house,
        "UPDATE audit_log SET sequence = 900 WHERE sequence = 2",
        "UPDATE audit_log SET sequence = 2 WHERE sequence = 3",
        "UPDATE audit_log SET sequence = 3 WHERE sequence = 900",
    )
    fault = (await verified(house))["fault"]
    assert (fault["sequence"], fault["wrong"]) == (2, "reordered")
    assert "was written as row 3" in fault["sentence"]


async def test_a_log_without_its_tail_is_told_by_a_checkpoint(house):
    for _ in range(3):
        await house.submit("dana")
    kept = (await house.call("audra", "GET", "/v1/audit/checkpoint")).json()
    assert kept["sequence"] == 3
    known = {"sequence": kept["sequence"], "hash": kept["hash"]}
    assert (await verified(house, **known))["against_checkpoint"] is True
    async with house.hub.db.transaction() as conn:
        on_sqlite = house.hub.db.dialect == "sqlite"
        at = "" if on_sqlite else " ON audit_head"
        await conn.execute(text(f"DROP TRIGGER audit_head_forward{at}"))
        back = (
            "UPDATE audit_head SET sequence = 1, "
            "hash = (SELECT hash FROM audit_log WHERE sequence = 1)"
        )
        await conn.execute(text(back))
    await tamper(house, "DELETE FROM audit_log WHERE sequence > 1")
    assert (await verified(house))["fault"] is None, "the chain alone cannot tell"
    fault = (await verified(house, **known))["fault"]
    assert fault is not None


async def test_half_a_checkpoint_is_refused(house):
    answer = await house.call("audra", "GET", "/v1/audit/verify", params={"sequence": 3})
    assert (answer.status_code, answer.json()["field"]) == (422, "hash")


async def test_an_export_is_checked_without_hub_or_database(house):
    for _ in range(5):
        await house.submit("dana")
    text_of = (await house.call("audra", "GET", "/v1/audit/export")).text
    lines = text_of.splitlines(keepends=True)
    verdict = verify_export(lines)
    assert (verdict.fault, verdict.rows) == (None, 6), "five submissions and the export itself"
    seal = json.loads(lines[-1])
    assert seal["last"]["hash"] == verdict.hash
    changed = [line.replace("dana", "evey") for line in lines]
    assert verify_export(changed).fault.wrong == "changed"
    assert verify_export([*lines[:2], *lines[3:]]).fault.wrong == "missing"
    with pytest.raises(Refused, match="does not end with a seal"):
        verify_export(lines[:-1])
    with pytest.raises(Refused, match="another digest"):
        verify_export([*lines[:-2], lines[-1]])
    known = Head(9, "0" * 64)
    assert verify_export(lines, known).fault.wrong == "missing", "the checkpoint knows of more"


async def test_a_part_can_be_exported(house):
    for _ in range(5):
        await house.submit("dana")
    part = await house.call("audra", "GET", "/v1/audit/export", params={"first": 2, "last": 4})
    verdict = verify_export(part.text.splitlines(keepends=True))
    assert (verdict.first, verdict.last, verdict.fault) == (2, 4, None)


async def test_sign_ins_sessions_and_personal_tokens_are_recorded_without_secrets(house):
    with_desk(house)
    browser = await signed_in(house, "dana")
    (session,) = (await browser.get("/v1/sessions")).json()["sessions"]
    asked = {"name": "laptop", "powers": ["jobs"], "expires_in_days": 1}
    issued = (await house.call("dana", "POST", "/v1/personal-tokens", json=asked)).json()
    await house.call("dana", "DELETE", f"/v1/personal-tokens/{issued['id']}")
    await house.call("admin", "DELETE", f"/v1/sessions/{session['id']}")
    await house.call("admin", "DELETE", "/v1/identities/dana")
    found = await rows(house)
    said = [(row["action"], row["actor"]) for row in reversed(found)]
    assert said == [
        ("identity.link", "dana"),  # the first sign-in that named dana
        ("session.begin", "dana"),
        ("token.issue", "dana"),
        ("token.revoke", "dana"),
        ("session.end", "admin"),
        ("identity.forget", "admin"),
    ]
    begun = found[-2]
    assert (begun["object"], begun["source"]) == (f"session:{session['id']}", "browser")
    assert begun["after"]["institution"] == "arl"
    assert issued["token"] not in json.dumps(found)
    assert (await verified(house))["fault"] is None


async def counted(house, **wanted):
    answer = await house.call("audra", "GET", "/v1/audit/counts", params=wanted)
    assert answer.status_code == 200, answer.text
    return [(one["day"], one["action"], one["count"]) for one in answer.json()["counts"]]


async def test_rows_are_counted_by_day_and_action_and_counting_is_a_row_itself(house):
    await house.submit("dana")
    house.clock.forward(timedelta(hours=11, minutes=59, seconds=59))
    await house.submit("dana")
    house.clock.forward(timedelta(seconds=1))
    await house.submit("dana")
    assert await counted(house, action="job.", days=2) == [
        ("2026-03-02", "job.submit", 2),
        ("2026-03-03", "job.submit", 1),
    ], "a day ends at midnight in UTC"
    assert await counted(house, actor="lee") == []
    assert (await rows(house, action="audit.count"))[-1]["after"] == {"action": "job.", "days": 2}


async def test_more_days_than_can_be_counted_are_refused_with_the_limit(small):
    asked = {"since": (NOON - timedelta(days=93)).isoformat()}
    answer = await small.call("audra", "GET", "/v1/audit/counts", params=asked)
    assert (answer.status_code, answer.json()["limit"]) == (422, "92 days")
    answer = await small.call("dana", "GET", "/v1/audit/counts")
    assert answer.status_code == 403
