"""What every backend promises: one suite, over the clock, a fake Ray, and a real one."""

import hashlib
import io
import json
import zipfile

import pytest

from agents.site import processes
from agents.site.backends.base import Gone, Running, Silent, Waiting
from agents.site.failures import BackendRejected
from agents.site.outcome import ProgramEnd
from agents.site.records import Phase
from scheduler.core.model import RunState
from scheduler.wire.sites import LeasedNode, PackageRef
from tests.agents.conftest import a_bench
from tests.waiting import eventually

SECONDS = "commonpool.simulated_seconds"
FAST = ("simulated", "shared", "private")
REAL = (pytest.param("ray-shared", marks=pytest.mark.ray),)
REAL_PRIVATE = (pytest.param("ray-private", marks=pytest.mark.ray),)


@pytest.fixture(params=(*FAST, *REAL, *REAL_PRIVATE))
async def bench(request, scratch):
    async with a_bench(request.param, scratch) as made:
        yield made


@pytest.fixture(params=("shared", "private", *REAL))
async def program_bench(request, scratch):
    """The backends that run programs; a private cluster takes long to start, so the fake."""
    async with a_bench(request.param, scratch) as made:
        yield made


async def test_a_run_is_started_seen_logged_ended_fenced_and_forgotten(bench):
    ledger = bench.ledger(
        entrypoint="echo first line; sleep 2; echo last line", metadata={SECONDS: "1"}
    )
    await bench.backend.start(ledger)
    assert ledger.record.phase is Phase.SUBMITTED
    await bench.seen(ledger, Running)
    end = await bench.seen(ledger, ProgramEnd)
    assert (end.state, end.exit_code) == (RunState.SUCCEEDED, 0)
    whole = await bench.log(ledger)
    assert whole.count(b"\n") >= 2
    assert whole.endswith((b"last line\n", b"over\n"))
    assert await bench.log(ledger, have=10) == whole[10:]
    assert await bench.backend.fence(ledger.record)
    assert await bench.backend.fence(ledger.record), "fencing again is sure again"
    assert processes.of_run(ledger.record.run) == frozenset()
    ledger.write(phase=Phase.FENCED)
    await bench.backend.forget(ledger.record)
    await bench.backend.forget(ledger.record)


async def test_an_agent_that_was_killed_while_submitting_adopts_and_runs_it_once(bench, scratch):
    ran = scratch / "ran"
    ledger = bench.ledger(entrypoint=f"echo once >> {ran}; sleep 60")
    await bench.backend.start(ledger)
    ledger.write(phase=Phase.SUBMITTING)
    bench.restart()
    ledger = bench.again(ledger)
    await bench.backend.start(ledger)
    await bench.seen(ledger, Running)
    if ran.exists() or processes.of_run(ledger.record.run):
        await eventually(ran.exists, 30)
        assert ran.read_text() == "once\n"
    await bench.backend.stop(ledger)
    assert await bench.backend.fence(ledger.record)
    assert processes.of_run(ledger.record.run) == frozenset()


async def test_a_run_is_stopped_before_its_end_and_nothing_of_it_is_left(bench):
    ledger = bench.ledger(entrypoint="sleep 61 & sleep 60; echo never", metadata={SECONDS: "60"})
    await bench.backend.start(ledger)
    await bench.seen(ledger, Running)
    end = await bench.backend.stop(ledger)
    assert end is None or end.state is RunState.STOPPED
    assert await bench.backend.fence(ledger.record)
    assert processes.of_run(ledger.record.run) == frozenset()
    after = await bench.backend.observe(ledger.record)
    assert isinstance(after, ProgramEnd | Gone | Silent | Running)


@pytest.mark.parametrize("kind", FAST)
async def test_a_run_that_was_never_started_is_stopped_and_fenced(kind, scratch):
    async with a_bench(kind, scratch) as bench:
        ledger = bench.ledger()
        end = await bench.backend.stop(ledger)
        assert end is None or end.state is RunState.STOPPED
        assert await bench.backend.fence(ledger.record)
        await bench.backend.forget(ledger.record)


