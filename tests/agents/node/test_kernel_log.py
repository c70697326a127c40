"""The kernel log is a second witness of XIDs, and what both witnesses saw counts once."""

import os

import pytest

from agents.node.kernel_log import KernelLog, place, xids
from agents.node.sampler import Sampler
from scheduler.clock import SystemClock
from tests.agents.node.test_sampler import QUICK, well
from tests.agents.node.test_session import UUIDS
from tests.waiting import until

LINE = "4,1234,987654321,-;NVRM: Xid (PCI:0000:1b:00): {}, pid='<unknown>', name=<unknown>, words\n"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param(LINE.format(79), [((0, 0x1B, 0), 79)], id="off the bus"),
        pytest.param("NVRM: Xid (PCI:0001:DF:00): 109, pid=1", [((1, 0xDF, 0), 109)], id="upper"),
        pytest.param("NVRM: Xid (PCI:0000:1b:00.0): 63, Row", [((0, 0x1B, 0), 63)], id="function"),
        pytest.param("NVRM: GPU 0000:1b:00.0: RmInitAdapter failed!", [], id="no XID"),
        pytest.param("usb 1-1: Xid 79", [], id="somebody else"),
    ],
)
def test_lines_of_the_driver_tell_xids_and_others_do_not(text, found):
    assert list(xids(text)) == found


@pytest.mark.parametrize("bus_id", ["00000000:1B:00.0", "0000:1b:00.0", "0000:1b:00"])
def test_nvml_and_the_kernel_mean_the_same_place(bus_id):
    assert place(bus_id) == (0, 0x1B, 0)
    assert place("") is None


class SteppedClock(SystemClock):
    at = 0.0

    def monotonic(self):
        return self.at


@pytest.fixture
def fifo(tmp_path):
    file = tmp_path / "kmsg"
    os.mkfifo(file)
    return file


def test_lines_are_heard_and_those_of_a_moment_are_one(fifo):
    heard, clock = [], SteppedClock()
    reader = KernelLog(lambda where, number: heard.append((where, number)), clock, fifo)
    reader.start()
    with fifo.open("wb", buffering=0) as kernel:
        for _ in range(3):
            kernel.write(LINE.format(13).encode())
        kernel.write(LINE.format(79).encode())
        until(lambda: len(heard) == 2)
        clock.at = 60
        kernel.write(LINE.format(13).encode())
        until(lambda: len(heard) == 3)
    reader.stop(5)
    assert [number for _, number in heard] == [13, 79, 13]


def test_a_log_that_may_not_be_read_is_done_without(tmp_path, capsys):
    reader = KernelLog(lambda *_: None, SystemClock(), tmp_path / "none")
    reader.start()
    reader.stop(5)
    assert "kernel_log_not_read" in capsys.readouterr().err


def test_what_both_witnesses_saw_counts_once_and_what_one_missed_counts(gpus):
    sampler = Sampler(SystemClock(), QUICK)
    sampler.start()
    until(lambda: well(sampler))
    gpus.write("[events]\nevent = 1,0,8,79\nevent = 2,0,8,79\n")
    until(lambda: sampler.view().xids == {(UUIDS[0], 79): 2})
    for number in (79, 62):
        sampler.heard_by_the_kernel((0, 0x1B, 0), number)
    sampler.heard_by_the_kernel((0, 0x77, 0), 79)
    view = sampler.view()
    assert view.xids == {(UUIDS[0], 79): 2, (UUIDS[0], 62): 1}
    assert view.last_xids == {UUIDS[0]: 62}
    assert sampler.stop(10)
