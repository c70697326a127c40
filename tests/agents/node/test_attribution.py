"""Every process on a GPU is its run's, a stranger's, or honestly unknown."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.node.attribution import By, Pod, Rights, Standing, holders, in_pods, judged
from agents.node.origins import Origin, Origins, leased_here
from agents.node.samples import Gpu, GpuSample, MigDevice, Process
from agents.site.environment import Signals, injected
from scheduler.wire.sites import LeasedNode
from tests.agents.fake_hub import a_lease
from tests.agents.node.proc import Proc, marked
from tests.waiting import until

GPU = Gpu("GPU-0", 0, "H100")
OTHER = Gpu("GPU-7", 7, "H100")
RUN, STRANGER = "cp-abc234-1", "cp-xyz567-2"
POD_UID = "0a1b2c3d-1111-2222-3333-444455556666"
IN_POD = f"/kubepods.slice/kubepods-burstable-pod{POD_UID.replace('-', '_')}.slice/cri-1.scope"


@pytest.fixture
def proc(tmp_path):
    return Proc(tmp_path)


def holder_of(proc, pid=10, gpu=GPU, rights=Rights()):  # noqa: B008  # frozen
    sample = GpuSample(gpu, processes=(Process(pid),))
    (found,) = holders((sample,), rights, Origins("n1", proc.folder))
    return found


def test_a_process_with_the_runs_mark_on_its_leased_gpu_is_the_runs(proc):
    proc.add(10, **marked(RUN, job="abc234"))
    found = holder_of(proc)
    assert (found.standing, found.run, found.by) == (Standing.LEASED, RUN, By.LEASE)
    assert (found.job, found.why) == ("abc234", "")


def test_a_process_without_the_mark_is_its_ancestors_run(proc):
    proc.add(8, **marked(RUN))
    proc.add(9, parent=8, RAY_JOB_ID="01000000")
    proc.add(10, parent=9)
    assert (holder_of(proc).standing, holder_of(proc).run) == (Standing.LEASED, RUN)


def test_a_title_written_over_the_lease_leaves_the_mark_and_the_ancestor_tells_the_rest(proc):
    proc.add(9, **marked(RUN, gpus=(5,)))
    proc.add(10, parent=9, COMMONPOOL_RUN=RUN)
    assert holder_of(proc).why == f"the lease of {RUN} is not on this GPU"


def test_a_run_within_a_run_does_not_take_the_outer_ones_lease(proc):
    proc.add(9, **marked(STRANGER, gpus=(5,)))
    proc.add(10, parent=9, COMMONPOOL_RUN=RUN)
    assert (holder_of(proc).standing, holder_of(proc).run) == (Standing.LEASED, RUN)


@pytest.mark.parametrize("ray_job", ["ffffffff", "01000000"])
def test_rays_job_id_alone_says_nothing(proc, ray_job):
    proc.add(10, name="ray::Actor", RAY_JOB_ID=ray_job)
    found = holder_of(proc)
    assert (found.standing, found.run) == (Standing.FOREIGN, "")
    assert found.why == "a process of no run (ray::Actor)"


def test_a_run_on_a_gpu_that_it_has_not_leased_is_foreign(proc):
    proc.add(10, **marked(RUN, gpus=(0, 1)))
    found = holder_of(proc, gpu=OTHER)
    assert (found.standing, found.run) == (Standing.FOREIGN, RUN)
    assert found.why == f"the lease of {RUN} is not on this GPU"


def test_a_run_whose_lease_is_on_another_node_is_foreign_here(proc):
    proc.add(10, **marked(RUN, node="n2"))
    assert holder_of(proc).standing is Standing.FOREIGN


def test_the_hubs_word_about_leases_counts_more_than_the_processs_own(proc):
    proc.add(10, **marked(RUN, gpus=(7,)))
    leased = Rights(leases={RUN: frozenset({GPU.uuid})})
    assert holder_of(proc, rights=leased).standing is Standing.LEASED
    assert holder_of(proc, gpu=OTHER, rights=leased).standing is Standing.FOREIGN


def test_a_run_that_the_hub_does_not_know_here_is_foreign(proc):
    proc.add(10, **marked(RUN))
    found = holder_of(proc, rights=Rights(leases={STRANGER: frozenset({GPU.uuid})}))
    assert (found.standing, found.why) == (Standing.FOREIGN, f"{RUN} has no lease on this node")


TICKS = os.sysconf("SC_CLK_TCK")


def test_a_process_that_is_younger_than_what_the_hub_told_is_judged_by_its_own_word(proc):
    """Its run may have been leased since; the hub's next word is about it too."""
    told = Rights(leases={}, leases_at=50.0)
    proc.add(10, started=49 * TICKS, **marked(RUN))
    proc.add(11, started=50 * TICKS, **marked(RUN))
    proc.add(12, started=51 * TICKS, **marked(RUN, gpus=(5,)))
    proc.add(13, started=51 * TICKS)
    standings = [holder_of(proc, pid, rights=told).standing for pid in (10, 11, 12, 13)]
    assert standings == [Standing.FOREIGN, Standing.LEASED, Standing.FOREIGN, Standing.FOREIGN]


