"""Checks of dates and lending agree with what counting day by day finds."""

from dataclasses import replace
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.core import policy_checks
from scheduler.core.model import PoolId, Sector
from tests import build
from tests.build import DAY, NOON

ACCOUNTS = [
    build.account("national", None),
    build.account("lab"),
    build.account("team", "lab"),
    build.account("firm", sector="industry"),
]
DAYS = range(8)


def found(section: str, **policy) -> list[tuple]:
    whole = build.policy(ACCOUNTS, **policy)
    return [f for f in policy_checks.problems(whole) if f.path[0] == section]


@st.composite
def spans(draw) -> tuple:
    begins = draw(st.integers(0, 5))
    return NOON + begins * DAY, NOON + (begins + draw(st.integers(1, 3))) * DAY


def open_at(number: int, begins, ends) -> bool:
    return begins <= NOON + number * DAY < ends


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["lab", "team"]), spans()), max_size=5))
def test_budgets_are_refused_where_an_account_has_two_on_one_day(rows):
    """R4: a child's besides its parent's is fine, whatever its size."""
    budgets = tuple(
        build.budget(f"b{n}", who, 1 + n, valid_from=begins, valid_to=ends)
        for n, (who, (begins, ends)) in enumerate(rows)
    )
    twice = any(
        len([b for b in budgets if b.account == who and open_at(day, b.valid_from, b.valid_to)]) > 1
        for day in DAYS
        for who in ("lab", "team")
    )
    assert bool(found("budgets", budgets=budgets)) == twice


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["lab", None]),
            spans(),
            st.integers(1, 3) | st.frozensets(st.sampled_from("abc"), min_size=1),
        ),
        max_size=5,
    )
)
def test_reservations_are_refused_where_a_day_has_too_few_nodes(rows):
    """R7: together within the pool, and no node kept twice; maintenance counts too."""
    kept = tuple(
        build.reservation(
            f"r{n}",
            who,
            what if isinstance(what, int) else len(what),
            starts_at=begins,
            ends_at=ends,
            nodes=frozenset() if isinstance(what, int) else what,
        )
        for n, (who, (begins, ends), what) in enumerate(rows)
    )

    def is_over(day: int) -> bool:
        there = [r for r in kept if open_at(day, r.starts_at, r.ends_at)]
        named = [name for r in there for name in r.nodes]
        return sum(r.node_count for r in there) > 4 or len(named) > len(set(named))

    policy = build.policy(ACCOUNTS, [build.pool(nodes=4)], reservations=kept)
    told = {f.path[0] for f in policy_checks.problems(policy)}
    assert told <= {"reservations", "maintenance"}
    assert bool(told) == any(map(is_over, DAYS))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["firm", Sector.INDUSTRY]),
            spans(),
            st.frozensets(st.sampled_from(["p", "q"]), min_size=1),
        ),
        max_size=5,
    )
)
def test_agreements_are_refused_where_one_day_has_two_about_the_same(rows):
    """R1: lender, borrower and a pool; an account and its sector are two borrowers."""
    signed = tuple(
        build.agreement(
            f"a{n}",
            "lab",
            who,
            pools=frozenset(map(PoolId, pools)),
            valid_from=begins,
            valid_to=ends,
        )
        for n, (who, (begins, ends), pools) in enumerate(rows)
    )
    twice = any(
        len(
            [
                a
                for a in signed
                if a.borrower == who and pool in a.pools and open_at(day, a.valid_from, a.valid_to)
            ]
        )
        > 1
        for day in DAYS
        for who in ("firm", Sector.INDUSTRY)
        for pool in ("p", "q")
    )
    pools = [build.pool("p", "lab"), build.pool("q", "lab")]
    assert bool(found("agreements", pools=pools, agreements=signed)) == twice


@given(st.integers(0, 16), st.integers(0, 16), st.integers(1, 16))
def test_an_agreement_lends_no_more_than_every_level_above_the_lender_lends(lab, team, cap):
    """R1: what a level keeps at home never leaves it, whoever of it signs."""
    quotas = [build.quota("lab", 16, lab), build.quota("team", 16, team)]
    signed = (build.agreement("a", "team", "visitors", cap=cap),)
    accounts = [
        build.account("world", None),
        build.account("visitors", "world"),
        build.account("national", "world"),
        *ACCOUNTS[1:3],
    ]
    policy = build.policy(accounts, quotas=quotas, agreements=signed)
    told = [f for f in policy_checks.problems(policy) if f.path[0] == "agreements"]
    assert bool(told) == (cap > min(lab, team))


def test_a_thousand_accounts_and_reservations_are_checked_in_a_moment():
    rows = [build.account("national", None), *(build.account(f"a{n}") for n in range(1000))]
    kept = tuple(
        build.reservation(
            f"r{n}",
            f"a{n}",
            starts_at=NOON + n * timedelta(hours=1),
            ends_at=NOON + (n + 1) * timedelta(hours=1),
        )
        for n in range(1000)
    )
    policy = build.policy(rows, [build.pool(nodes=1)], reservations=kept)
    assert list(policy_checks.problems(policy)) == []


@given(st.tuples(*[st.integers(0, 4)] * 4))
def test_the_steps_with_idle_runs_come_one_after_the_other(hours):
    """R18: zero is a step that is never taken, and has no place in the order."""
    warn, lend, requeue, end = (timedelta(hours=h) for h in hours)
    tiers = build.policy(ACCOUNTS).tiers
    steps = {"idle_warn": warn, "idle_lend": lend, "idle_requeue": requeue, "idle_end": end}
    changed = tuple((tier, replace(rules, **steps)) for tier, rules in tiers)
    taken = [h for h in hours if h]
    wrong = taken != sorted(set(taken))
    assert bool(found("tiers", tiers=changed)) == wrong
