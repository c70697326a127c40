"""Usage day by day and budgets over HTTP: whose, how much, and until when (R3, R4)."""

import asyncio
from datetime import timedelta

import pytest

from scheduler.api import usage_lately
from scheduler.db.daily import leases_between
from tests.api.conftest import NOON, POLICY

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
BUDGETS = """
budgets:
  - {id: all, account: national, h100e_hours: 1000, valid_from: 2026-03-01, valid_to: 2026-06-01}
  - {id: arl-spring, account: arl, h100e_hours: 100, valid_from: 2026-03-01, valid_to: 2026-06-01}
  - {id: acme-spring, account: acme, h100e_hours: 9, valid_from: 2026-03-01, valid_to: 2026-06-01}
"""


@pytest.fixture
async def used(house):
    """Dana had 8 GPUs nationally for two hours, the second past midnight; another job runs."""
    yaml = {"Content-Type": "text/yaml"}
    answer = await house.call(
        "admin", "PUT", "/v1/policy?reason=test", content=POLICY + BUDGETS, headers=yaml
    )
    assert answer.status_code == 200, answer.text
    house.clock.at = NOON + 11 * HOUR
    _, run = await house.running("dana", gpus_per_node=8, time_limit_seconds=14_400)
    house.clock.forward(2 * HOUR)
    done = house.observed(run, "succeeded", exit_code=0, fenced=True)
    await house.sync("national", done, sequence=2)
    await house.report("national")
    await house.submit("dana", gpus_per_node=4, tier=["national"], time_limit_seconds=7200)
    await house.plan()
    house.clock.forward(30 * MINUTE)
    return house


async def asked(house, who="dana", **params):
    house.clock.later(60)  # what others were shown is too old
    return await asked_soon(house, who, **params)


