"""What would start a job sooner is planned, not guessed (scheduling.md §5)."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings

from scheduler.core.counterfactual import Knob, about, changes, sooner, told
from scheduler.core.forecast import Foresight, typical_starts
from scheduler.core.model import PriorityClass, Tier
from scheduler.core.predict import Predictor
from tests import build, strategies
from tests.build import HOUR, MINUTE, NOON


def ask(policy, *things, job="j1"):
    foresight = Foresight(policy, Predictor())
    return {one.knob: one for one in sooner(foresight, build.snapshot(*things), job, NOON)}


def test_four_nodes_instead_of_eight_would_start_at_once():
    policy = build.policy(pools=[build.pool(nodes=8)])
    busy = build.run("r", "national", {f"hub-{n}": range(8) for n in range(1, 5)})
    found = ask(policy, build.nodes(count=8), busy, build.job("j1", gpus=8, count=8))
    assert (found[Knob.NODES].before, found[Knob.NODES].after) == ("8", "4")
    assert told(found[Knob.NODES], NOON) == "4 nodes instead of 8 would start at once."


def test_another_model_or_tier_is_told_where_it_is_free():
    pools = [
        build.pool(nodes=1),
        build.pool("old", nodes=1, gpu_model="A100", tier=Tier.INSTITUTION),
        build.pool("far", nodes=1, tier=Tier.FRONTIER),
    ]
    busy = build.run("r", "national", {"hub-1": range(8)})
    nodes = [*build.nodes(count=1), *build.nodes("old", 1), *build.nodes("far", 1)]
    waiting = build.job("j1", gpus=8, gpu_models=frozenset({"H100"}))
    found = ask(build.policy(pools=pools), nodes, busy, waiting)
    assert told(found[Knob.MODEL], NOON) == "A100 instead of H100 would start at once."
    assert found[Knob.TIER].after == "team to frontier"


def test_a_shorter_limit_goes_before_a_planned_start():
    policy = build.policy(pools=[build.pool(nodes=2)])
    busy = build.run("r", "national", {"hub-1": range(8)}, limit=HOUR)
    first = build.job("j1", gpus=8, count=2)
    long = build.job("j2", gpus=8, time_limit=100 * MINUTE, priority=PriorityClass.STANDARD)
    found = ask(policy, build.nodes(count=2), busy, first, long, job="j2")
    assert found[Knob.TIME_LIMIT].after == str(50 * MINUTE)
    assert found[Knob.TIME_LIMIT].starts_at == NOON


def test_nothing_is_told_where_nothing_helps():
    policy = build.policy(pools=[build.pool(nodes=1)])
    busy = build.run("r", "national", {"hub-1": range(8)})
    assert ask(policy, build.nodes(count=1), busy, build.job("j1", gpus=1)) == {}


@given(strategies.scenes())
@settings(max_examples=25, deadline=None)
def test_what_is_told_comes_true_when_it_is_asked_for(scene):
    foresight = Foresight(scene.policy, Predictor())
    for name, job in list(scene.snapshot.jobs.items())[:2]:
        now = typical_starts(foresight, scene.snapshot, scene.now, [name], 60).get(name)
        for one in sooner(foresight, scene.snapshot, name, scene.now):
            assert one.starts_at >= scene.now
            assert now is None or one.starts_at < now
            meant = next(
                c.job
                for c in changes(job, scene.policy)
                if (c.knob, c.after) == (one.knob, one.after)
            )
            changed = replace(scene.snapshot, jobs={**scene.snapshot.jobs, name: meant})
            assert typical_starts(foresight, changed, scene.now, [name], 60)[name] == one.starts_at


@pytest.mark.parametrize(
    ("wait", "words"),
    [
        (timedelta(0), "at once"),
        (timedelta(seconds=30), "within a minute"),
        (20 * MINUTE, "in about 20 min"),
        (5 * HOUR, "in about 5 h"),
        (72 * HOUR, "in about 3 days"),
    ],
)
def test_waits_are_told_as_people_say_them(wait, words):
    assert about(wait) == words
