"""A request from the first word to the policy that it makes, and all that may come between."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import select

from scheduler.db.request_steps import expire
from scheduler.db.request_tables import notices
from tests.api.conftest import POLICY

WHY = "the next milestone needs it"


def budget(**more):
    said = {
        "kind": "budget",
        "id": "arl-2026",
        "account": "arl",
        "h100e_hours": 20_000,
        "valid_from": "2026-01-01T00:00:00Z",
        "valid_to": "2027-01-01T00:00:00Z",
    }
    return said | more


def agreement(**more):
    said = {
        "kind": "agreement",
        "id": "uni-lends-arl",
        "lender": "state-u",
        "borrower_account": "arl",
        "pools": ["state-u-hpc"],
        "cap": 8,
        "recall_notice": "10m",
        "valid_from": "2026-01-01T00:00:00Z",
        "valid_to": "2027-01-01T00:00:00Z",
    }
    return said | more


async def ask(house, who, change, **more):
    message = {"change": change, "reason": WHY} | more
    answer = await house.call(who, "POST", "/v1/requests", json=message)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def seen(house, who, name):
    answer = await house.call(who, "GET", f"/v1/requests/{name}")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def decide(house, who, request, *, approve=True, reason="as planned"):
    message = {"approve": approve, "digest": request["digest"], "reason": reason}
    return await house.call(who, "POST", f"/v1/requests/{request['id']}/decide", json=message)


async def policy_of(house):
    answer = await house.call("dana", "GET", "/v1/policy")
    return int(answer.headers["etag"].strip('"')), answer.text


async def audit(house, name):
    answer = await house.call(
        "audra", "GET", "/v1/audit", params={"object": f"request:{name}", "limit": 50}
    )
    return [row["action"] for row in reversed(answer.json()["rows"])]


async def test_a_budget_is_asked_for_approved_and_in_force_with_every_step_in_the_audit(house):
    bell = house.hub.wake.bell("cycle")
    asked = await ask(house, "dana", budget())
    assert (asked["state"], asked["standing"]) == ("open", "0 of 1 approver")
    assert asked["who_may_decide"] == ["lee"]
    assert asked["title"] == "20,000 H100e-hours for arl until 2027-01-01"
    answer = await decide(house, "lee", await seen(house, "lee", asked["id"]))
    assert answer.status_code == 200, answer.text
    assert (answer.json()["state"], answer.json()["revision"]) == ("applied", 2)
    revision, text = await policy_of(house)
    assert revision == 2
    assert "h100e_hours: 20000" in text
    assert text.startswith(POLICY.rstrip()), "what people wrote stays as it is"
    assert bell.is_set()
    assert await audit(house, asked["id"]) == [
        "request.create",
        "request.approve",
        "request.apply",
    ]
    (applied,) = (
        await house.call("audra", "GET", "/v1/audit", params={"action": "policy.apply"})
    ).json()["rows"]
    assert applied["reason"] == f"request {asked['id']}: {WHY}"
    assert applied["before"]["revision"] == 1
    assert applied["actor"] == "lee"


async def test_an_agreement_needs_two_people_of_two_institutions(house):
    asked = await ask(house, "pat", agreement())
    assert asked["standing"] == "0 of 2 approvers, from 0 of 2 institutions"
    own = await decide(house, "pat", asked)
    assert own.status_code == 403
    assert "asked for themselves" in own.json()["detail"]
    asked = await ask(house, "alex", agreement())
    one = (await decide(house, "pat", asked)).json()
    assert (one["state"], one["votes"][0]["institutions"]) == ("open", ["state-u"])
    done = (await decide(house, "lee", asked)).json()
    assert done["state"] == "applied"
    _, text = await policy_of(house)
    assert "id: uni-lends-arl, lender: state-u, borrower: {account: arl}" in text


async def test_two_who_approve_at_once_both_count_and_it_is_applied_once(house):
    asked = await ask(house, "alex", agreement())
    answers = await asyncio.gather(
        *(decide(house, who, asked) for who in ("lee", "pat", "lee", "pat"))
    )
    assert [answer.status_code for answer in answers] == [200] * 4
    assert (await seen(house, "alex", asked["id"]))["state"] == "applied"
    assert (await policy_of(house))[0] == 2
    steps = await audit(house, asked["id"])
    assert steps.count("request.approve") == 2, "a double click is one approval"
    assert steps.count("request.apply") == 1


async def test_an_edit_voids_what_was_approved_and_an_old_text_cannot_be_approved(house):
    asked = await ask(house, "alex", agreement())
    await decide(house, "pat", asked)
    message = {"change": agreement(cap=4), "reason": WHY}
    path = f"/v1/requests/{asked['id']}"
    edited = (await house.call("alex", "PUT", path, json=message)).json()
    assert edited["digest"] != asked["digest"]
    assert edited["standing"].startswith("0 of 2")
    old = await decide(house, "lee", asked)
    assert (old.status_code, "edited since you read it" in old.text) == (409, True)
    back = {"change": agreement(), "reason": WHY}
    again = (await house.call("alex", "PUT", path, json=back)).json()
    assert again["standing"].startswith("0 of 2"), "the old text again is a new text"
    assert (await house.call("lee", "PUT", path, json=back)).status_code == 403


async def test_an_approver_who_lost_the_role_counts_no_more(house):
    asked = await ask(house, "alex", agreement())
    await decide(house, "pat", asked)
    without = POLICY.replace("approvers: [pat]", "approvers: [alex]")
    assert without != POLICY
    answer = await house.call(
        "admin",
        "PUT",
        "/v1/policy",
        params={"reason": "pat has left"},
        content=without.encode(),
        headers={"Content-Type": "text/yaml"},
    )
    assert answer.status_code == 200, answer.text
    view = await seen(house, "lee", asked["id"])
    assert (view["standing"], view["votes"][0]["counts"]) == (
        "0 of 2 approvers, from 0 of 2 institutions",
        False,
    )
    assert (await decide(house, "lee", asked)).json()["state"] == "open"


async def test_nobody_decides_on_what_has_expired_and_who_asked_is_told(house, clock):
    asked = await ask(house, "dana", budget())
    clock.forward(timedelta(days=15))
    house.tokens.clear()
    late = await decide(house, "lee", asked)
    assert (late.status_code, "it is expired already" in late.text) == (409, True)
    async with house.hub.db.transaction() as conn:
        assert await expire(conn, clock.now()) == 1
        assert await expire(conn, clock.now()) == 0
    assert (await seen(house, "dana", asked["id"]))["history"][-1]["event"] == "expired"
    assert (await told(house, "dana"))[-1].startswith(f"Request {asked['id']} is over")


async def told(house, who):
    async with house.hub.db.reading() as conn:
        query = select(notices.c.subject).where(notices.c.recipient == who).order_by(notices.c.id)
        return list((await conn.execute(query)).scalars())


async def test_who_is_concerned_is_told_in_the_same_transaction(house):
    asked = await ask(house, "dana", budget())
    name = asked["id"]
    assert await told(house, "lee") == [f"Request {name} awaits your decision: sent by dana"]
    comment = {"text": "Which milestone?"}
    await house.call("lee", "POST", f"/v1/requests/{name}/comment", json=comment)
    assert await told(house, "dana") == [f"Request {name} commented by lee"]
    await decide(house, "lee", asked, approve=False, reason="not this year")
    assert (await told(house, "dana"))[-1] == f"Request {name} denied by lee"
    view = await seen(house, "dana", name)
    assert (view["state"], view["votes"][0]["reason"]) == ("denied", "not this year")
    assert (await policy_of(house))[0] == 1


async def test_what_no_longer_fits_says_so_and_is_applied_later(house):
    """The account of an approved request is gone; when it is back, it can be applied."""
    new = {"kind": "project", "name": "arl-nlp", "parent": "arl", "members": ["dana", "zoe"]}
    asked = await ask(house, "dana", new)
    yaml = {"Content-Type": "text/yaml"}
    taken = POLICY.replace(
        "  - {name: state-u, parent",
        "  - {name: arl-nlp, parent: arl, sector: dod}\n  - {name: state-u, parent",
    )
    put = {"params": {"reason": "by hand"}, "headers": yaml}
    await house.call("admin", "PUT", "/v1/policy", content=taken.encode(), **put)
    impact = (await house.call("lee", "GET", f"/v1/requests/{asked['id']}/impact")).json()
    assert (impact["fits"], "there is an account arl-nlp already" in impact["why_not"]) == (
        False,
        True,
    )
    view = (await decide(house, "lee", asked)).json()
    assert view["state"] == "approved"
    assert "there is an account arl-nlp already" in view["note"]
    again = await house.call("dana", "POST", f"/v1/requests/{asked['id']}/apply")
    assert (again.status_code, "already" in again.json()["detail"]) == (409, True)
    await house.call("admin", "PUT", "/v1/policy", content=POLICY.encode(), **put)
    done = await house.call("dana", "POST", f"/v1/requests/{asked['id']}/apply")
    assert done.json()["state"] == "applied", done.text
    twice = await house.call("dana", "POST", f"/v1/requests/{asked['id']}/apply")
    assert twice.json()["revision"] == done.json()["revision"]
    _, text = await policy_of(house)
    assert "{name: zoe, labels: [public]}" in text, "who is new becomes a user"
    assert "{name: arl-nlp, parent: arl, sector: dod, members: [dana, zoe]}" in text


async def test_a_policy_is_proposed_by_one_and_approved_by_another(house):
    text = POLICY.replace("cap: 8", "cap: 6", 1)
    change = {"kind": "policy", "base_revision": 1, "document": text}
    asked = await ask(house, "lee", change)
    assert asked["who_may_decide"] == ["pat"], "never who proposes it"
    assert (await decide(house, "lee", asked)).status_code == 403
    assert (await decide(house, "pat", asked)).json()["state"] == "applied"
    assert await policy_of(house) == (2, text)


async def test_the_second_of_two_who_edit_the_policy_is_told(house):
    texts = [POLICY.replace("cap: 8", f"cap: {cap}", 1) for cap in (5, 6)]
    changes = [{"kind": "policy", "base_revision": 1, "document": text} for text in texts]
    first, second = [await ask(house, "lee", change) for change in changes]
    assert (await decide(house, "pat", first)).json()["state"] == "applied"
    view = (await decide(house, "pat", second)).json()
    assert view["state"] == "approved"
    assert "written against revision 1, and revision 2 is in force" in view["note"]
    late = {"change": changes[1], "reason": WHY}
    answer = await house.call("lee", "POST", "/v1/requests", json=late)
    assert (answer.status_code, answer.json()["field"]) == (409, "base_revision")


async def test_a_faulty_policy_is_refused_with_lines_before_anybody_is_asked(house):
    change = {"kind": "policy", "base_revision": 1, "document": POLICY.replace("cap: 8", "cap: 0")}
    answer = await house.call("lee", "POST", "/v1/requests", json={"change": change, "reason": WHY})
    assert answer.status_code == 409
    assert all(fault["line"] for fault in answer.json()["errors"])


async def test_a_threshold_crossing_changes_no_policy_and_needs_two_institutions(house):
    """R17: two approvers from different institutions."""
    change = {"kind": "threshold", "account": "arl-vision", "model_line": "eagle"}
    asked = await ask(house, "dana", change | {"threshold": "1e26 FLOP", "flop": 1.2e26})
    assert asked["who_may_decide"] == ["lee", "pat"]
    await decide(house, "lee", asked)
    done = (await decide(house, "pat", asked)).json()
    assert (done["state"], done["revision"]) == ("applied", None)
    assert (await policy_of(house))[0] == 1


async def test_membership_gives_a_role_and_takes_it(house):
    change = {"kind": "membership", "account": "arl-vision", "add": ["zoe"], "remove": ["dana"]}
    asked = await ask(house, "dana", change)
    assert (await decide(house, "lee", asked)).json()["state"] == "applied"
    assert "members: [zoe]" in (await policy_of(house))[1]


async def test_a_draft_is_its_writers_alone_until_it_is_sent(house):
    asked = await ask(house, "dana", budget(), draft=True)
    path = f"/v1/requests/{asked['id']}"
    assert (await house.call("lee", "GET", path)).status_code == 404
    assert await told(house, "lee") == []
    for _ in range(2):
        sent = await house.call("dana", "POST", f"{path}/send")
        assert sent.json()["state"] == "open"
    assert len(await told(house, "lee")) == 1
    assert await audit(house, asked["id"]) == ["request.create", "request.send"]


async def test_only_who_asked_withdraws_and_a_withdrawn_one_is_over(house):
    asked = await ask(house, "dana", budget())
    path = f"/v1/requests/{asked['id']}/withdraw"
    why = {"text": "no longer needed"}
    assert (await house.call("lee", "POST", path, json=why)).status_code == 403
    for _ in range(2):
        assert (await house.call("dana", "POST", path, json=why)).json()["state"] == "withdrawn"
    assert (await decide(house, "lee", asked)).status_code == 409


async def test_strangers_see_nothing_and_those_who_may_not_ask_are_told(house):
    asked = await ask(house, "dana", budget())
    assert (await house.call("alex", "GET", f"/v1/requests/{asked['id']}")).status_code == 404
    for path in ("decide", "comment", "withdraw", "send", "apply", "impact"):
        method = "GET" if path == "impact" else "POST"
        message = {"approve": True, "digest": asked["digest"], "reason": "x"}
        message = message if path == "decide" else {"text": "x"}
        full = f"/v1/requests/{asked['id']}/{path}"
        answer = await house.call("alex", method, full, json=message)
        assert answer.status_code == 404, path
    listed = (await house.call("alex", "GET", "/v1/requests")).json()
    assert listed["requests"] == []
    refused = await house.call(
        "alex", "POST", "/v1/requests", json={"change": budget(), "reason": WHY}
    )
    assert (refused.status_code, refused.json()["limit"]) == (403, "lead or researcher")


async def test_lists_are_narrowed_and_paged(house):
    for number in range(3):
        await ask(house, "dana", budget(id=f"b{number}"))
    await ask(house, "dana", budget(id="other"), draft=True)
    mine = (await house.call("dana", "GET", "/v1/requests", params={"limit": 3})).json()
    assert [one["state"] for one in mine["requests"]] == ["draft", "open", "open"]
    rest = await house.call("dana", "GET", "/v1/requests", params={"after": mine["next"]})
    assert len(rest.json()["requests"]) == 1
    waits = await house.call("lee", "GET", "/v1/requests", params={"awaiting": "me"})
    assert [one["awaits_you"] for one in waits.json()["requests"]] == [True] * 3
    none = await house.call("dana", "GET", "/v1/requests", params={"awaiting": "me"})
    assert none.json()["requests"] == []


async def test_the_impact_is_planned_on_the_present(house):
    """With another cap of the account's borrowing, its job would not start."""
    await house.report("national")
    job = await house.submit("iris", tier=["national"], nodes=2, gpus_per_node=8)
    text = POLICY.replace(
        "acme, pool: national-hub, nominal: 8, lend_max: 8, borrow_max: 24",
        "acme, pool: national-hub, nominal: 8, lend_max: 8, borrow_max: 0",
    )
    change = {"kind": "policy", "base_revision": 1, "document": text}
    asked = await ask(house, "lee", change)
    path = f"/v1/requests/{asked['id']}/impact"
    stranger = (await house.call("pat", "GET", path)).json()
    assert (stranger["jobs"], stranger["jobs_start_less"]) == ([], 1), "iris's job is not pat's"
    found = (await house.call("audra", "GET", path)).json()
    assert found["fits"]
    assert found["rows"] == ["quotas: acme in national-hub: borrow_max from 24 to 0"]
    assert (found["jobs_start_less"], found["jobs_start_more"]) == (1, 0)
    assert job["id"] in found["jobs"][0]
    assert found["accounts"] == [{"account": "acme-robotics", "before": 16, "after": 0}]


BAD = [
    pytest.param({"reason": " "}, "reason", id="a blank reason"),
    pytest.param({"change": {"kind": "holiday"}}, "change", id="no such kind"),
    pytest.param({"change": budget(h100e_hours=0)}, "change.budget.h100e_hours", id="no hours"),
    pytest.param(
        {"change": agreement(borrower_sector="dod")}, "change.borrower_account", id="two borrowers"
    ),
]


@pytest.mark.parametrize(("more", "field"), BAD)
async def test_what_makes_no_sense_is_refused_by_field(small, more, field):
    who = "alex" if "borrower" in field else "dana"
    message = {"change": budget(), "reason": WHY} | more
    answer = await small.call(who, "POST", "/v1/requests", json=message)
    assert (answer.status_code, answer.json()["field"]) == (422, field)