def test_a_process_that_outlives_its_lease_becomes_a_stranger(proc):
    proc.add(10, started=10 * TICKS, **marked(RUN))
    held = Rights(leases={RUN: frozenset({GPU.uuid})}, leases_at=60.0)
    assert holder_of(proc, rights=held).standing is Standing.LEASED
    found = holder_of(proc, rights=Rights(leases={}, leases_at=75.0))
    assert (found.standing, found.why) == (Standing.FOREIGN, f"{RUN} has no lease on this node")


def test_what_may_not_be_read_and_is_young_may_be_of_a_lease_that_is_not_told_yet(proc):
    proc.add(10, started=51 * TICKS)
    proc.close(10)
    told = Rights(leases={}, leases_at=50.0)
    assert holder_of(proc, rights=told).standing is Standing.UNKNOWN


@pytest.mark.parametrize(
    "cgroup",
    [
        f"/system.slice/commonpool-{RUN}.scope",
        f"/commonpool/{RUN}",
        f"/commonpool.slice/commonpool-{RUN}.scope/worker",
    ],
)
def test_without_a_mark_the_control_group_tells_the_run(proc, cgroup):
    proc.add(10, cgroup=cgroup)
    proc.close(10)
    found = holder_of(proc)
    assert (found.standing, found.run, found.by) == (Standing.LEASED, RUN, By.CGROUP)
    assert found.job == "abc234"


def test_a_process_is_not_believed_against_its_control_group(proc):
    proc.add(10, cgroup=f"/system.slice/commonpool-{RUN}.scope", **marked(STRANGER))
    found = holder_of(proc)
    assert found.standing is Standing.FOREIGN
    assert found.why == f"it says {STRANGER} and runs in the control group of {RUN}"


def test_in_a_pod_the_kubelet_tells_the_run_by_the_pods_name(proc):
    proc.add(10, cgroup=IN_POD)
    ours = Rights(pods={GPU.uuid: Pod("ml", f"{RUN}-worker-x7k2p", "ray")})
    found = holder_of(proc, rights=ours)
    assert (found.standing, found.run, found.by) == (Standing.LEASED, RUN, By.POD)


def test_a_pod_that_is_none_of_ours_is_foreign_and_named(proc):
    proc.add(10, cgroup=IN_POD)
    found = holder_of(proc, rights=Rights(pods={GPU.uuid: Pod("ml", "notebook-0")}))
    assert (found.standing, found.why) == (Standing.FOREIGN, "pod ml/notebook-0")


def test_a_process_on_a_slice_is_the_slices_pods(proc):
    proc.add(10, cgroup=IN_POD)
    mig = (MigDevice("MIG-1", 3, 0, "1g.10gb"), MigDevice("MIG-2", 4, 0, "1g.10gb"))
    sample = GpuSample(GPU, processes=(Process(10, gpu_instance=4),), mig=mig)
    origins = Origins("n1", proc.folder)
    assert in_pods((sample,), origins) == {("MIG-2", POD_UID)}
    theirs = Rights(pods={"MIG-1": Pod("ml", "other"), "MIG-2": Pod("ml", f"{RUN}-worker-1")})
    (found,) = holders((sample,), theirs, origins)
    assert (found.standing, found.run) == (Standing.LEASED, RUN)


def test_a_process_outside_of_pods_is_not_given_the_gpus_pod(proc):
    proc.add(10)
    found = holder_of(proc, rights=Rights(pods={GPU.uuid: Pod("ml", f"{RUN}-worker-x7k2p")}))
    assert (found.standing, found.pod) == (Standing.FOREIGN, None)


