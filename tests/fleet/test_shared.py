"""Whose use it is where a guest sits on an idle lease: told by process, or not at all (R18)."""

import pytest

from scheduler.fleet.memory import Fleet
from scheduler.wire.reports import GpuUse, NodeReport, RunUse
from tests.fleet.test_memory import said, tell


def shared(sequence: int, *runs: RunUse, gpus: int = 2) -> NodeReport:
    report = said(sequence, 0.9, gpus=gpus, tells_runs=True)
    first, *rest = report.use
    told = GpuUse(index=0, sm_active=first.sm_active, runs=runs)
    fields = {name: getattr(report, name) for name in NodeReport.__struct_fields__}
    return NodeReport(**{**fields, "use": (told, *rest)})


def told(*runs: RunUse) -> bool | None:
    fleet = Fleet(60)
    tell(fleet, shared(1, *runs))
    return fleet.works("n", 0, "host")


@pytest.mark.parametrize(
    ("runs", "works"),
    [
        pytest.param((RunUse(run="guest", sm_active=0.9),), False, id="it has no process there"),
        pytest.param((RunUse(run="host", sm_active=0.01),), False, id="it is busy now and then"),
        pytest.param((RunUse(run="host", sm_active=0.02),), True, id="it is busy"),
        pytest.param((RunUse(run="host", memory_mib=2049),), True, id="it has more than a context"),
        pytest.param((RunUse(run="host", memory_mib=2048),), False, id="it has a context"),
        pytest.param((RunUse(run="host"),), False, id="nothing of it is known"),
        pytest.param((), None, id="no runs are told apart"),
    ],
)
def test_a_host_works_where_its_own_processes_do(runs, works):
    assert told(*runs) is works


def test_memory_that_grows_is_work_and_is_measured_from_the_first_look():
    fleet = Fleet(60)
    seen = []
    for number, mib in enumerate((600, 728, 729)):
        tell(fleet, shared(number, RunUse(run="host", memory_mib=mib)))
        seen.append(fleet.works("n", 0, "host"))
    assert seen == [False, False, True]
    tell(fleet, said(3, 0.9))
    tell(fleet, shared(4, RunUse(run="host", memory_mib=729)))
    assert fleet.works("n", 0, "host") is False


def test_nothing_is_known_of_a_gpu_without_a_guest_and_of_nodes_that_are_not_heard():
    fleet = Fleet(60)
    tell(fleet, shared(1, RunUse(run="host", sm_active=0.5)))
    assert fleet.works("n", 1, "host") is None
    assert fleet.works("n", 7, "host") is None
    assert fleet.works("other", 0, "host") is None
    assert (fleet.tells_runs("n"), fleet.tells_runs("other")) == (True, False)
    fleet.forget("n")
    tell(fleet, said(9, 0.0))
    assert fleet.works("n", 0, "host") is None
    assert not fleet.tells_runs("n")


@pytest.mark.parametrize(
    ("more", "busy"),
    [
        ({"sm": 0.0}, False),
        ({"sm": 0.5}, True),
        ({"sm": 0.0, "watts": 300.0}, True),
        ({"sm": 0.0, "mib": 40_000.0}, True),
        ({"watts": None, "mib": None}, False),
    ],
)
def test_a_gpu_is_busy_by_any_counter_and_not_by_what_is_missing(more, busy):
    fleet = Fleet(60)
    tell(fleet, said(1, **more))
    assert fleet.is_busy("n", 0) is busy
