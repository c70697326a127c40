"""What operators and people see of the planner, and what they may not."""

from datetime import timedelta

import pytest

from scheduler.api import explanations, what_if
from scheduler.api.explanations import eta_view
from scheduler.core.eta import Eta
from scheduler.sim.past import play
from tests.api.conftest import NOON

WISH = {"changes": [{"what": "weight", "account": "arl", "weight": 3}]}
ADMINS = [("GET", "/v1/diagnostics", {}), ("POST", "/v1/what-if", {"json": WISH})]
PEOPLES = ["/v1/shares", "/v1/prio", "/v1/queue"]


@pytest.mark.parametrize(("method", "path", "more"), ADMINS)
@pytest.mark.parametrize("who", ["dana", "national-site", "national-node"])
async def test_what_is_an_admins_is_nobody_elses(small, who, method, path, more):
    answer = await small.call(who, method, path, **more)
    assert answer.status_code == 403
    assert answer.json()["limit"] == ("auditor or operator" if who == "dana" else "admin")


@pytest.mark.parametrize("path", PEOPLES)
async def test_agents_see_nothing_of_the_queue(small, path):
    assert (await small.call("national-node", "GET", path)).status_code == 403
    assert (await small.http.get(path)).status_code == 401


@pytest.mark.parametrize("path", [*PEOPLES, "/v1/diagnostics"])
async def test_a_hub_without_a_policy_says_so(bare, path):
    answer = await bare.call("admin", "GET", path)
    assert answer.status_code == 503
    assert "policy" in answer.json()["detail"]


async def waiting(house):
    """Two people's jobs that nobody can start yet: no node has reported."""
    mine = await house.submit("dana", gpus_per_node=8)
    theirs = await house.submit("alex", gpus_per_node=8)
    await house.plan()
    return mine["id"], theirs["id"]


async def test_people_see_the_factors_of_their_own_jobs_and_admins_all(house):
    mine, theirs = await waiting(house)
    pages = {who: (await house.call(who, "GET", "/v1/prio")).json() for who in ("dana", "admin")}
    assert [job["job"] for job in pages["dana"]["jobs"]] == [mine]
    assert {job["job"] for job in pages["admin"]["jobs"]} == {mine, theirs}
    assert [job["place"] for job in pages["admin"]["jobs"]] == [1, 2]
    assert pages["dana"]["jobs"][0]["path"][-1]["account"] == "arl-vision"


async def test_a_page_of_factors_leads_to_the_next(small):
    await waiting(small)
    first = (await small.call("admin", "GET", "/v1/prio?limit=1")).json()
    then = (await small.call("admin", "GET", f"/v1/prio?limit=1&after={first['next']}")).json()
    assert [page["jobs"][0]["place"] for page in (first, then)] == [1, 2]
    assert then["next"] is None


async def test_the_queue_shows_people_their_own_with_its_start(house):
    mine, theirs = await waiting(house)
    house.hub.etas[mine] = Eta(NOON, NOON + timedelta(minutes=20), NOON + timedelta(hours=1))
    rows = (await house.call("dana", "GET", "/v1/queue")).json()["jobs"]
    assert [row["job"] for row in rows] == [mine]
    assert rows[0]["eta"]["sentence"] == (
        "It should start in about 20 min (four times in five between at once and in about 60 min)."
    )
    everybody = (await house.call("admin", "GET", "/v1/queue")).json()["jobs"]
    assert {row["job"] for row in everybody} == {mine, theirs}


async def test_everybody_sees_the_sums_of_the_tree(house):
    await house.running("dana", gpus_per_node=8)
    house.clock.forward(timedelta(hours=1))
    rows = (await house.call("alex", "GET", "/v1/shares")).json()["shares"]
    by = {row["account"]: row for row in rows}
    assert by["arl-vision"]["h100e_seconds"] == pytest.approx(8 * 3600, rel=0.01)
    assert by[by["arl-vision"]["parent"]]["h100e_seconds"] == by["arl-vision"]["h100e_seconds"]
    assert rows[0]["parent"] is None


async def test_diagnostics_count_cycles_and_time_by_phase(house):
    await waiting(house)
    found = (await house.call("admin", "GET", "/v1/diagnostics")).json()
    assert found["waiting"] == 2
    assert not found["leads"]
    phases = {phase["phase"]: phase for phase in found["phases"]}
    assert 0 < phases["plan"]["mean_seconds"] <= phases["plan"]["max_seconds"]
    assert found["cycles"]["committed"] >= 1
    assert any(decision["kind"] == "hold" for decision in found["decisions"])


async def test_an_explanation_says_who_is_ahead_and_what_would_help(house):
    await house.report("national")
    asked = {"nodes": 3, "gpus_per_node": 8, "tier": ["national"], "time_limit_seconds": 3600}
    await house.submit("alex", **asked)
    await house.plan()
    job = await house.submit("dana", nodes=2, gpus_per_node=8, tier=["national"])
    await house.plan()
    told = (await house.call("dana", "GET", f"/v1/jobs/{job['id']}/explanation")).json()
    assert told["state"] == "pending"
    assert "1 node instead of 2 would start at once." in [s["sentence"] for s in told["sooner"]]


async def test_in_a_long_queue_a_part_of_it_is_planned_with_and_told(small, monkeypatch):
    mine, _ = await waiting(small)
    monkeypatch.setattr(explanations, "_EFFORT", ())
    told = (await small.call("dana", "GET", f"/v1/jobs/{mine}/explanation")).json()
    assert "of 2 waiting jobs" in told["note"]


