"""Whose processes are on GPUs is looked up when one comes or goes, or leases are others."""

import os

import pytest

from agents.node import look_up
from agents.node.leases import HeardLease, HeardLeases, KnownLeases
from agents.node.look_up import LookUp
from agents.node.sampler import Sampler
from agents.node.samples import NodeView
from scheduler.clock import SystemClock
from scheduler.wire.reports import SamplerState
from tests.agents.node.test_sampler import QUICK
from tests.agents.node.test_session import UUIDS
from tests.waiting import until

HERE = f"[gpu.1]\nproc = {os.getpid()},100\n"


@pytest.fixture
def leases():
    return KnownLeases("n1")


@pytest.fixture
def looking(gpus, leases, monkeypatch):  # noqa: ARG001  # the library must be there first
    """Return a look-up that the clock wakes too late for any test."""
    monkeypatch.setattr(look_up, "_EVERY_SECONDS", 3600)
    sampler = Sampler(SystemClock(), QUICK)
    made = LookUp("n1", SystemClock(), sampler, leases, ask=dict)
    sampler.start()
    made.start()
    yield made
    made.stop(10)
    assert not made.is_alive
    assert sampler.stop(10)


def test_a_process_that_comes_or_goes_is_looked_up_at_once(gpus, looking):
    until(lambda: looking.known() == ())
    gpus.write(HERE)
    (holder,) = until(looking.known)
    assert (holder.gpu.uuid, holder.pid) == (UUIDS[1], os.getpid())
    gpus.write("")
    until(lambda: looking.known() == ())


def test_other_leases_are_a_reason_to_look_again(gpus, looking, leases):
    gpus.write(HERE)
    until(looking.known)
    before = looking.known()
    leases.heard((HeardLeases("n1", "x", (HeardLease("cp-a-1", (1,)),)),), 0.0, 1e9)
    looking.hurry()
    until(lambda: looking.known() is not before)


def test_what_does_not_change_is_not_looked_up_each_second(gpus, looking):
    gpus.write(HERE)
    until(looking.known)
    before, sampler = looking.known(), looking._sampler  # noqa: SLF001  # to wait for its looks
    passes = sampler.view().passes
    until(lambda: sampler.view().passes > passes + 10)
    assert looking.known() is before


def test_the_memory_of_a_process_is_no_reason_to_look(gpus, looking):
    gpus.write(HERE)
    until(looking.known)
    before = looking.known()
    gpus.write(f"[gpu.1]\nproc = {os.getpid()},200\n")
    view: NodeView = until(lambda: _has_grown(looking))
    assert view.state is SamplerState.OK
    assert looking.known() is before


def _has_grown(looking):
    view = looking._sampler.view()  # noqa: SLF001  # as above
    (process,) = view.samples[UUIDS[1]].processes
    assert process.memory_bytes == 200 * 1024**2, "not yet"
    return view
