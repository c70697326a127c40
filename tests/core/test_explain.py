"""Every reason has one sentence, and planning gives each sentence the numbers that it names."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.core import explain
from scheduler.core.explain import Reason, Verdict, sentence
from scheduler.core.plan import plan
from tests import build
from tests.strategies import Scene, scenes


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_one_sentence(reason):
    words = re.findall(r"{(\w+)}", explain._SENTENCES[reason])  # noqa: SLF001  # its own test
    numbers = tuple((word, 7) for word in words if word != "pool")
    text = sentence(Verdict(reason, build.pool().id, numbers), build.policy())
    assert text.endswith(".")
    assert "?" not in text
    assert "{" not in text


def test_a_sentence_survives_a_record_that_lacks_a_number():
    text = sentence(Verdict(Reason.USER_LIMIT, None, (("user", "ann"),)), build.policy())
    assert text == "ann may hold ? GPUs at once and holds ?; this job needs ?."


@settings(max_examples=100, deadline=None)
@given(scenes())
def test_every_verdict_of_a_plan_can_be_said(scene: Scene):
    for hold in plan(scene.world(), scene.policy, scene.now).holds:
        for verdict in hold.verdicts:
            assert "?" not in sentence(verdict, scene.policy)


HUB = build.pool().id


@pytest.mark.parametrize(
    ("verdict", "text"),
    [
        pytest.param(
            explain.over_budget(build.budget("fy26", "lab", 100), 7000, 350_001, 3599),
            "The budget fy26 of lab has 0 of 100 H100e-hours left (2 are spent, running jobs and "
            "reservations may take 98); this job may take 1.",
            id="R4: what is left never reads as enough",
        ),
        pytest.param(
            explain.window(build.reservation("demo", "lab", 2), 2),
            "hub has 2 of its nodes reserved for lab from 2026-03-02 12:00 UTC to "
            "2026-03-02 13:00 UTC, and the job does not fit before or beside them.",
            id="R7: reserved for others",
        ),
        pytest.param(
            explain.window(build.reservation("cooling", None), 1),
            "hub has maintenance on 1 of its nodes from 2026-03-02 12:00 UTC to "
            "2026-03-02 13:00 UTC, and the job does not fit before it or beside it.",
            id="R7: maintenance",
        ),
        pytest.param(
            explain.not_open(build.reservation("demo", "lab"), ended=False),
            "The job runs in the reservation demo only, which opens at 2026-03-02 12:00 UTC.",
            id="R7: not yet",
        ),
        pytest.param(
            explain.not_open(build.reservation("demo", "lab"), ended=True),
            "The job runs in the reservation demo only, which ended at 2026-03-02 13:00 UTC.",
            id="R7: over",
        ),
        pytest.param(
            explain.cell(HUB, build.account("lab").name),
            "A start in hub would break the cells that lab is guaranteed.",
            id="R11",
        ),
    ],
)
def test_a_verdict_made_here_has_every_number_of_its_sentence(verdict, text):
    assert sentence(verdict, build.policy()) == text


@given(st.integers(0, 10**7), st.integers(0, 10**7), st.integers(1, 10**7), st.integers(1, 2000))
def test_a_refusal_by_budget_never_says_that_enough_is_left(spent, committed, asked, hours):
    """R4."""
    if spent + committed + asked > hours * 3600:
        budget = build.budget("b", "lab", hours)
        numbers = dict(explain.over_budget(budget, spent, committed, asked).numbers)
        assert numbers["left"] < numbers["asked"]


@pytest.mark.parametrize(
    ("lowest", "highest", "asked"),
    [
        pytest.param("national", "national", "national only", id="one tier"),
        pytest.param("institution", "national", "institution to national", id="a range"),
    ],
)
def test_a_refused_tier_is_told_with_what_the_job_asks_for(lowest, highest, asked):
    """R13."""
    verdict = Verdict(
        Reason.TIER, build.pool().id, (("lowest", lowest), ("highest", highest), ("tier", "team"))
    )
    said = f"hub is of the team tier; the job asks for {asked}."
    assert sentence(verdict, build.policy()) == said


@pytest.mark.parametrize(
    ("pool_nodes", "asked", "nodes", "told"),
    [
        (1, 8, 4, "hub has 1 node of 4 x H100; the job asks for 8 x H200 on each of 4 nodes."),
        (11, 1, 1, "hub has 11 nodes of 4 x H100; the job asks for 1 x H200 on one node."),
    ],
)
def test_one_node_is_not_nodes(pool_nodes, asked, nodes, told):
    numbers = (
        ("pool_nodes", pool_nodes),
        ("has", 4),
        ("model", "H100"),
        ("asked", asked),
        ("models", "H200"),
        ("nodes", nodes),
    )
    verdict = Verdict(Reason.HARDWARE, HUB, numbers)
    assert sentence(verdict, build.policy()) == told


@given(st.integers(0, 99), st.integers(0, 99))
def test_an_amount_is_in_the_right_number(free, fitting):
    numbers = (("free", free), ("fitting", fitting), ("nodes", 21), ("gpus_per_node", 1))
    told = sentence(Verdict(Reason.CAPACITY, HUB, numbers), build.policy())
    assert f"{free} {'GPU' if free == 1 else 'GPUs'} free" in told
    assert f"{fitting} of the 21 nodes" in told
    assert told.endswith("1 GPU each.")
