"""The published traces, replayed whole and checked by `check.py`; skipped where they are absent.

The traces are third-party data and no part of this repository: COMMONPOOL_TRACES names
their folder.
"""

import gzip
import os
from pathlib import Path

import pytest

from scheduler.core.predict import Predictor
from scheduler.sim.engine import Engine
from scheduler.sim.limits import time_limits
from scheduler.sim.report import measure
from scheduler.sim.rulebook import read_rulebook
from scheduler.sim.setting import Cluster, set_up
from scheduler.sim.trace_file import read_trace
from tests.sim.check import Terms, mean_wait, violations
from tests.sim.replay import written

FOLDER = Path(os.environ.get("COMMONPOOL_TRACES") or Path(__file__).parents[3] / "shared/traces")


def found(name):
    file = FOLDER / name
    if not file.exists():
        pytest.skip(f"no {name} in {FOLDER}")
    return file


@pytest.mark.parametrize(
    ("name", "jobs", "gpus"),
    [("philly-2017.csv.gz", 52_829, 32), ("kalos-2023.csv.gz", 19_907, 1024)],
)
def test_the_published_traces_are_read_whole(name, jobs, gpus):
    trace = read_trace(found(name))
    assert len(trace.jobs) == jobs
    assert max(job.gpus for job in trace.jobs) == gpus


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("policy", ["default", "easy", "fifo"])
@pytest.mark.parametrize(
    ("name", "nodes"),
    [("philly-2017.csv.gz", 80), ("kalos-2023.csv.gz", 160), ("kalos-2023.csv.gz", 302)],
)
def test_a_whole_trace_is_replayed_as_it_could_have_happened(name, nodes, policy):
    file = found(name)
    trace = read_trace(file)
    setting = set_up(trace, Cluster(nodes, 8), read_rulebook(policy), time_limits("exact", trace))
    history = Engine(setting.policy, setting.nodes, predictor=Predictor()).run(
        setting.works, setting.begins_at
    )
    text, jobs = gzip.decompress(file.read_bytes()).decode(), written(history)
    assert violations(text, jobs, Terms(nodes, 8)) == []
    assert not history.unfinished
    assert measure(history).wait_s.mean == pytest.approx(mean_wait(text, jobs))
