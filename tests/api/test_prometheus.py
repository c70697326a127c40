"""What Prometheus gets from a hub: whom to scrape, and series that are there from the start."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics

from scheduler import metrics
from scheduler.core.explain import Reason
from scheduler.loops.cycle import CycleLoop

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"


async def has_gpus(house, site, pool, *names, **more):
    """Report nodes with GPUs; real ones, unless `more` of them is said."""
    gpus = [{"index": i, "uuid": f"GPU-{i}", "model": "H100"} for i in range(8)]
    at = house.clock.now().isoformat()
    one = {"pool": pool, "boot_id": "b", "sequence": 1, "sampled_at": at, "gpus": gpus} | more
    reports = [one | {"node": node} for node in names]
    answer = await house.call(f"{site}-node", "POST", "/v1/nodes/report", json={"reports": reports})
    assert answer.status_code == 200, answer.text


async def targets(house, who="admin", **query):
    answer = await house.call(who, "GET", "/v1/prometheus/targets", params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


async def page(house, accept=""):
    answer = await house.call("admin", "GET", "/metrics", headers={"Accept": accept})
    assert answer.status_code == 200
    return answer


async def series(house):
    answer = await page(house, OPENMETRICS)
    return {
        (sample.name, *sorted(sample.labels.items())): sample
        for family in openmetrics(answer.text)
        for sample in family.samples
    }


async def test_targets_are_grouped_by_pool_and_a_simulated_node_without_exporter_is_none(small):
    await small.report("state-u")
    assert await targets(small) == []
    await has_gpus(small, "national", "national-hub", "gpu-b", "gpu-a")
    labels = {"site": "national", "pool": "national-hub", "tier": "national"}
    assert await targets(small) == [{"targets": ["gpu-a:9400", "gpu-b:9400"], "labels": labels}]
    (group,) = await targets(small, port=9500, domain="hub.example", pool="national-hub")
    assert group["targets"] == ["gpu-a.hub.example:9500", "gpu-b.hub.example:9500"]
    assert await targets(small, pool="state-u-hpc") == []


async def test_a_sites_token_sees_its_own_nodes_and_only_one_of_all_sites_sees_all(small):
    await has_gpus(small, "national", "national-hub", "gpu-a", "gpu-b")
    assert len((await targets(small, "national-metrics"))[0]["targets"]) == 2
    assert len((await targets(small, "all-sites-metrics"))[0]["targets"]) == 2
    for other in ("state-u-metrics", "prometheus-metrics", "gpu-a-metrics"):
        assert await targets(small, other) == []


async def test_a_simulated_node_is_found_where_it_says_and_under_its_own_name(small):
    here = {"simulated": True, "exporter": "127.0.0.1:9401"}
    await has_gpus(small, "state-u", "state-u-hpc", "state-u-1", "state-u-2", **here)
    labels = {"site": "state-u", "pool": "state-u-hpc", "tier": "institution"}
    assert await targets(small) == [
        {"targets": ["127.0.0.1:9401"], "labels": labels | {"node": name, "__param_node": name}}
        for name in ("state-u-1", "state-u-2")
    ]
    assert await targets(small, simulated=False) == []


async def test_a_real_node_says_its_port_and_is_reached_by_no_other_name_than_its_own(small):
    await has_gpus(small, "national", "national-hub", "gpu-a", exporter="elsewhere:9500")
    assert (await targets(small))[0]["targets"] == ["gpu-a:9500"]
    assert (await targets(small, domain="x.example"))[0]["targets"] == ["gpu-a.x.example:9500"]
    await has_gpus(small, "national", "national-hub", "gpu-a", exporter=":9600", sequence=2)
    assert (await targets(small))[0]["targets"] == ["gpu-a:9600"]


@pytest.mark.parametrize("where", ["9400", "a b:1", "http://x:9400", "x:9400/metrics", ":9400\n"])
async def test_an_exporter_that_is_no_address_is_refused(small, where):
    gpus = [{"index": 0, "uuid": "GPU-0", "model": "H100"}]
    report = {"node": "n", "pool": "national-hub", "boot_id": "b", "sequence": 1, "gpus": gpus}
    report |= {"sampled_at": small.clock.now().isoformat(), "exporter": where}
    answer = await small.call(
        "national-node", "POST", "/v1/nodes/report", json={"reports": [report]}
    )
    assert (answer.status_code, answer.json()["field"]) == (422, "reports.0.exporter")


async def test_shards_divide_the_nodes_and_lose_none(small):
    names = [f"gpu-{n}" for n in range(4)]
    await has_gpus(small, "national", "national-hub", *names)
    found = []
    for shard in range(3):
        for group in await targets(small, shard=shard, shards=3):
            found += group["targets"]
    assert sorted(found) == [f"{name}:9400" for name in names]


@pytest.mark.parametrize(
    "query",
    [
        pytest.param({"shard": 3, "shards": 3}, id="a shard that is not there"),
        pytest.param({"shards": 0}, id="no shards"),
        pytest.param({"prot": 9400}, id="a misspelt parameter"),
        pytest.param({"domain": "x/y"}, id="no domain"),
    ],
)
async def test_a_query_that_means_nothing_is_refused(small, query):
    answer = await small.call("admin", "GET", "/v1/prometheus/targets", params=query)
    assert answer.status_code == 422


async def test_every_label_of_a_closed_set_is_there_from_the_start(small):
    await small.plan()
    found = await series(small)
    for reason in Reason:
        assert (
            "commonpool_decisions_total", ("kind", "hold"), ("reason", reason.value)
        ) in found  # fmt: skip
    for state in metrics.NodeState:
        key = ("pool", "national-hub"), ("site", "national"), ("state", state.value)
        assert found["commonpool_nodes", *key].value == 0
    for state in metrics.JOB_STATES:
        assert ("commonpool_jobs", ("priority", "urgent"), ("state", state)) in found
    assert not [name for name, *_ in found if name.endswith("_created")]


async def test_how_things_stand_is_shown(small):
    await small.running()
    found = await series(small)

    def value(name, **labels):
        return found[name, *sorted(labels.items())].value

    assert value("commonpool_nodes", site="national", pool="national-hub", state="healthy") == 4
    assert value("commonpool_pool_gpus", site="national", pool="national-hub", tier="national",
                 state="up") == 32  # fmt: skip
    assert value("commonpool_jobs", state="leased", priority="standard") == 1
    held = [
        value("commonpool_held_gpus", pool="national-hub", quota_class=quota)
        for quota in metrics.QUOTA_CLASSES
    ]
    assert sum(held) == 1
    assert any(name == "commonpool_quota_gpus" and sample.value for (name, *_), sample in
               found.items())  # fmt: skip
    assert any(name == "commonpool_account_weight_ratio" for name, *_ in found)


@given(st.lists(st.dictionaries(st.tuples(st.sampled_from("abcd")), st.integers(0, 9))))
def test_a_gauge_shows_what_it_was_told_last_and_nothing_else(told):
    registry = CollectorRegistry()
    shown = metrics.Shown(Gauge("x", "x", ["one"], registry=registry))
    for rows in told:
        shown.show(rows)
        (family,) = registry.collect()
        assert {(sample.labels["one"],): sample.value for sample in family.samples} == rows


async def test_a_process_that_stops_leading_shows_nothing_of_its_old_world(small):
    await small.report("national")
    await small.submit("dana")
    loop = CycleLoop(small.hub.db, small.hub.wake, small.clock, 5)
    await loop.step()
    assert any(name == "commonpool_pool_gpus" for name, *_ in await series(small))
    loop.reset()
    found = await series(small)
    assert not any(name == "commonpool_pool_gpus" for name, *_ in found)
    assert all(s.value == 0 for (name, *_), s in found.items() if name == "commonpool_jobs")


async def test_an_exemplar_and_a_line_of_the_log_lead_from_a_slow_cycle_to_its_id(
    small, monkeypatch
):
    told = []
    monkeypatch.setattr("scheduler.loops.report.SLOW_SECONDS", 0.0)
    monkeypatch.setattr(
        "scheduler.loops.report.log.warning",
        lambda event, **facts: told.append((event, facts)),
        raising=False,
    )
    await small.running()
    exemplars = [
        sample.exemplar.labels["cycle_id"]
        for (name, *labels), sample in (await series(small)).items()
        if name == "commonpool_cycle_seconds_bucket" and sample.exemplar
        if ("phase", "whole") in labels
    ]
    assert exemplars
    assert [event for event, _ in told if event == "cycle_slow"]


async def test_who_does_not_ask_for_openmetrics_gets_the_plain_text(small):
    answer = await page(small)
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "cycle_id" not in answer.text
