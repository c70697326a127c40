"""What changes with time alone: nobody comes, nothing ends, and a job may start all the same."""

from dataclasses import replace
from datetime import timedelta

import pytest

from scheduler.sim.trace import BEGINS_AT
from tests import build
from tests.build import HOUR, MINUTE
from tests.sim.replay import HALVES, lived, replay

SECOND = timedelta(seconds=1)
GUEST = [build.account("guest", sector="industry")]
AT = {"starts_at": BEGINS_AT + HOUR, "ends_at": BEGINS_AT + 2 * HOUR}


def with_rows(**rows):
    return replace(HALVES, accounts=(*HALVES.accounts, *GUEST), **rows)


@pytest.mark.parametrize(
    ("policy", "who", "starts_at"),
    [
        pytest.param(
            with_rows(reservations=(build.reservation("cooling", None, 2, **AT),)),
            "a",
            2 * HOUR,
            id="R7: maintenance ends",
        ),
        pytest.param(
            with_rows(reservations=(build.reservation("day", "b", 2, no_show=30 * MINUTE, **AT),)),
            "a",
            HOUR + 30 * MINUTE,
            id="R7: nobody comes to a reservation",
        ),
        pytest.param(
            with_rows(
                pools=(build.pool(owner="a"),),
                quotas=(),
                agreements=(
                    build.agreement("later", "a", "guest", valid_from=BEGINS_AT + 5 * HOUR),
                ),
            ),
            "guest",
            5 * HOUR,
            id="R1: an agreement begins",
        ),
        pytest.param(
            with_rows(
                budgets=(
                    build.budget("old", "a", 1, valid_to=BEGINS_AT + 3 * HOUR),
                    build.budget("new", "a", 99, valid_from=BEGINS_AT + 3 * HOUR),
                )
            ),
            "a",
            3 * HOUR,
            id="R4: a budget begins",
        ),
    ],
)
def test_a_job_starts_when_the_policys_dates_let_it(tmp_path, policy, who, starts_at):
    history = replay(tmp_path, [(3000, 3600, 8, who)], policy)
    begin = max(starts_at / SECOND, 3000)
    assert lived(history) == [("j1", 1, begin, begin + 3600, "completed")]
    assert not history.unfinished


def test_a_borrower_preempts_once_it_has_waited_long_enough_though_nothing_happens(tmp_path):
    """R9: `preempt_delay` after its submission, and not at the next event."""
    root = build.account("national", None)
    tree = [root, *(build.account(name) for name in "abc")]
    rules = replace(HALVES.rules, preempt_delay=HOUR, min_runtime=timedelta(0))
    rows = [build.quota(name, 0, borrow=16) for name in "abc"]
    policy = replace(HALVES, accounts=tuple(tree), quotas=tuple(rows), rules=rules)
    history = replay(tmp_path, [(0, 9000, 8, "a"), (0, 9000, 8, "a"), (60, 100, 8, "b")], policy)
    recalled = next(each for each in history.attempts if each.ended_by.value == "preempted")
    assert recalled.end_at - BEGINS_AT == HOUR + 120 * SECOND  # with 60 s of notice


def test_a_young_run_is_a_victim_once_it_is_old_enough_though_nothing_happens(tmp_path):
    """R9: `min_runtime` after its start."""
    tree = [build.account("national", None), *(build.account(name) for name in "abc")]
    rules = replace(HALVES.rules, preempt_delay=timedelta(0), min_runtime=30 * MINUTE)
    rows = [build.quota(name, 0, borrow=16) for name in "abc"]
    policy = replace(HALVES, accounts=tuple(tree), quotas=tuple(rows), rules=rules)
    history = replay(tmp_path, [(0, 9000, 8, "a"), (0, 9000, 8, "a"), (60, 100, 8, "b")], policy)
    recalled = next(each for each in history.attempts if each.ended_by.value == "preempted")
    assert recalled.end_at - BEGINS_AT == 31 * MINUTE
