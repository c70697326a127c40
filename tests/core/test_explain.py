"""Every reason has one sentence, and planning gives each sentence the numbers that it names."""

import re

import pytest
from hypothesis import given, settings

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
