"""kill -9 of the agent, at any moment: its run goes on, and ran once."""

import asyncio
from secrets import token_hex

import pytest

from agents.site import processes
from scheduler.clock import SystemClock
from scheduler.core.model import Backend, RunState
from tests.agents.agent_process import AgentProcess, serving_hub
from tests.agents.fake_hub import FakeHub, a_lease
from tests.agents.fake_ray_head import FakeRayHead, serving
from tests.waiting import eventually

pytestmark = pytest.mark.faults


@pytest.fixture
async def scene(scratch):
    """A hub, a shared head, and an agent process between them."""
    hub, head = FakeHub(), FakeRayHead(scratch / "head")
    async with serving(head) as address, serving_hub(hub) as url:
        agent = AgentProcess(url, scratch / "site", "--shared-ray", address)
        yield hub, head, agent
        agent.kill()


def order(hub: FakeHub, command: str) -> str:
    run = f"cp-k{token_hex(5)}-1"
    hub.order(a_lease(run, backend=Backend.RAY_SHARED, entrypoint=command))
    return run


async def test_killed_while_its_run_goes_on_it_takes_over_at_the_next_start(scene, scratch):
    hub, head, agent = scene
    run = order(hub, f"echo once >> {scratch}/ran; sleep 6; echo whole")
    agent.start()
    await eventually(lambda: RunState.RUNNING in hub.states(run), 30)
    agent.kill()
    agent.start()
    end = await eventually(lambda: hub.end_of(run), 40)
    assert end.state is RunState.SUCCEEDED
    assert (head.posts, (scratch / "ran").read_text()) == (1, "once\n")
    assert bytes(hub.logs[run]) == b"whole\n"


async def test_killed_while_it_submits_it_adopts_what_arrived(scene, scratch):
    hub, head, agent = scene
    head.knobs.hang = ("POST /api/jobs/",)
    run = order(hub, f"echo once >> {scratch}/ran")
    agent.start()
    await eventually(lambda: "POST /api/jobs/" in head.calls, 30)
    agent.kill()
    # The request arrives after all, although nobody waits for its answer.
    head.submit({"submission_id": run, "entrypoint": f"echo once >> {scratch}/ran", "metadata": {}})
    head.knobs.hang = ()
    agent.start()
    assert (await eventually(lambda: hub.end_of(run), 40)).state is RunState.SUCCEEDED
    assert (scratch / "ran").read_text() == "once\n"


async def test_killed_again_and_again_it_neither_loses_nor_repeats_a_run(scene, scratch):
    hub, _, agent = scene
    runs = [order(hub, f"echo {i} >> {scratch}/ran") for i in range(12)]
    for milliseconds in range(300, 1800, 150):
        agent.start()
        await asyncio.sleep(milliseconds / 1000)  # The moment of the kill is the test's input.
        agent.kill()
    agent.start()
    await eventually(lambda: all(hub.end_of(run) for run in runs), 60)
    assert {hub.end_of(run).state for run in runs} == {RunState.SUCCEEDED}
    assert sorted((scratch / "ran").read_text().split(), key=int) == [str(i) for i in range(12)]
    for run in runs:
        assert await processes.end_all(run, None, SystemClock(), 5)
