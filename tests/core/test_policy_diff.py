"""What another policy would change, by reading both and by planning under both."""

from dataclasses import replace
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.core.plan import plan
from scheduler.core.policy_diff import differences
from scheduler.core.world import World
from tests import build, strategies
from tests.build import NOON

TREE = [build.account("national", None), build.account("a"), build.account("b")]
OLD = build.policy(TREE, quotas=[build.quota("a", 8), build.quota("b", 8)])
NEW = replace(OLD, quotas=(build.quota("a", 16), build.quota("b", 0)))


def sentences(found):
    return [row.sentence() for row in found.rows]


def test_rows_are_told_field_by_field():
    found = differences(OLD, replace(NEW, rules=replace(OLD.rules, half_life=timedelta(days=7))))
    assert sentences(found) == [
        "quotas: a in hub: nominal from 8 to 16",
        "quotas: a in hub: lend_max from 8 to 16",
        "quotas: b in hub: nominal from 8 to 0",
        "quotas: b in hub: lend_max from 8 to 0",
        "rules: all: half_life from 14 days, 0:00:00 to 7 days, 0:00:00",
    ]
    assert {row.account for row in found.rows} == {"a", "b", None}
    assert not found.planned


def test_rows_that_came_or_went_are_told_once():
    more = replace(OLD, accounts=(*TREE, build.account("c", "a")), agreements=(LEND,))
    assert sentences(differences(OLD, more)) == ["accounts: c is new", "agreements: lend is new"]
    assert sentences(differences(more, OLD)) == ["accounts: c is gone", "agreements: lend is gone"]


LEND = build.agreement("lend", "national", "b")


def test_starts_gained_and_lost_are_told_by_job_and_account():
    jobs = [build.job("j1", "a", gpus=8, count=2), build.job("j2", "b", gpus=8)]
    found = differences(OLD, NEW, build.snapshot(build.nodes(), jobs), NOON)
    told = {job.job: job.sentence() for job in found.jobs}
    assert told["j1"].startswith("j1 of alex (a, 16 GPUs) would start: in hub, in quota. Before: ")
    assert told["j2"].startswith("j2 of alex (b, 8 GPUs) would no longer start: b holds 0 GPUs")
    assert found.by_account() == {"a": (0, 16), "b": (8, 0)}


def test_a_recall_that_comes_with_the_new_policy_is_told():
    old = replace(OLD, quotas=(build.quota("a", 8), build.quota("b", 8, borrow=8)))
    new = replace(OLD, quotas=(build.quota("a", 16), build.quota("b", 0, borrow=16)))
    busy = build.run("r", "b", {"hub-1": range(8), "hub-2": range(8)})
    busy = replace(busy, quota_class=build.QuotaClass.BORROWED)
    job = build.job("j1", "a", gpus=8, count=2)
    found = differences(old, new, build.snapshot(build.nodes(), busy, job), NOON)
    assert [run.sentence() for run in found.runs] == ["cp-r-1 (b, 16 GPUs) would be recalled"]


def test_whose_reason_changes_is_told_the_one_that_is_another_and_who_waits_behind_is_not():
    pools = [build.pool(nodes=1), build.pool("far", nodes=1)]
    full = [
        build.run("r1", "national", {"hub-1": range(8)}),
        build.run("r2", "national", {"far-1": range(8)}, "far"),
    ]
    old = build.policy(pools=pools)
    new = replace(old, pools=(pools[0], replace(pools[1], gpus_per_node=4)))
    jobs = [build.job("j1", gpus=8), build.job("j2", gpus=8)]
    nodes = [build.node("hub-1"), build.node("far-1", "far")]
    found = differences(old, new, build.snapshot(nodes, full, jobs), NOON)
    (told,) = found.jobs
    assert told.job == "j1"
    assert told.after.startswith("far has 1 node of 4 x H100; the job asks for 8 x any GPU")
    assert told.before.startswith("national holds 8 GPUs of far with nominal 8")


@given(strategies.scenes())
@settings(max_examples=25, deadline=None)
def test_a_policy_differs_in_nothing_from_itself(scene):
    again = replace(scene.policy, revision=scene.policy.revision + 1)
    found = differences(scene.policy, again, scene.snapshot, scene.now)
    assert (found.rows, found.jobs, found.runs) == ((), (), ())


@given(strategies.scenes(), st.data())
@settings(max_examples=25, deadline=None)
def test_starts_that_are_told_are_those_that_would_be_planned(scene, data):
    quotas = tuple(replace(q, borrow_max=0) for q in scene.policy.quotas)
    other = replace(scene.policy, quotas=data.draw(st.sampled_from([quotas, ()])))
    found = differences(scene.policy, other, scene.snapshot, scene.now)

    def starts(policy):
        return {s.job for s in plan(World(policy, scene.snapshot), policy, scene.now).starts}

    before, after = starts(scene.policy), starts(other)
    assert {j.job for j in found.jobs if j.starts_after and not j.starts_before} == after - before
    assert {j.job for j in found.jobs if j.starts_before and not j.starts_after} == before - after
