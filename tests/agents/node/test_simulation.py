"""Simulated GPUs: as busy as the programs that have them, with the faults that were injected."""

import socket

import httpx
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from agents.node import injected
from agents.node.exporter import Exporter, Facts
from agents.node.injected import Injected
from agents.node.pretended import Programs
from agents.node.simulated import SimulatedGpus, SimulatedNode
from agents.node.simulated_metrics import Shown, Together, serve_simulated
from agents.node.simulation import Simulation
from tests.agents.node.proc import Proc, marked
from tests.build import NOON


class Clock:
    def __init__(self):
        self.at = 100.0

    def now(self):
        return NOON

    def monotonic(self):
        return self.at


class World:
    """Two nodes, a /proc of our own, and time that passes when told."""

    def __init__(self, tmp_path):
        (tmp_path / "proc").mkdir()
        self.proc, self.faults = Proc(tmp_path / "proc"), tmp_path / "faults"
        self.clock = Clock()
        self.nodes = tuple(
            SimulatedNode(name, "p", SimulatedGpus(2, "H100"), "b") for name in ("n1", "n2")
        )
        self.begin()

    def begin(self):
        programs = Programs(self.proc.folder)
        self.simulation = Simulation(self.nodes, self.clock, self.faults, programs)

    def spend(self, pid, seconds):
        """Let a process have used so much CPU time since it began."""
        stat = self.proc.folder / str(pid) / "stat"
        head, _, rest = stat.read_text().rpartition(") ")
        fields = rest.split()
        fields[11] = str(int(seconds * 100))
        stat.write_text(f"{head}) {' '.join(fields)}\n")

    def title(self, pid, text):
        (self.proc.folder / str(pid) / "cmdline").write_bytes(text)

    def report(self, place=0):
        self.clock.at += 3
        self.simulation.look()
        self.simulation.gather()
        node = self.nodes[place]
        report = node.report(1, NOON, self.simulation.known(node))
        self.simulation.told()
        return report

    def inject(self, change, node="n1"):
        file = injected.file_of(self.faults, node)
        injected.save(file, change(injected.load(file)))


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def sm_of(report):
    return [use.sm_active.last for use in report.use]


def test_without_a_run_a_gpu_rests_and_says_that_it_is_simulated(world):
    report = world.report()
    assert (report.simulated, sm_of(report)) == (True, [0, 0])
    assert all(use.memory_mib.last == 0 and use.power_watts.last < 80 for use in report.use)


def test_a_gpu_is_busy_while_the_program_that_has_it_computes_and_its_neighbour_is_not(world):
    world.proc.add(50, **marked("cp-j-1", gpus=(1,)))
    world.report()
    world.spend(50, 3)
    first, second = world.report().use
    assert (first.sm_active.last, first.power_watts.last < 80) == (0, True)
    assert second.sm_active.last > 0.3
    assert second.power_watts.last > 200
    assert second.memory_mib.last > 40_000


def test_a_program_that_sleeps_has_what_an_idle_context_has(world):
    """R18 looks at SM activity, power and memory together: this is idle by all three."""
    world.proc.add(50, **marked("cp-j-1"))
    use = world.report().use[0]
    assert use.sm_active.most == 0
    assert 0 < use.memory_mib.most <= 2048
    assert 80 < use.power_watts.most <= 160


def test_what_a_worker_computes_counts_and_what_a_servant_of_ray_computes_does_not(world):
    world.proc.add(40, COMMONPOOL_RUN="cp-j-1")
    world.title(40, b"/opt/ray/core/raylet")
    world.proc.add(50, **marked("cp-j-1"))
    world.proc.add(60, parent=50)
    world.report()
    world.spend(40, 3)
    assert sm_of(world.report()) == [0, 0]
    world.spend(60, 3)
    assert min(sm_of(world.report())) > 0.3


def test_a_run_on_another_node_keeps_that_node_busy(world):
    world.proc.add(50, **marked("cp-j-1", node="n2"))
    world.report()
    world.spend(50, 3)
    assert min(sm_of(world.report(1))) > 0.3
    assert sm_of(world.report(0)) == [0, 0]


