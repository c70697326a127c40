"""What a real H100 was seen to do, and the public documentation does not say."""

import time

import pytest

from agents.node.samples import Gpm
from agents.node.session import Session
from scheduler.clock import SystemClock
from tests.agents.node.test_session import read, read_twice


def test_a_virtual_machine_without_nvlinks_says_nothing_of_them(gpus, session):
    """As an H100 did: its driver refuses an empty batch, and its monitors tell 0 of no links."""
    gpus.write("[gpu]\nnvlinks = 0\nfabric_state = 0\nsm_active = 40\n")
    session.open()
    sample = read_twice(session)
    parts = {**sample.readings._asdict(), **sample.condition._asdict()}
    assert {name for name, value in parts.items() if value is None} == {
        *("nvlink_tx_kib", "nvlink_rx_kib", "nvlinks", "nvlinks_up", "fabric"),
        *("nvlink_replays", "nvlink_recoveries", "nvlink_crc_errors"),
    }
    assert (sample.gpm.nvlink_tx, sample.gpm.nvlink_rx) == (None, None)
    assert (sample.gpm.sm_active, sample.gpm.pcie_tx) == (pytest.approx(0.4), pytest.approx(1e6, 1))
    assert session.errors == {}


def test_monitors_that_were_read_a_moment_ago_are_not_believed(gpus):
    """An H100 tells 0 of a time below 50 ms, and one that is stopped and goes on looks twice."""
    gpus.write("[gpu]\nsm_active = 40\n")
    clock = SteppedClock()
    session = Session(clock)
    session.open()
    assert read(session).gpm == Gpm()
    clock.at = 0.05
    assert read(session).gpm == Gpm()
    time.sleep(0.06)  # What the driver counts, it counts by its own clock.
    clock.at = 0.2
    assert read(session).gpm.sm_active == pytest.approx(0.4)
    session.close()


class SteppedClock(SystemClock):
    at = 0.0

    def monotonic(self):
        return self.at
