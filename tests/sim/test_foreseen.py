"""Four of five first intervals hold, whatever the load does (scheduling.md §5)."""

import gzip
import sys
from datetime import timedelta

import pytest

from scheduler.core.predict import Predictor
from scheduler.sim.limits import time_limits
from scheduler.sim.rulebook import read_rulebook
from scheduler.sim.setting import Cluster, set_up
from scheduler.sim.trace_file import read_trace
from tests.sim.foreseen import Foreseeing, replayed, rows
from tests.sim.replay import text_of
from tests.sim.test_real_traces import found


def foreseen(file, nodes, every=timedelta(minutes=1), most=10**9):
    """Replay a trace until `most` starts were told and settled; return what a hub would see."""
    trace = read_trace(file)
    limits = time_limits("factor:3", trace)
    setting = set_up(trace, Cluster(nodes, 8), read_rulebook("default"), limits)
    engine = Foreseeing(setting.policy, setting.nodes, predictor=Predictor())
    engine.every, engine.most = every, most
    return engine.looks_of(setting)


def coverage(settled):
    return sum(one.hit for one in settled) / len(settled)


@pytest.mark.parametrize("load", ["steady", "growing", "shrinking", "bursty"])
def test_four_of_five_intervals_hold_on_a_load_that_is(load, tmp_path, capsys):
    file = tmp_path / "trace.csv"
    file.write_text(text_of(rows(load, 300, 3)))
    looks = foreseen(file, 4)
    settled = replayed(looks)
    held = coverage(settled)
    with capsys.disabled():
        sys.stdout.write(f"\n{load}: {len(settled)} of 300 told, {held:.1%} held\n")
    assert len(settled) >= 80
    assert 0.75 <= held <= 0.92
    # The same history teaches the same.
    assert replayed(looks) == settled


ROWS = 12_000
"""Of the trace: enough for a queue, and for the starts that are wanted."""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_four_of_five_intervals_hold_on_a_real_trace(tmp_path, capsys):
    """Those with an open end are counted apart: they can miss on one side only."""
    file = tmp_path / "trace.csv"
    with gzip.open(found("philly-2017.csv.gz"), "rt") as whole:
        file.write_text("".join(next(whole) for _ in range(ROWS + 1)))
    settled = replayed(foreseen(file, 80, every=timedelta(minutes=5), most=3_000))
    closed = [one for one in settled if one.eta.high is not None]
    with capsys.disabled():
        sys.stdout.write(
            f"\nphilly-2017, 80 x 8: {len(settled)} told, {coverage(settled):.1%} held; "
            f"{len(closed)} with both ends, {coverage(closed):.1%} held\n"
        )
    assert len(settled) >= 2_000
    assert 0.75 <= coverage(settled) <= 0.92
    assert 0.75 <= coverage(closed) <= 0.92
