"""When GPUs are back by the limits of runs: kept sums are those of a list added up anew (R6)."""

from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.returns import Returns
from tests import build
from tests.build import MINUTE, NOON

RUN = st.tuples(st.just("put"), st.integers(0, 9), st.integers(1, 8), st.integers(1, 20))
GONE = st.tuples(st.just("drop"), st.integers(0, 9))
ASKED = st.tuples(st.just("ask"), st.integers(1, 40), st.integers(0, 21))


@given(st.lists(st.one_of(RUN, GONE, ASKED), max_size=40))
def test_what_is_back_does_not_depend_on_who_asked_before(history):
    """R6: `when` and `by` between runs that come and go are those of the runs that are there."""
    returns, there = Returns(), {}
    for what, *rest in history:
        if what == "put" and rest[0] not in there:
            name, gpus, minutes = rest
            run = build.run(f"r{name}", "a", {"n": range(gpus)}, limit=MINUTE * minutes)
            there[name] = run
            returns.put(run.id, run.ends_by, run.gpus)
        elif what == "drop" and rest[0] in there:
            returns.drop(there.pop(rest[0]).id)
        elif what == "ask":
            gpus, minutes = rest
            rows = sorted((run.ends_by, run.gpus) for run in there.values())
            back = [sum(n for _, n in rows[: at + 1]) for at in range(len(rows))]
            enough = (end for (end, _), total in zip(rows, back, strict=True) if total >= gpus)
            assert returns.when(gpus) == next(enough, None)
            by = NOON + MINUTE * minutes
            assert returns.by(by) == sum(n for end, n in rows if end <= by)
