"""What-if: one history under two policies, and nothing else between them."""

import pytest

from scheduler.core.whatif import (
    CapChange,
    Comparison,
    GpuChange,
    PastJob,
    QuotaChange,
    WeightChange,
    change_policy,
    what_if,
)
from scheduler.sim.past import play
from tests import build
from tests.build import MINUTE, NOON

POLICY = build.policy(
    [build.account("national", None), build.account("a"), build.account("b")],
    quotas=[build.quota("a", 8, borrow=8), build.quota("b", 8)],
    agreements=(build.agreement("lend", "national", "a"),),
)
PAST = [
    PastJob(
        build.job(f"j{n}", "a" if n % 2 else "b", gpus=8, submitted_at=NOON + MINUTE * n),
        30 * MINUTE,
    )
    for n in range(12)
]


def ask(*changes) -> Comparison:
    found = what_if(POLICY, changes, PAST, play)
    assert isinstance(found, Comparison), found
    return found


def test_without_changes_both_are_the_same():
    found = ask()
    assert found.before == found.after
    assert (found.jobs, found.before.total.unfinished) == (12, 0)
    assert [fared.account for fared in found.before.accounts] == ["a", "b"]
    assert found.before.total.gpu_hours == pytest.approx(12 * 8 / 2)


def test_more_gpus_and_room_to_borrow_shorten_the_waits():
    found = ask(GpuChange("hub", 32), QuotaChange("a", "hub", nominal=16))
    assert found.after.total.mean_wait < found.before.total.mean_wait
    by = {fared.account: fared for fared in found.after.accounts}
    assert by["a"].mean_wait < found.before.accounts[0].mean_wait


def test_a_quota_that_is_taken_away_makes_its_account_wait():
    found = ask(QuotaChange("b", "hub", nominal=0, borrow_max=0))
    assert found.after.accounts[1].unfinished == 6


def test_order_of_the_history_is_irrelevant():
    assert what_if(POLICY, [], PAST[::-1], play) == what_if(POLICY, [], PAST, play)


def test_nothing_is_played_where_nothing_happened():
    found = what_if(POLICY, [], [], play)
    assert (found.jobs, found.after.total.jobs, found.after.utilisation) == (0, 0, 0.0)


def test_a_weight_a_cap_and_an_end_of_an_agreement_change_the_policy():
    changed = change_policy(POLICY, [WeightChange("a", 3), CapChange("lend", 4)])
    assert (changed.account("a").weight, changed.agreements[0].cap) == (3, 4)
    assert change_policy(POLICY, [CapChange("lend", 0)]).agreements == ()


def test_what_is_lent_follows_what_is_guaranteed():
    (a, _) = change_policy(POLICY, [QuotaChange("a", "hub", nominal=4)]).quotas
    assert (a.nominal, a.lend_max, a.borrow_max) == (4, 4, 8)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(QuotaChange("x", "hub"), "no account", id="an unknown account"),
        pytest.param(QuotaChange("a", "x"), "no pool", id="an unknown pool"),
        pytest.param(WeightChange("x", 1), "no account", id="another unknown account"),
        pytest.param(CapChange("x", 1), "no agreement", id="an unknown agreement"),
        pytest.param(GpuChange("x", 8), "no pool", id="GPUs of an unknown pool"),
        pytest.param(GpuChange("hub", 12), "no whole nodes", id="half a node"),
        pytest.param(QuotaChange("a", "hub", nominal=999), "quotas", id="more than there is"),
        pytest.param(QuotaChange("a", "hub", nominal=-1), "negative", id="less than nothing"),
        pytest.param(CapChange("lend", -1), "negative", id="a cap of less than nothing"),
        pytest.param(WeightChange("a", 0), "less than 1", id="a weight of nothing"),
    ],
)
def test_a_change_that_makes_no_policy_is_refused_in_words(change, said):
    (unfit, *_) = what_if(POLICY, [change], PAST, play)
    assert said in unfit.reason


def test_whoever_watches_is_told_of_both_plays_and_may_end_them():
    seen = []
    what_if(POLICY, [], PAST, play, seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 2 * len(PAST)

    def enough(over):
        raise TimeoutError(over)

    with pytest.raises(TimeoutError):
        what_if(POLICY, [], PAST, play, enough)
