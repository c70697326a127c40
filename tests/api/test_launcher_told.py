"""What a node's launcher prepares, runs or fences: told to people by the node's page."""

from datetime import datetime, timedelta

import pytest

from scheduler.node_cli import _tell
from scheduler.wire.operating import NodeDetail
from tests.api.conftest import NOON
from tests.api.test_nodes import report, send


async def told(house, who="dana"):
    answer = await house.call(who, "GET", "/v1/nodes/national-1")
    assert answer.status_code == 200, answer.text
    return answer.json()["launcher"]


def of_node(number, **more):
    gpus = [{"index": i, "uuid": f"GPU-{number}-{i}", "model": "H100"} for i in range(8)]
    return report(node=f"national-{number}", gpus=gpus, **more)


def says(run, phase, sequence, **more):
    seen = {"run": run, "token": 1, "phase": phase} | more
    return of_node(1, sequence=sequence, launcher={"group": "cgroup", "launches": [seen]})


@pytest.fixture
async def launched(small):
    """A run on a node whose launcher speaks."""
    for number in range(1, 5):
        await send(small, of_node(number))
    job = await small.submit("dana", gpus_per_node=8, tier=["national"])
    await small.plan()
    return small, f"cp-{job['id']}-1"


async def test_a_node_without_a_launcher_has_none(small):
    await send(small, report())
    assert await told(small) is None


async def test_its_user_and_operators_are_told_which_run_and_others_whose(launched):
    house, run = launched
    assert (await send(house, says(run, "starting", 2))).status_code == 200
    mine = {"account": "arl-vision", "phase": "starting", "why": "", "run": run}
    for who, named in (("dana", run), ("admin", run), ("alex", None)):
        (one,) = (await told(house, who))["launches"]
        since = datetime.fromisoformat(one.pop("since"))
        assert NOON - timedelta(minutes=1) < since <= NOON
        assert one == mine | {"run": named}


async def test_a_run_that_is_fenced_is_told_with_why(launched, capsys):
    house, run = launched
    await send(house, says(run, "ending", 2, why="the hub no longer wants it here"))
    answer = await house.call("dana", "GET", "/v1/nodes/national-1")
    _tell(NodeDetail.model_validate_json(answer.content), as_json=False)
    line = next(line for line in capsys.readouterr().out.splitlines() if "launcher" in line)
    assert line.startswith(f"launcher: arl-vision {run} is being fenced since ")
    assert line.endswith(": the hub no longer wants it here")
