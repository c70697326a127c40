"""What an approver looks back at: the requester's history, and decisions on the like of it."""

from datetime import timedelta

from tests.api.test_requests import agreement, ask, budget, decide


async def precedents(house, who, name):
    answer = await house.call(who, "GET", f"/v1/requests/{name}/precedents")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_first_request_has_no_history_and_says_so(small):
    asked = await ask(small, "dana", budget())
    found = await precedents(small, "lee", asked["id"])
    assert found == {
        "requester": "dana",
        "first_time": True,
        "counts": [],
        "history": [],
        "similar": [],
    }


async def test_what_was_decided_is_told_with_by_whom_and_why(small):
    first = await ask(small, "dana", budget())
    await decide(small, "lee", first, reason="in the plan")
    small.clock.forward(timedelta(hours=1))
    second = await ask(small, "dana", budget(id="arl-more"))
    await decide(small, "lee", second, approve=False, reason="too much")
    small.clock.forward(timedelta(hours=1))
    third = await ask(small, "dana", budget(id="arl-least", h100e_hours=10))
    found = await precedents(small, "lee", third["id"])
    assert [one["id"] for one in found["similar"]] == [second["id"], first["id"]]
    assert [(w["by"], w["approve"], w["reason"]) for w in found["similar"][0]["words"]] == [
        ("lee", False, "too much")
    ]
    assert found["history"] == found["similar"]
    assert found["counts"] == [
        {"state": "applied", "count": 1},
        {"state": "denied", "count": 1},
    ]


async def test_the_like_of_it_is_of_one_kind_and_was_decided(small):
    other = await ask(small, "alex", agreement())
    await decide(small, "pat", other)
    await decide(small, "lee", other)
    waiting = await ask(small, "dana", budget())
    asked = await ask(small, "dana", budget(id="arl-more"))
    found = await precedents(small, "lee", asked["id"])
    assert found["similar"] == []
    assert [one["id"] for one in found["history"]] == [waiting["id"]]


async def test_nobody_learns_of_requests_that_they_may_not_see(small):
    asked = await ask(small, "dana", budget())
    refused = await small.call("alex", "GET", f"/v1/requests/{asked['id']}/precedents")
    assert refused.status_code == 404
    await ask(small, "alex", budget(account="state-u", id="uni-2026"))
    shared = await ask(small, "alex", agreement())
    seen_by_lee = await precedents(small, "lee", shared["id"])
    assert seen_by_lee["history"] == [], "a budget of state-u is not lee's to see"
    assert seen_by_lee["first_time"], "of what lee may see"
    assert len((await precedents(small, "pat", shared["id"]))["history"]) == 1