def test_xid_79_is_told_once_and_its_gpu_is_lost_until_it_is_repaired(world):
    world.report()
    world.inject(lambda known: known.with_xid(1, 79))
    assert world.simulation.has_news()
    report = world.report()
    assert not world.simulation.has_news()
    assert [gpu.healthy for gpu in report.gpus] == [True, False]
    assert [(x.xid, x.count) for x in report.gpus[1].xids] == [(79, 1)]
    assert report.gpus[1].why_unhealthy == "GPU lost"
    assert [use.index for use in report.use] == [0]
    world.inject(Injected.repaired)
    repaired = world.report()
    assert all(gpu.healthy for gpu in repaired.gpus)
    assert repaired.gpus[1].xids == report.gpus[1].xids


def test_an_xid_from_before_the_agent_began_is_not_told_again(world):
    world.inject(lambda known: known.with_xid(0, 79))
    world.begin()
    report = world.report()
    assert report.gpus[0].xids == ()
    assert not report.gpus[0].healthy
    world.inject(lambda known: known.with_xid(0, 79))
    assert [(x.xid, x.count) for x in world.report().gpus[0].xids] == [(79, 1)]


def test_a_process_without_a_lease_is_told_as_foreign_and_keeps_its_gpu_busy(world):
    world.inject(lambda known: known.with_foreign(1))
    report = world.report()
    assert [(f.gpu, f.processes) for f in report.foreign] == [(1, 1)]
    assert sm_of(report)[1] > 0.3


@pytest.mark.parametrize("text", ["", "{", "[]", '{"xids": 3}', '{"xids": {}, "lost": null}'])
def test_half_a_file_is_no_fault(world, text):
    injected.file_of(world.faults, "n1").write_text(text)
    assert all(gpu.healthy for gpu in world.report().gpus)


def test_several_nodes_have_one_page_of_metrics_with_each_name_once(world):
    world.report()
    names = ("n1", "n2")
    exporters = [
        Exporter(
            lambda name=name: Facts(world.simulation.view(name), world.simulation.holders(name)),
            name,
            "Hostname",
        )
        for name in names
    ]
    registry = CollectorRegistry()
    registry.register(Together(exporters))
    page = generate_latest(registry).decode()
    assert page.count("# TYPE DCGM_FI_DEV_GPU_UTIL gauge") == 1
    families = {family.name: family for family in text_string_to_metric_families(page)}
    util = families["DCGM_FI_DEV_GPU_UTIL"].samples
    assert sorted((s.labels["Hostname"], s.labels["gpu"]) for s in util) == [
        ("n1", "0"),
        ("n1", "1"),
        ("n2", "0"),
        ("n2", "1"),
    ]


@pytest.fixture(params=["127.0.0.1", "::1"])
def pages(request, world):
    """The address under which the metrics of two nodes are served."""
    address = request.param
    port = free_port(address)
    end = serve_simulated(world.simulation, ("n1", "n2"), Shown(), address, port)
    yield f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"
    end()


def nodes_on(page):
    found = {
        sample.labels["Hostname"]
        for family in text_string_to_metric_families(page.text)
        for sample in family.samples
        if "Hostname" in sample.labels
    }
    return page.status_code, found


def test_each_node_has_a_page_of_its_own_and_all_have_one_together(pages):
    assert nodes_on(httpx.get(f"{pages}/metrics")) == (200, {"n1", "n2"})
    assert nodes_on(httpx.get(f"{pages}/metrics?node=n2")) == (200, {"n2"})
    nobody = httpx.get(f"{pages}/metrics?node=n3")
    assert (nobody.status_code, nobody.text) == (404, "no such node here: there are n1, n2\n")


def free_port(address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((address, 0))
        return probe.getsockname()[1]


def test_a_host_and_its_guest_are_told_apart_by_what_each_computes(world):
    """R18: what the guest does is not the host's work, nor the other way round."""
    world.proc.add(50, **marked("cp-host-1"))
    world.proc.add(60, **marked("cp-guest-1", gpus=(1,)), COMMONPOOL_GUEST="1")
    world.report()
    world.spend(60, 3)
    first, second = world.report().use
    assert (first.runs, first.sm_active.last) == ((), 0)
    guest, host = second.runs
    assert (host.run, host.sm_active, host.memory_mib) == ("cp-host-1", 0, 620)
    assert (guest.run, guest.sm_active > 0.3, guest.memory_mib > 40_000) == (
        "cp-guest-1",
        True,
        True,
    )
    world.spend(50, 3)
    assert world.report().use[1].runs[1].sm_active > 0.3


def test_simulated_agents_can_tell_runs_apart(world):
    assert world.report().tells_runs