def test_what_may_not_be_read_is_unknown_and_says_what_is_missing(proc):
    proc.add(10)
    proc.close(10)
    found = holder_of(proc)
    assert found.standing is Standing.UNKNOWN
    assert "CAP_SYS_PTRACE" in found.why
    leased = Rights(leases={RUN: frozenset({GPU.uuid})})
    assert holder_of(proc, rights=leased).standing is Standing.UNKNOWN


def test_what_may_not_be_read_on_a_gpu_that_nobody_leased_is_foreign(proc):
    proc.add(10)
    proc.close(10)
    assert holder_of(proc, rights=Rights(leases={})).standing is Standing.FOREIGN


def test_a_process_that_is_not_seen_is_unknown(proc):
    found = holder_of(proc, pid=4242)
    assert found.standing is Standing.UNKNOWN
    assert "host's pids" in found.why


@pytest.mark.parametrize("name", ["nvidia-cuda-mps", "nvidia-persiste"])
def test_the_drivers_own_servants_are_nobodys_use(proc, name):
    proc.add(10, name=name)
    sample = GpuSample(GPU, processes=(Process(10),))
    assert holders((sample,), Rights(), Origins("n1", proc.folder)) == ()


def test_a_process_is_looked_up_once_and_a_reused_pid_anew(proc):
    origins = Origins("n1", proc.folder)
    proc.add(10, **marked(RUN))
    assert origins.of(10).run == RUN
    proc.add(10, **marked(STRANGER))
    assert origins.of(10).run == RUN
    proc.add(10, started=2000, **marked(STRANGER))
    assert origins.of(10).run == STRANGER
    origins.forget_others()
    origins.forget_others()
    proc.add(10, started=2000, **marked(RUN))
    assert origins.of(10).run == RUN


def test_a_circle_of_parents_ends(proc):
    proc.add(10, parent=11)
    proc.add(11, parent=10)
    assert holder_of(proc).standing is Standing.FOREIGN


def test_a_name_with_brackets_does_not_confuse(proc):
    proc.add(10, name="a) S (b", parent=9)
    proc.add(9, **marked(RUN))
    assert holder_of(proc).run == RUN


def test_a_real_child_of_a_real_run_is_found_by_what_the_site_agent_injects(tmp_path):
    lease = a_lease(RUN, nodes=(LeasedNode(node="n1", gpus=(0, 3)),), guest=True)
    environment = {**os.environ, **injected(lease, Signals(tmp_path))}
    program = "import subprocess; subprocess.run(['sleep', '600'], env={'PATH': '/bin:/usr/bin'})"
    parent = subprocess.Popen([sys.executable, "-c", program], env=environment)
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    try:
        child = int(until(lambda: children.read_text().split())[0])
        origin = Origins("n1").of(child)
        assert origin is not None
        assert (origin.run, origin.gpus) == (RUN, frozenset({0, 3}))
        assert origin.job == lease.job
        assert origin.guest
    finally:
        for pid in children.read_text().split():
            os.kill(int(pid), 9)
        parent.wait()


@given(st.text(max_size=40))
def test_whatever_a_run_says_of_its_nodes_is_a_lease_or_unknown(text):
    assert leased_here(text, "n1") is None or isinstance(leased_here(text, "n1"), frozenset)


@given(
    claimed=st.sampled_from(["", RUN, STRANGER]),
    cgroup=st.sampled_from(["", RUN, STRANGER]),
    gpus=st.none() | st.frozensets(st.integers(0, 7)),
    leases=st.none()
    | st.dictionaries(
        st.sampled_from([RUN, STRANGER]), st.frozensets(st.sampled_from(["GPU-0", "GPU-7"]))
    ),
    gpu=st.sampled_from([GPU, OTHER]),
)
def test_who_has_a_lease_by_the_hubs_word_is_leased_and_nobody_else(
    claimed, cgroup, gpus, leases, gpu
):
    origin = Origin("python", run=claimed, gpus=gpus, cgroup_run=cgroup)
    found = judged(gpu, 10, origin, Rights(leases=leases))
    assert found is not None
    run = claimed or cgroup
    if leases is not None:
        right = gpu.uuid in leases.get(run, ()) and cgroup in {"", run}
        assert (found.standing is Standing.LEASED) == right
    assert (found.standing is Standing.LEASED) <= bool(run)
    assert (found.why == "") == (found.standing is Standing.LEASED)
