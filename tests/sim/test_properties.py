"""Whatever the trace and the policy: what was simulated could have happened (`check.py`)."""

import tempfile
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.sim.report import measure
from tests.sim.check import Terms, mean_wait, violations
from tests.sim.replay import HALVES, costs, replay, text_of, written

JOBS = st.lists(
    st.tuples(
        st.integers(0, 120), st.integers(1, 300), st.integers(1, 16), st.sampled_from(["a", "b"])
    ),
    min_size=1,
    max_size=25,
)
BOOKS = st.sampled_from(["default", "easy", "fifo", HALVES])
RESTARTS = st.sampled_from([0, 7])
KEEPING = st.sampled_from([None, 1, 45])


def in_order(jobs):
    """Turn gaps between submissions into their times."""
    at, rows = 0, []
    for gap, duration, gpus, tenant in jobs:
        at += gap
        rows.append((at, duration, gpus, tenant))
    return rows


@given(jobs=JOBS, book=BOOKS, restart=RESTARTS, every=KEEPING)
def test_gangs_run_whole_no_gpu_is_given_twice_and_all_work_is_done(jobs, book, restart, every):
    rows = in_order(jobs)
    with tempfile.TemporaryDirectory() as folder:
        history = replay(Path(folder), rows, book, costs=costs(restart, every))
    kept = None if every is None else Decimal(every)
    terms = Terms(2, 8, Decimal(restart), kept)
    assert violations(text_of(rows), written(history), terms) == []
    assert measure(history).preemptions == written(history).count(",preempted,")
    waited = measure(history).wait_s.mean
    assert waited == pytest.approx(mean_wait(text_of(rows), written(history)))


@given(jobs=JOBS, factor=st.sampled_from(["0.5", "1.5", "3"]))
def test_limits_that_are_not_exact_end_jobs_and_nothing_else(jobs, factor):
    rows = in_order(jobs)
    with tempfile.TemporaryDirectory() as folder:
        history = replay(Path(folder), rows, HALVES, limits=f"factor:{factor}")
    limits = {f"j{n}": row[1] * Decimal(factor) for n, row in enumerate(rows, 1)}
    assert violations(text_of(rows), written(history), Terms(2, 8, limits=limits)) == []
    assert not history.unfinished


TWO = text_of([(0, 10, 12, "a"), (5, 10, 8, "a")])
HEADER = "job_id,attempt,start_s,end_s,ended_by,placement\n"


@pytest.mark.parametrize(
    ("jobs", "told"),
    [
        pytest.param("j1,1,0,10,completed,n1:6;n2:6\n", "j2: never ran", id="a job is missing"),
        pytest.param(
            "j1,1,0,10,completed,n1:6;n2:6\nj2,1,5,15,completed,n1:8\n",
            "n1: 14 GPUs in use at 5, of 8",
            id="GPUs are given twice",
        ),
        pytest.param(
            "j1,1,0,10,completed,n1:8;n2:4\nj2,1,10,20,completed,n1:8\n",
            "j1: attempt 1 held {'n1': 8, 'n2': 4}, not [6, 6]",
            id="a gang is lopsided",
        ),
        pytest.param(
            "j1,1,0,10,completed,n1:6;n2:6\nj2,1,4,14,completed,n3:8\n",
            "j2: attempt 1 starts before it is submitted, or still runs",
            id="a job starts before it came",
        ),
        pytest.param(
            "j1,1,0,9,completed,n1:6;n2:6\nj2,1,10,20,completed,n1:8\n",
            "j1: completed after 9 s of work, not 10",
            id="work is left out",
        ),
        pytest.param(
            "j1,1,0,10,completed,n1:6;n2:6\nj2,1,10,15,preempted,n1:8\n",
            "j2: did not end",
            id="a job is forgotten after preemption",
        ),
    ],
)
def test_the_checker_sees(jobs, told):
    assert told in violations(TWO, HEADER + jobs, Terms(3, 8))