async def test_a_program_that_fails_says_how(program_bench):
    ledger = program_bench.ledger(entrypoint="echo boom; exit 7")
    await program_bench.backend.start(ledger)
    end = await program_bench.seen(ledger, ProgramEnd)
    assert (end.state, end.exit_code) == (RunState.FAILED, 7)
    assert end.error_type == "JOB_ENTRYPOINT_COMMAND_ERROR"
    assert b"boom\n" in await program_bench.log(ledger)


async def test_a_program_finds_its_package_and_is_told_where_it_is(program_bench, scratch):
    program = 'import json, os, sys\njson.dump(dict(os.environ), open(sys.argv[1], "w"))\n'
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("tell.py", program)
    sha256 = hashlib.sha256(data.getvalue()).hexdigest()
    program_bench.hub.packages[sha256] = data.getvalue()
    uri = "gcs://_ray_pkg_0123456789abcdef.zip"
    told = scratch / "told"
    ledger = program_bench.ledger(
        entrypoint=f"python3 tell.py {told}; cat {told} >/dev/null",
        runtime_env={"working_dir": uri, "env_vars": {"MINE": "1", "COMMONPOOL_RUN": "cp-x-1"}},
        packages=(PackageRef(uri=uri, sha256=sha256, size=len(data.getvalue())),),
    )
    await program_bench.backend.start(ledger)
    end = await program_bench.seen(ledger, ProgramEnd)
    assert end.state is RunState.SUCCEEDED, await program_bench.log(ledger)
    environment = json.loads(told.read_text())
    lease, signals = ledger.record.lease, program_bench.signals
    nodes = [
        {"node": "n1", "gpus": [0, 1], "ray_node_label": {"commonpool.io/node": "n1"}},
    ]
    expected = {
        "MINE": "1",
        "COMMONPOOL_RUN": lease.run,
        "COMMONPOOL_JOB": lease.job,
        "COMMONPOOL_ATTEMPT": "1",
        "COMMONPOOL_CHECKPOINT_FILE": str(signals.file(lease.run)),
        "COMMONPOOL_CHECKPOINT_DIR": str(signals.folder(lease.job)),
    }
    assert {name: environment.get(name) for name in expected} == expected
    assert json.loads(environment["COMMONPOOL_NODES"]) == nodes
    path = environment["PYTHONPATH"].split(":")  # Ray puts the working_dir in front.
    assert any(part.endswith("agents/site/helper") for part in path)


async def test_a_gang_gets_one_ray_node_for_each_leased_node(private):
    nodes = tuple(LeasedNode(node=f"n{i}", gpus=(0, 3)) for i in range(3))
    ledger = private.ledger(entrypoint="sleep 60", nodes=nodes)
    await private.backend.start(ledger)
    engine = ledger.record.engine
    assert engine is not None
    assert [p.node for p in engine.processes] == ["n0", "n1", "n2"]
    assert len({p.ip for p in engine.processes}) == 3
    assert await private.backend.fence(ledger.record)
    assert not any(processes.is_alive(p.pid, p.created) for p in engine.processes)


@pytest.mark.parametrize("seconds", ["soon", "-1", "1e300", "nan"])
async def test_a_simulated_time_that_is_none_is_refused(seconds, scratch):
    async with a_bench("simulated", scratch) as bench:
        with pytest.raises(BackendRejected, match="simulated_seconds must be seconds"):
            await bench.backend.start(bench.ledger(metadata={SECONDS: seconds}))


async def test_a_pending_job_is_waiting(shared):
    assert shared.head is not None
    shared.head.knobs.stay_pending = True
    ledger = shared.ledger()
    await shared.backend.start(ledger)
    assert isinstance(await shared.backend.observe(ledger.record), Waiting)
