"""Real Ray: a gang over two leased nodes, and what is left when its parts are killed."""

import hashlib
import io
import os
import signal
import zipfile
from pathlib import Path
from secrets import token_hex

import pytest

from agents.config import SiteSettings
from agents.site import processes
from agents.site.launcher import Launcher, LaunchSettings
from agents.site.ports import PortRegistry
from agents.site.records import RunRecord
from scheduler.clock import SystemClock
from scheduler.core.model import Backend, RunState, StopReason
from scheduler.wire.sites import LeasedNode, PackageRef
from tests.agents.agent_process import AgentProcess, serving_hub
from tests.agents.fake_hub import FakeHub, a_lease
from tests.agents.site import a_site, settings_of
from tests.waiting import eventually

pytestmark = pytest.mark.ray

GANG = """
import os
import commonpool, ray
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy as In

group = commonpool.placement_group()

@ray.remote(num_gpus=2, num_cpus=0)
def where():
    label = ray.get_runtime_context().get_node_labels()["commonpool.io/node"]
    return label, sorted(os.environ["CUDA_VISIBLE_DEVICES"].split(","))

print("seen", ray.get([where.options(scheduling_strategy=In(group, i)).remote() for i in (0, 1)]))
print("nodes", len(ray.nodes()), "gpus", int(ray.cluster_resources()["GPU"]))
"""


@pytest.fixture
async def run(scratch):
    """A run's id, of which nothing is left at the end."""
    name = f"cp-r{token_hex(5)}-1"
    yield name
    file = scratch / "site" / "records" / f"{name}.json"
    if file.exists():
        record = RunRecord.model_validate_json(file.read_text())
        launcher = Launcher(LaunchSettings(scratch, 0), PortRegistry(), SystemClock())
        assert await launcher.end(record)
    assert await processes.end_all(name, None, SystemClock(), 10)


def package(hub: FakeHub, name: str, text: str) -> PackageRef:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr(name, text)
    sha256 = hashlib.sha256(data.getvalue()).hexdigest()
    hub.packages[sha256] = data.getvalue()
    uri = "gcs://_ray_pkg_0123456789abcdef.zip"
    return PackageRef(uri=uri, sha256=sha256, size=len(data.getvalue()))


def calm(scratch: Path) -> SiteSettings:
    """Settings with the patience that real clusters need on a busy machine."""
    patience = {"unknown_after": 30, "lost_after": 90, "launches": 1}
    return settings_of(scratch / "site", scratch=scratch, **patience)


async def test_a_gang_runs_on_exactly_its_two_leased_nodes(scratch, run):
    hub = FakeHub()
    settings = calm(scratch)
    code = package(hub, "gang.py", GANG)
    lease = a_lease(
        run,
        backend=Backend.RAY_PRIVATE,
        entrypoint="python gang.py",
        runtime_env={"working_dir": code.uri},
        packages=(code,),
        nodes=(LeasedNode(node="n1", gpus=(2, 3)), LeasedNode(node="n2", gpus=(0, 7))),
    )
    hub.order(lease)
    async with a_site(settings, hub):
        end = await eventually(lambda: hub.end_of(run), 240)
        log = bytes(hub.logs[run]).decode()
        await eventually(lambda: not hub.runs)
    assert end.state is RunState.SUCCEEDED, log
    assert "seen [('n1', ['2', '3']), ('n2', ['0', '7'])]" in log
    assert "nodes 2 gpus 4" in log
    assert processes.of_run(run) == frozenset()
    # The agent's last errand may still be under way in a thread.
    await eventually(lambda: not [p for p in scratch.iterdir() if p.name.startswith("cp-")])


@pytest.mark.faults
async def test_killed_agents_and_a_killed_raylet_neither_repeat_nor_orphan_a_run(  # noqa: PLR0915  # one cluster for a whole story
    scratch, run
):
    """One cluster for all: the agent dies twice, then the raylet; the program ran once."""
    hub, data, ran = FakeHub(), scratch / "site", scratch / "ran"
    command = f"echo once >> {ran}; echo begun; env -u COMMONPOOL_RUN sleep 6007 & sleep 6007"
    async with serving_hub(hub) as url:
        agent = AgentProcess(url, data)
        try:
            agent.start()
            hub.order(a_lease(run, backend=Backend.RAY_PRIVATE, entrypoint=command))
            # Killed while the cluster starts: no program can be there, so it starts anew.
            await eventually(lambda: processes.of_run(run), 60)
            agent.kill()
            agent.start()
            await eventually(lambda: RunState.RUNNING in hub.states(run), 240)
            agent.kill()
            agent.start()
            before = len(hub.syncs)
            await eventually(lambda: len(hub.syncs) > before, 30)
            assert ran.read_text() == "once\n"

            raylets = [pid for pid in processes.of_run(run) if "raylet/raylet" in words(pid)]
            assert len(raylets) == 1
            os.kill(raylets[0], signal.SIGKILL)
            end = await eventually(lambda: hub.end_of(run), 120)
        finally:
            agent.kill()
    assert end.state is RunState.LOST
    assert RunState.UNKNOWN in hub.states(run)
    assert not any(o.state is RunState.LOST and not o.fenced for o in hub.history)
    assert processes.of_run(run) == frozenset()
    assert not any("sleep 6007" in words(pid) for pid in everyone())
    assert ran.read_text() == "once\n"
    assert b"begun" in hub.logs[run]


async def test_a_recalled_program_checkpoints_and_its_gpus_are_free_within_the_notice(scratch, run):
    hub = FakeHub()
    settings = calm(scratch)
    program = (
        "import commonpool, sys, time\n"
        "while not commonpool.should_checkpoint():\n"
        "    time.sleep(0.1)\n"
        "(commonpool.checkpoint_dir() / 'step').write_text('41')\n"
        "commonpool.checkpointed()\n"
        "sys.exit(commonpool.EXIT_CODE)\n"
    )
    code = package(hub, "train.py", program)
    hub.order(
        a_lease(
            run,
            backend=Backend.RAY_PRIVATE,
            entrypoint="python train.py",
            runtime_env={"working_dir": code.uri},
            packages=(code,),
        )
    )
    async with a_site(settings, hub):
        await eventually(lambda: RunState.RUNNING in hub.states(run), 240)
        hub.stop(run, StopReason.RECALLED, in_seconds=60)
        end = await eventually(lambda: hub.end_of(run), 60)
    assert (end.state, end.exit_code) == (RunState.PREEMPTED, 85)
    assert end.checkpointed_at is not None
    job = run.removeprefix("cp-").removesuffix("-1")
    assert (settings.data / "checkpoints" / job / "step").read_text() == "41"


def words(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def everyone() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