async def asked_soon(house, who="dana", **params):
    answer = await house.call(who, "GET", "/v1/usage", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_days_are_cut_at_midnight_and_rolled_up_the_tree(used):
    found = await asked(used, days=2)
    assert [one["account"] for one in found["accounts"]] == ["national", "arl", "arl-vision"]
    for account in found["accounts"]:
        days = [(day["day"], day["in_quota_gpu_hours"]) for day in account["days"]]
        assert days == [("2026-03-02", 8.0), ("2026-03-03", 10.0)]
        assert account["gpu_hours"] == account["charged_h100e_hours"] == 18.0


async def test_a_budget_tells_what_is_used_reserved_and_left(used):
    budgets = {one["budget"]: one for one in (await asked(used))["budgets"]}
    assert set(budgets) == {"all", "arl-spring"}
    arl = budgets["arl-spring"]
    # The second job holds 4 GPUs for at most two hours.
    assert (arl["limit"], arl["used"], arl["reserved"], arl["left"]) == (100, 16, 8, 76)
    assert [(one["day"], one["left"]) for one in arl["burn"]] == [
        ("2026-03-01", 100),
        ("2026-03-02", 92),
        ("2026-03-03", 82),
    ]
    assert arl["per_day"] is None  # two whole days say nothing


async def test_a_budget_says_when_it_is_used_up(used):
    used.clock.forward(2 * 24 * HOUR)
    used.tokens.clear()  # theirs were for a day
    found, gone = (await asked(used, account="arl"))["budgets"]
    assert found["budget"] == "all"
    assert found["per_day"] > 0
    assert "2026-03-05" < found["earliest"] < found["likely"]
    assert found["cone"][0]["low"] == found["cone"][0]["high"] == found["burn"][-1]["left"]
    # The job that nobody ended has used more than there was.
    assert gone["burn"][-1]["left"] < 0
    assert (gone["earliest"], gone["latest"]) == ("2026-03-05", "2026-03-05")


async def test_nobody_sees_the_budgets_of_accounts_beside_their_own(used):
    assert [one["budget"] for one in (await asked(used, "iris"))["budgets"]] == [
        "acme-spring",
        "all",
    ]
    answer = await used.call("iris", "GET", "/v1/usage", params={"account": "arl"})
    assert answer.status_code == 403
    problem = answer.json()
    assert (problem["field"], problem["value"]) == ("account", "arl")
    assert "acme-robotics" in problem["limit"]
    absent = await used.call("iris", "GET", "/v1/usage", params={"account": "nothing"})
    assert absent.status_code == 403


async def test_admins_see_every_account_or_one(used):
    everything = await asked(used, "admin")
    assert len(everything["accounts"]) == 7
    assert len(everything["budgets"]) == 3
    one = await asked(used, "admin", account="acme")
    assert [each["account"] for each in one["accounts"]] == ["acme"]


@pytest.mark.parametrize(
    ("who", "accounts", "budgets"),
    [
        ("lee", ["national", "arl", "arl-vision"], {"all", "arl-spring"}),  # leads arl
        ("pat", ["national", "state-u", "state-u-nlp"], {"all"}),  # leads state-u
    ],
)
async def test_a_lead_sees_the_budgets_of_what_they_lead_and_no_others(
    used, who, accounts, budgets
):
    found = await asked(used, who)
    assert [each["account"] for each in found["accounts"]] == accounts
    assert {each["budget"] for each in found["budgets"]} == budgets
    refused = await used.call(who, "GET", "/v1/usage?account=acme")
    assert refused.status_code == 403


@pytest.mark.parametrize("who", ["ops", "audra"])
async def test_an_operator_and_an_auditor_see_all_below_their_account(used, who):
    assert len((await asked(used, who))["accounts"]) == 7


async def test_who_is_in_no_account_is_shown_nothing(used):
    found = await asked(used, "zoe")
    assert (found["accounts"], found["budgets"]) == ([], [])


async def test_what_cannot_be_asked_and_who_may_not_ask(small):
    assert (await small.call("dana", "GET", "/v1/usage?days=93")).status_code == 422
    assert (await small.call("dana", "GET", "/v1/usage?weeks=1")).status_code == 422
    assert (await small.call("national-node", "GET", "/v1/usage")).status_code == 403
    assert (await small.http.get("/v1/usage")).status_code == 401


async def test_those_who_ask_at_once_share_one_reading_and_each_is_told_their_own(
    used, monkeypatch
):
    readings = []

    def counted(*words):
        readings.append(words)
        return leases_between(*words)

    monkeypatch.setattr(usage_lately, "leases_between", counted)
    monkeypatch.setattr(usage_lately, "KEEP_TIMES", 1e9)
    dana, alex = await asyncio.gather(asked_soon(used, "dana"), asked_soon(used, "alex"))
    assert len(readings) == 1
    assert "arl-vision" in {one["account"] for one in dana["accounts"]}
    assert "arl-vision" not in {one["account"] for one in alex["accounts"]}


@pytest.mark.parametrize(("times", "is_read_anew"), [(0, True), (1e9, False)])
async def test_a_reading_is_shown_again_for_as_long_as_its_cost_allows(
    used, monkeypatch, times, is_read_anew
):
    monkeypatch.setattr(usage_lately, "KEEP_TIMES", times)
    before = await asked_soon(used)
    used.clock.forward(MINUTE)
    assert ((await asked_soon(used))["until"] > before["until"]) == is_read_anew


async def test_every_number_of_days_is_cut_out_of_three_readings(used, monkeypatch):
    """Whoever asks for each in turn, and each time anew, makes the hub read no more than these."""
    readings = []

    def counted(*words):
        readings.append(words)
        return leases_between(*words)

    monkeypatch.setattr(usage_lately, "leases_between", counted)
    monkeypatch.setattr(usage_lately, "KEEP_TIMES", 1e9)
    whole = await asked_soon(used, days=92)
    for days in (1, 5, 7, 8, 20, 28, 29, 60, 91):
        found = await asked_soon(used, days=days)
        assert found["since"][:10] == found["accounts"][0]["days"][0]["day"]
        for one, all_days in zip(found["accounts"], whole["accounts"], strict=True):
            assert one["days"] == all_days["days"][-days:]
    assert len(readings) == len(usage_lately.WINDOWS)


async def test_another_policy_is_read_anew(used, monkeypatch):
    monkeypatch.setattr(usage_lately, "KEEP_TIMES", 1e9)
    budgets = {one["budget"] for one in (await asked_soon(used))["budgets"]}
    assert budgets == {"all", "arl-spring"}
    yaml = {"Content-Type": "text/yaml"}
    await used.call("admin", "PUT", "/v1/policy?reason=test", content=POLICY, headers=yaml)
    assert (await asked_soon(used))["budgets"] == []