async def test_an_answer_stands_for_a_while_and_too_many_runs_are_not_tried(small, monkeypatch):
    mine, _ = await waiting(small)
    path = f"/v1/jobs/{mine}/explanation"
    monkeypatch.setattr(explanations, "_EFFORT", ())
    monkeypatch.setattr(explanations, "_MOST_RUNS", -1)
    first = (await small.call("dana", "GET", path)).json()
    assert "too many to try" in first["note"]
    monkeypatch.setattr(explanations, "find_out", None)
    assert (await small.call("dana", "GET", path)).json() == first


async def test_a_job_that_runs_is_not_told_what_would_start_it(house):
    job, _ = await house.running("dana")
    told = (await house.call("dana", "GET", f"/v1/jobs/{job['id']}/explanation")).json()
    assert (told["eta"], told["ahead"], told["sooner"], told["note"]) == (None, [], [], "")


def test_an_interval_without_an_end_is_told_as_one():
    hour = timedelta(hours=1)
    assert "and open)" in eta_view(Eta(NOON, NOON + hour, None), NOON).sentence
    assert "at the earliest" in eta_view(Eta(NOON + hour, None, None), NOON).sentence


@pytest.fixture
async def played(house):
    """A hub with a simulator, and one job that ran for half an hour."""
    object.__setattr__(house.hub, "play", play)
    _, run = await house.running("dana", gpus_per_node=8, time_limit_seconds=7200)
    house.clock.forward(timedelta(minutes=30))
    await house.sync("national", house.observed(run, "succeeded", fenced=True), sequence=2)
    return house


async def test_what_if_plays_the_hubs_own_history(played):
    answer = await played.call("admin", "POST", "/v1/what-if", json=WISH)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["jobs"] == 1
    assert found["before"]["total"]["gpu_hours"] == pytest.approx(4)
    assert found["before"] == found["after"]


@pytest.mark.parametrize(
    ("window", "jobs", "said"),
    [
        pytest.param({}, 1, "Taken: 1 job that ended between", id="a week"),
        pytest.param({"until": "2026-03-02T12:30:00Z"}, 1, "2026-03-02 12:30 UTC", id="until then"),
        pytest.param({"until": "2026-03-02T12:29:59Z"}, 0, "Taken: 0 jobs", id="until before"),
        pytest.param({"since": "2026-03-02T12:30:00Z"}, 0, "Taken: 0 jobs", id="since it ended"),
        pytest.param({"since": "2026-03-02T13:29:00+01:00"}, 1, "2026-03-02 12:29", id="a zone"),
    ],
)
async def test_what_if_plays_the_window_that_is_asked_for(played, window, jobs, said):
    found = (await played.call("admin", "POST", "/v1/what-if", json=WISH | window)).json()
    assert found["jobs"] == jobs
    assert said in found["note"]


async def test_what_if_says_that_more_jobs_ended_than_were_asked_for(played):
    job = await played.submit("dana", tier=["national"])
    await played.plan()
    run = f"cp-{job['id']}-1"
    await played.sync("national", played.observed(run, "running"), sequence=3)
    played.clock.forward(timedelta(minutes=1))
    await played.sync("national", played.observed(run, "succeeded", fenced=True), sequence=4)
    found = (await played.call("admin", "POST", "/v1/what-if", json=WISH | {"jobs": 1})).json()
    assert found["jobs"] == 1
    assert "the latest 1 job that" in found["note"]
    assert "earlier ones were left out" in found["note"]


@pytest.mark.parametrize(
    "window",
    [
        pytest.param(
            {"since": "2026-03-02T12:00:00Z", "until": "2026-03-02T12:00:00Z"}, id="no time"
        ),
        pytest.param({"until": "0001-01-01T00:00:00Z"}, id="before there were hubs"),
        pytest.param({"since": "2026-03-02T12:00:00"}, id="no zone"),
        pytest.param({"jobs": 50_001}, id="too many"),
    ],
)
async def test_a_window_that_makes_no_sense_is_refused(played, window):
    answer = await played.call("admin", "POST", "/v1/what-if", json=WISH | window)
    assert answer.status_code == 422


async def test_a_play_that_takes_too_long_is_ended_and_told(played, monkeypatch):
    monkeypatch.setattr(what_if, "MOST_SECONDS", -1.0)
    answer = await played.call("admin", "POST", "/v1/what-if", json=WISH)
    assert answer.status_code == 503
    assert "Playing 1 job twice was ended" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        pytest.param(
            {"what": "weight", "account": "nobody", "weight": 1}, "changes.0", id="no such account"
        ),
        pytest.param(
            {"what": "quota", "account": "arl", "pool": "national-hub", "nominal": 9999},
            "changes",
            id="more than there is",
        ),
    ],
)
async def test_changes_that_make_no_policy_are_refused_and_change_nothing(played, wish, field):
    before = (await played.call("admin", "GET", "/v1/policy")).text
    answer = await played.call("admin", "POST", "/v1/what-if", json={"changes": [wish]})
    assert answer.status_code == 422
    assert answer.json()["field"] == field
    assert (await played.call("admin", "GET", "/v1/policy")).text == before


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        pytest.param({"account": "arl"}, "a field 'what' must say which it is", id="no kind"),
        pytest.param({"what": "colour"}, "'what' is 'colour', which is none of", id="another"),
    ],
)
async def test_a_change_of_no_known_kind_is_told_so(played, wish, said):
    answer = await played.call("admin", "POST", "/v1/what-if", json={"changes": [wish]})
    assert answer.status_code == 422
    assert said in answer.json()["detail"]


async def test_a_hub_without_a_simulator_says_so(small):
    answer = await small.call("admin", "POST", "/v1/what-if", json=WISH)
    assert answer.status_code == 503
