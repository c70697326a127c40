"""Whose GPUs a borrowed run uses, as it is recorded when the run is leased (R1)."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.lenders import Part, Parties, PoolLending, shared_out
from scheduler.core.model import Agreement, QuotaClass, Sector
from scheduler.core.plan import plan
from tests import build
from tests.build import DAY, NOON
from tests.strategies import scenes

TREE = [
    build.account("national", None, sector=Sector.DOD),
    build.account("arl", sector=Sector.DOD),
    build.account("arl-a", "arl", sector=Sector.DOD),
    build.account("arl-b", "arl", sector=Sector.DOD),
    build.account("uni"),
    build.account("acme", sector=Sector.INDUSTRY),
]
QUOTAS = [
    build.quota("arl", 16),
    build.quota("arl-a", 8, borrow=24),
    build.quota("arl-b", 8),
    build.quota("uni", 8),
    build.quota("acme", 4, borrow=24),
]
SIGNED = Agreement("loan", "arl", "acme", frozenset({"hub"}), 8, timedelta(0), NOON, NOON + DAY)
POLICY = build.policy(TREE, [build.pool(nodes=4)], QUOTAS, agreements=(SIGNED,))


def lending(used=None, lent=None, policy=POLICY):
    return PoolLending(policy, policy.pools[0], used or {}, lent or {})


def lenders(parts):
    return {part.lender: part.gpus for part in parts}


def test_what_a_team_takes_beyond_its_own_comes_from_its_own_institution_first():
    assert lending().lend("arl-a", 12, None) == (Part("arl-b", 4),)


def test_what_the_institution_is_beyond_comes_from_the_others_by_what_they_left_idle():
    found = lending({"arl-a": 8, "acme": 0, "uni": 4}).lend("arl-a", 16, None)
    # Eight are arl-b's; of the other eight, acme, uni and the owner's own 4 have as much idle.
    assert lenders(found) == {"arl-b": 8, "acme": 3, "national": 3, "uni": 2}


def test_what_is_lent_or_used_already_is_not_lent_again():
    table = lending({"arl-b": 6})
    assert lenders(table.lend("arl-a", 10, None)) == {"arl-b": 2}
    assert lenders(table.lend("arl-a", 2, None)) == {"uni": 1, "acme": 1}


def test_what_an_account_does_not_lend_stays_its_own():
    quotas = [*QUOTAS[:2], build.quota("arl-b", 8, lend=3), *QUOTAS[3:]]
    policy = build.policy(TREE, [build.pool(nodes=4)], quotas)
    assert lenders(lending(policy=policy).lend("arl-a", 16, None)) == {"arl-b": 3, "arl": 5}


def test_under_an_agreement_the_lender_is_who_signed_it():
    assert lending().lend("acme", 8, "loan") == (Part("arl", 8),)


def test_an_agreement_that_is_gone_is_the_owners_loan():
    assert lending().lend("acme", 8, "ended") == (Part("national", 8),)


def test_a_party_is_known_by_its_institution_and_sector():
    party = Parties(POLICY).party("arl-a")
    assert (party.account, party.institution, party.sector) == ("arl-a", "arl", Sector.DOD)
    assert Parties(POLICY).party("national").institution == "national"
    assert Parties(POLICY).chain("nobody") == ("nobody",)


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 50), min_size=1), st.integers(0, 300)
)
def test_whole_gpus_are_shared_out_whole_and_nobody_gives_more_than_it_has(weights, amount):
    amount = min(amount, sum(weights.values()))
    parts = shared_out(amount, weights)
    assert sum(parts.values()) == amount
    assert all(0 < part <= weights[name] for name, part in parts.items())
    total = sum(weights.values())
    assert all(abs(part - amount * weights[name] / total) < 1 for name, part in parts.items())
    assert parts == shared_out(amount, dict(reversed(weights.items())))


@given(scenes())
def test_each_borrowed_start_of_any_plan_has_lenders_among_the_others(scene):
    policy, decided = scene.policy, plan(scene.world(), scene.policy, scene.now)
    tables = {pool.id: PoolLending(policy, pool, _used(scene, pool), {}) for pool in policy.pools}
    jobs = scene.snapshot.jobs
    for start in decided.starts:
        gpus = sum(len(slot.gpus) for slot in start.slots)
        account, table = jobs[start.job].account, tables[start.pool]
        if start.quota_class is QuotaClass.BORROWED:
            parts = table.lend(account, gpus, start.agreement)
            assert 1 <= sum(part.gpus for part in parts) <= gpus
            assert all(part.gpus > 0 for part in parts)
            assert all(part.lender != account for part in parts)
        elif start.quota_class is QuotaClass.IN_QUOTA:
            table.use(account, gpus)


def _used(scene, pool):
    used = {}
    for run in scene.snapshot.runs.values():
        if run.pool == pool.id and not run.draining and run.quota_class < QuotaClass.BACKGROUND:
            used[run.account] = used.get(run.account, 0) + run.gpus
    return used


@pytest.mark.parametrize("account", ["uni", "acme"])
def test_without_anybody_idle_the_account_above_lends(account):
    table = lending({"arl-a": 8, "arl-b": 8, "uni": 8, "acme": 4})
    assert table.lend(account, 4, None) == (Part("national", 4),)
