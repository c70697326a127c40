"""What the agent costs on a real driver: memory and CPU at one look a second, as figures.

How much of it is the driver's own cannot be seen from outside, so the C calls of a look are made
bare, once a second too: what they take with cold caches is the driver's part.
"""

# ruff: noqa: T201  # figures are for a reader
import time
from pathlib import Path
from statistics import mean, median

import psutil
import pytest

from tests.agents.node.real.conftest import CUDA, running
from tests.bench.driver_calls import driver_calls
from tests.waiting import until

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(240)]

MIB = 1024 * 1024
SECONDS, MOST_MIB = 60, 60


def threads_ns(pid: int) -> dict[str, int]:
    """Return the nanoseconds on a processor of each thread, as the kernel's scheduler counts."""
    return {
        task.name: int((task / "schedstat").read_text().split()[0])
        for task in Path(f"/proc/{pid}/task").iterdir()
    }


def test_an_agent_at_one_look_a_second_is_small(start, hub):
    hub.answer["next_report_seconds"] = 15
    agent = start()
    until(lambda: hub.heard and agent.metrics().get("DCGM_FI_PROF_SM_ACTIVE"), seconds=60)
    with running(CUDA, "hold", "256"):
        time.sleep(5)
        process = psutil.Process(agent.process.pid)
        cpu, threads, began = process.cpu_times(), threads_ns(process.pid), time.monotonic()
        switches = process.num_ctx_switches()
        for _ in range(4):
            time.sleep(SECONDS / 4)
            agent.metrics()
        took, after, later = (
            time.monotonic() - began,
            process.cpu_times(),
            threads_ns(process.pid),
        )
        memory, woken = process.memory_full_info(), process.num_ctx_switches()
    user, system = after.user - cpu.user, after.system - cpu.system
    whole = sum(later.values()) - sum(threads.get(t, 0) for t in later)
    print(f"\nan agent on {len(hub.last()['gpus'])} GPU, {took:.0f} s, one look a second")
    print(f"  resident {memory.rss / MIB:.1f} MiB, private {memory.uss / MIB:.1f} MiB")
    print(f"  CPU by ticks {100 * (user + system) / took:.3f} % of a core")
    print(f"    user {100 * user / took:.3f} %, system {100 * system / took:.3f} %")
    print(f"  CPU by the scheduler's count {whole / took / 1e7:.3f} %, by thread:")
    for task, spent in sorted(later.items(), key=lambda pair: int(pair[0])):
        print(f"    {task}: {(spent - threads.get(task, 0)) / took / 1e7:.4f} %")
    print(f"  woken {(woken.voluntary - switches.voluntary) / took:.1f} times a second")
    assert memory.rss / MIB < MOST_MIB
    assert agent.state() == "ok"


def test_the_drivers_own_part_of_a_look(session):
    uuids = [gpu.uuid for gpu in session.open().gpus]
    for uuid in uuids:
        session.sample(uuid, condition=True)
    noted, bare = driver_calls()
    looks, calls, walls, seldom = [], [], [], []
    for number in range(24):
        time.sleep(0.5)
        cpu, wall = time.thread_time_ns(), time.monotonic_ns()
        for uuid in uuids:
            session.sample(uuid, condition=number % 4 == 3)
        spent = (time.thread_time_ns() - cpu) / 1e6
        (seldom if number % 4 == 3 else looks).append(spent)
        walls.append((time.monotonic_ns() - wall) / 1e6)
        time.sleep(0.5)
        cpu = time.thread_time_ns()
        bare()
        calls.append((time.thread_time_ns() - cpu) / 1e6)
    noted.close()
    print(f"\none look at {len(uuids)} GPU with cold caches, CPU ms (median, mean):")
    print(f"  a look                 {median(looks):.3f} {mean(looks):.3f}")
    print(f"  its C calls alone      {median(calls):.3f} {mean(calls):.3f}")
    print(f"  a look with condition  {median(seldom):.3f} {mean(seldom):.3f}")
    print(f"  wall time of a look    {median(walls):.3f}, at most {max(walls):.3f}")
    assert median(walls) < 1000
