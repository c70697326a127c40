"""A plan of a world brought forward is the plan of one built anew (scheduling.md §2)."""

from hypothesis import given, settings

from scheduler.core.decisions import Plan
from scheduler.core.plan import plan
from scheduler.core.world import World
from tests.strategies import Step, moments, policies, steps


@settings(max_examples=60, deadline=None)
@given(policies(), steps(5))
def test_planning_forgets_nothing_and_remembers_nothing_else(policy, history: list[Step]):
    """Starts, victims, planned starts, and every verdict, at each moment of a history."""
    world: World | None = None
    for scene, happens in moments(policy, history):
        world = world or scene.world()
        forward, anew = plan(world, policy, scene.now), plan(scene.world(), policy, scene.now)
        assert forward == anew
        assert list(forward.holds) == list(anew.holds)
        if isinstance(happens, Plan):
            world.advance(happens)
        elif happens is not None:
            world.apply(happens)
