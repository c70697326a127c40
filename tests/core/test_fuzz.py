"""Random histories for as long as you like: `make fuzz`, and `make fuzz SEED=...` once more.

Each example is a whole world that is played to its end and held against the oracle at every
moment, with the world brought forward against one built anew. Not part of `make test`.
"""

import os
import random
import sys
import time

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from scheduler.core.decisions import Plan
from scheduler.core.plan import plan
from scheduler.core.policy import Policy
from scheduler.core.world import World
from tests.core import oracle
from tests.core.test_rest import crowds, rounds_to_rest
from tests.strategies import Step, moments, policies, steps

pytestmark = [
    pytest.mark.fuzz,
    pytest.mark.timeout(0),
    # A long history is what is printed; a warning of that must not hide what it broke.
    pytest.mark.filterwarnings("ignore:Generating overly large repr"),
    pytest.mark.skipif("FUZZ_SECONDS" not in os.environ, reason="takes minutes: make fuzz"),
]

SECONDS = float(os.environ.get("FUZZ_SECONDS") or 600)
EXAMPLES = 50
"""In one go; each go has a seed of its own, so that one can be repeated alone."""

LONG = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    phases=(Phase.generate, Phase.shrink),  # to explain a failure takes longer than to find it
    suppress_health_check=list(HealthCheck),
)


def goes():
    """Yield seeds until the time is up; only the one that was asked for, if one was."""
    asked = os.environ.get("FUZZ_SEED")
    if asked:
        yield int(asked)
        return
    until = time.monotonic() + SECONDS / 2
    while time.monotonic() < until:
        yield random.SystemRandom().randrange(10**9)


@LONG
@given(policies(), steps(8))
def histories(policy: Policy, history: list[Step]) -> None:
    world: World | None = None
    for scene, happens in moments(policy, history):
        world = world or scene.world()
        assert oracle.problems(scene.policy, scene.snapshot) == []
        assert world.state() == scene.world().state()
        forward, anew = plan(world, policy, scene.now), plan(scene.world(), policy, scene.now)
        assert forward == anew
        assert list(forward.holds) == list(anew.holds)
        if isinstance(happens, Plan):
            world.advance(happens)
        elif happens is not None:
            world.apply(happens)


@LONG
@given(crowds())
def rests(crowd) -> None:
    policy, waves = crowd
    assert rounds_to_rest(policy, waves) == []


@pytest.mark.parametrize("what", [histories, rests])
def test_random_worlds_keep_the_rules(what):
    """R1, R4, R5, R8: for FUZZ_SECONDS, half of them each; the seed of each go is printed."""
    for number in goes():
        sys.stderr.write(f"make fuzz SEED={number}\n")
        seed(number)(what)()
