"""Usage, hardware, quota arithmetic, forecasts and states: the small pieces by themselves."""

from datetime import UTC, datetime
from math import fsum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core import hardware
from scheduler.core.fairshare import ExactSum, accrued, settled, share
from scheduler.core.forecast import forecast
from scheduler.core.lifecycle import RUN_MOVES, JobState, advance
from scheduler.core.metering import h100e_seconds, settle
from scheduler.core.model import QuotaClass, RunState
from scheduler.core.snapshot import Usage
from scheduler.core.world import World
from tests import build
from tests.build import DAY, HOUR, MINUTE, NOON

WHO = build.account("a").name


def test_an_idle_balance_forgets_half_in_one_half_life():
    """R3."""
    assert settled(Usage(WHO, 1000.0, NOON), NOON + DAY, DAY) == 500.0


def test_a_balance_is_never_brought_backwards():
    assert settled(Usage(WHO, 1000.0, NOON), NOON - DAY, DAY) == 1000.0
    assert accrued(8, NOON, NOON - DAY, DAY) == 0.0


def test_a_fresh_lease_accrues_what_it_holds_and_an_old_one_settles():
    """R3: at first GPU-seconds one to one; a steady load has a ceiling."""
    assert accrued(8, NOON, NOON + MINUTE, 365 * DAY) == pytest.approx(480, rel=1e-5)
    forever = accrued(8, NOON, NOON + 100 * DAY, DAY)
    assert forever == pytest.approx(8 * DAY.total_seconds() / 0.6931471805599453)


@given(gpus=st.integers(1, 10_000), cut=st.floats(0, 1))
def test_settling_in_between_changes_nothing(gpus, cut):
    """R3: stored as (value, as_of), brought forward on reading."""
    middle, end = NOON + cut * DAY, NOON + DAY
    once = settle(None, WHO, (gpus, 1000, NOON, end), DAY)
    first = settle(None, WHO, (gpus, 1000, NOON, middle), DAY)
    twice = settle(first, WHO, (gpus, 1000, middle, end), DAY)
    assert twice.as_of == once.as_of
    assert twice.h100e_seconds == pytest.approx(once.h100e_seconds, rel=1e-6)


@given(st.lists(st.tuples(st.floats(-1e200, 1e200), st.booleans())))
def test_what_is_taken_out_of_an_exact_sum_leaves_no_trace(steps):
    """R3: what a run added goes with it, so that the order of events changes no share."""
    total, there = ExactSum(), []
    for number, goes in steps:
        if goes and there:
            total.add(-there.pop(0))
        else:
            total.add(number)
            there.append(number)
        assert total.value == fsum(there)


def test_a_settled_lease_weighs_what_it_weighed_while_it_ran():
    """R3: the end of a run moves nobody in the queue."""
    run = build.run("r1", "national", {"hub-1": range(8)}, since=NOON - HOUR)
    policy = build.policy()
    world = World(policy, build.snapshot(build.nodes(), run))
    running = world.usage_at(NOON)["national"]
    settled_now = settle(None, run.account, (8, 1000, NOON - HOUR, NOON), policy.rules.half_life)
    assert settled_now.h100e_seconds == pytest.approx(running)


def test_a_bill_is_hours_times_factor():
    """R15: charged in H100e, placed in GPUs."""
    assert h100e_seconds(8, 315, NOON, NOON + HOUR) == pytest.approx(8 * 0.315 * 3600)
    assert h100e_seconds(8, 315, NOON, NOON - HOUR) == 0


def test_background_work_is_not_charged():
    """R2."""
    run = build.run("r1", "national", {"hub-1": [0]}, quota_class=QuotaClass.BACKGROUND)
    world = World(build.policy(), build.snapshot(build.nodes(), run))
    assert world.usage_at(NOON + HOUR).get("national", 0.0) == 0.0


def test_weight_divides_use():
    assert share(300.0, 3) == share(100.0, 1)


@pytest.mark.parametrize(
    ("model", "thousandths"),
    [("H100", 1000), ("H200", 1000), ("B200", 2274), ("A100", 315), ("V100", 126)],
)
def test_the_hardware_table_counts_in_h100s(model, thousandths):
    """R15."""
    assert hardware.factor(hardware.TABLE, model, NOON) == thousandths


def test_a_model_that_was_not_there_yet_has_no_factor():
    with pytest.raises(KeyError, match="no hardware row for H100 at 2001-01-01"):
        hardware.factor(hardware.TABLE, "H100", datetime(2001, 1, 1, tzinfo=UTC))


@given(st.lists(st.sampled_from(list(RunState)), max_size=8))
def test_a_run_that_ended_stays_ended(reports):
    state = RunState.LEASED
    for reported in reports:
        ended = state.is_terminal
        after = advance(state, reported)
        assert after == state or (not ended and after in RUN_MOVES[state])
        state = after


def test_three_job_states_are_final():
    assert {s for s in JobState if s.is_terminal} == {
        JobState.SUCCEEDED,
        JobState.FAILED,
        JobState.STOPPED,
    }


def test_a_forecast_says_when_each_job_starts_by_limits():
    """R6: two jobs of an hour each, one after the other behind a run of two hours."""
    run = build.run("r1", "national", {"hub-1": range(8)}, limit=2 * HOUR)
    jobs = [build.job("j1", gpus=8), build.job("j2", gpus=8)]
    policy = build.policy(pools=[build.pool(nodes=1)])
    world = World(policy, build.snapshot(build.nodes(count=1), run, jobs))
    assert forecast(world, policy, NOON) == {
        "j1": NOON + 2 * HOUR,
        "j2": NOON + 3 * HOUR,
    }


def test_a_forecast_stops_after_its_steps():
    jobs = [build.job(f"j{n}", gpus=8) for n in range(9)]
    policy = build.policy(pools=[build.pool(nodes=1)])
    world = World(policy, build.snapshot(build.nodes(count=1), jobs))
    assert len(forecast(world, policy, NOON, limit_steps=3)) == 3


def test_a_forecast_counts_the_notice_of_a_recall():
    """R9: the owner's job starts when the borrower has had its notice."""
    tree = [build.account("national", None), build.account("a"), build.account("b")]
    policy = build.policy(tree, quotas=[build.quota("a", 8, borrow=8), build.quota("b", 8)])
    lent = build.run(
        "r1", "a", {"hub-1": range(8), "hub-2": range(8)}, quota_class=QuotaClass.BORROWED
    )
    world = World(policy, build.snapshot(build.nodes(), lent, build.job("j1", "b", 8)))
    assert forecast(world, policy, NOON) == {"j1": NOON + 30 * MINUTE}
