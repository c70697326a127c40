"""R13-R15: where a kind of job may run, how large it is there, and which rule says no."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.core import explain, hardware
from scheduler.core.explain import Reason
from scheduler.core.index import Fit, PolicyIndex
from scheduler.core.labels import Lattice
from scheduler.core.model import Sector, Tier
from scheduler.core.policy import Rules
from tests import build
from tests.build import DAY, HOUR, NOON

ACCOUNTS = [
    build.account("national", None, sector="dod"),
    build.account("lab", sector="academic"),
    build.account("team", "lab", sector="academic"),
    build.account("firm", sector="industry"),
]
LABELS = (
    build.label("public", 0),
    build.label("secret", 2),
    build.label("secret-bio", 2, "bio"),
)
SOFTWARE = st.frozensets(st.sampled_from(["cuda-12", "mpi", "pytorch"]), max_size=2)
NAMED = st.sampled_from(["public", "secret", "secret-bio", "odd"])
MODELS = st.sampled_from(["H100", "H200", "A100", "V100", "X9"])


@st.composite
def pools(draw):
    return [
        build.pool(
            f"p{number}",
            draw(st.sampled_from(["national", "lab", "team"])),
            draw(st.integers(1, 4)),
            tier=draw(st.sampled_from(list(Tier))),
            gpu_model=draw(MODELS),
            gpus_per_node=draw(st.sampled_from([2, 4, 8])),
            labels=draw(st.frozensets(NAMED, min_size=1, max_size=2)),
            sectors=draw(st.frozensets(st.sampled_from(list(Sector)), max_size=2)),
            software=draw(SOFTWARE),
        )
        for number in range(draw(st.integers(1, 6)))
    ]


@st.composite
def shapes(draw):
    low, high = sorted(draw(st.tuples(*[st.sampled_from(list(Tier))] * 2)), key=lambda t: t.rank)
    return build.shape(
        draw(st.integers(1, 4)),
        draw(st.sampled_from([1, 2, 4, 8])),
        gpu_models=draw(st.frozensets(MODELS, max_size=2)),
        label=draw(NAMED),
        tier_min=low,
        tier_max=high,
        memory_gib=draw(st.sampled_from([0, 0, 32, 80, 100])),
        h100e=draw(st.sampled_from([0, 0, 1, 7, 40])),
        software=draw(SOFTWARE),
    )


WHO = st.sampled_from(["national", "lab", "team", "firm"])
LIMITS = st.sampled_from([HOUR, 8 * DAY, 20 * DAY, 45 * DAY])


def plainly(index: PolicyIndex, who: str, shape, limit: timedelta) -> list:
    """The same answer by reading the rules out for every pool."""
    lattice, table = Lattice(index.policy.labels), hardware.newest(index.policy.hardware)
    sector = index.accounts[who].sector
    found = []
    for pool in index.policy.pools:
        row = table.get(pool.gpu_model)
        fit = Fit(shape.nodes, shape.gpus_per_node)
        if shape.h100e:
            gpus = -(-shape.h100e * 1000 // (row.factor if row else 1000))
            count = next(n for n in range(1, gpus + 1) if n * pool.gpus_per_node >= gpus)
            fit = Fit(count, next(g for g in range(1, gpus + 1) if g * count >= gpus))
        if (
            shape.tier_min.rank <= pool.tier.rank <= shape.tier_max.rank
            and lattice.covers(pool.labels, shape.label)
            and (not pool.sectors or sector in pool.sectors)
            and (not shape.gpu_models or pool.gpu_model in shape.gpu_models)
            and shape.memory_gib <= (row.memory_gib if row else 0)
            and shape.software <= pool.software
            and fit.nodes <= pool.node_count
            and fit.gpus_per_node <= pool.gpus_per_node
            and limit <= index.tier_rules[pool.tier].max_time_limit
        ):
            found.append((pool, fit))
    return sorted(
        found, key=lambda one: (one[0].tier.rank, not index.is_inside(who, one[0]), one[0].id)
    )


@settings(max_examples=200, deadline=None)
@given(pools(), st.lists(st.tuples(WHO, shapes(), LIMITS), min_size=1, max_size=6))
def test_the_masks_answer_as_the_rules_read(pools, asked):
    """R13-R15: candidates, their order and sizes; each other pool is refused once, by name."""
    index = PolicyIndex(build.policy(ACCOUNTS, pools, labels=LABELS))
    for who, shape, limit in asked:
        found = index.candidates(who, shape, limit)
        expected = plainly(index, who, shape, limit)
        assert [(pool, found.fits[pool.id]) for pool in found.pools] == expected
        assert all(index.fit(shape, pool) == found.fits[pool.id] for pool in found.pools)
        refused = [verdict.pool for verdict in found.refusals if verdict.pool]
        assert sorted(refused) == sorted({p.id for p in pools} - {p.id for p in found.pools})
        assert expected or found.refusals[0].reason is Reason.NO_POOL
        assert all("?" not in explain.sentence(v, index.policy) for v in found.refusals)


@pytest.mark.parametrize(
    ("pool", "shape", "reason"),
    [
        pytest.param({"sectors": {Sector.DOD}}, {}, Reason.SECTOR, id="another sector"),
        pytest.param({}, {"software": frozenset({"mpi"})}, Reason.SOFTWARE, id="no such software"),
        pytest.param({}, {"memory_gib": 81}, Reason.MEMORY, id="too little memory"),
        pytest.param({}, {"label": "secret"}, Reason.LABEL, id="no accreditation"),
        pytest.param({}, {"h100e": 17}, Reason.HARDWARE, id="too few H100e"),
        pytest.param({}, {"gpu_models": frozenset({"A100"})}, Reason.HARDWARE, id="other model"),
        pytest.param({}, {"tier_max": Tier.TEAM}, Reason.TIER, id="another tier"),
        pytest.param({}, {"reservation": "r1"}, Reason.RESERVATION, id="no such reservation"),
    ],
)
def test_each_rule_refuses_by_its_own_name(pool, shape, reason):
    """R13."""
    given_pool = build.pool(**{k: frozenset(v) for k, v in pool.items()})
    index = PolicyIndex(build.policy(ACCOUNTS, [given_pool]))
    found = index.candidates("team", build.shape(**shape), HOUR)
    assert found.pools == ()
    assert [verdict.reason for verdict in found.refusals] == [Reason.NO_POOL, reason]


@pytest.mark.parametrize(
    ("model", "gpus_per_node", "h100e", "fit"),
    [
        pytest.param("H100", 8, 8, Fit(1, 8), id="a node of H100"),
        pytest.param("H100", 8, 9, Fit(2, 5), id="evenly over the fewest nodes"),
        pytest.param("A100", 8, 8, Fit(4, 7), id="25.4 A100 are 26, on four nodes"),
        pytest.param("B200", 8, 8, Fit(1, 4), id="3.5 B200 are four"),
        pytest.param("H200", 8, 1, Fit(1, 1), id="an H200 counts as an H100"),
    ],
)
def test_r15_h100_equivalents_are_gpus_of_the_pools_model(model, gpus_per_node, h100e, fit):
    pool = build.pool(nodes=9, gpu_model=model, gpus_per_node=gpus_per_node)
    assert PolicyIndex(build.policy(pools=[pool])).fit(build.shape(h100e=h100e), pool) == fit


def test_r15_jobs_are_sized_by_the_newest_row_and_billed_by_the_date():
    newer = build.hardware_row("H100", factor=500, memory_gib=96, valid_from=NOON + DAY)
    policy = build.policy(hardware=(newer, *hardware.TABLE))
    index = PolicyIndex(policy)
    pool = policy.pools[0]
    assert index.fit(build.shape(h100e=4, memory_gib=96), pool) == Fit(1, 8)
    assert (index.factor(pool.id, NOON), index.factor(pool.id, NOON + DAY)) == (1000, 500)


def test_r1_h100_equivalents_may_be_more_gpus_than_a_job_may_hold():
    pools = [build.pool("new"), build.pool("old", nodes=9, gpu_model="V100")]
    index = PolicyIndex(build.policy(pools=pools, rules=Rules(max_gpus_per_job=16)))
    found = index.candidates("national", build.shape(h100e=4), HOUR)
    assert [pool.id for pool in found.pools] == ["new"]
    assert [v.reason for v in found.refusals] == [Reason.JOB_LIMIT]


RESERVED = build.policy(
    ACCOUNTS,
    [build.pool("hub", nodes=4), build.pool("other", nodes=4)],
    reservations=(build.reservation("demo", "lab", 2), build.reservation("cooling")),
)


@settings(max_examples=100, deadline=None)
@given(pools(), st.lists(shapes(), min_size=2, max_size=6))
def test_what_a_job_is_told_does_not_depend_on_who_asked_before(pools, asked):
    """R15: a verdict names the models, nodes and GPUs that this job asks for, nobody else's."""
    policy = build.policy(ACCOUNTS, pools, labels=LABELS)
    shared = PolicyIndex(policy)
    for shape in asked:
        alone = PolicyIndex(policy).candidates("team", shape, HOUR).refusals
        assert shared.candidates("team", shape, HOUR).refusals == alone


def test_r15_a_pool_refuses_with_the_size_and_models_of_the_job_itself():
    index = PolicyIndex(build.policy(pools=[build.pool(nodes=2)]))
    told = [
        dict(index.candidates("national", shape, HOUR).refusals[-1].numbers)
        for shape in (
            build.shape(1, 8, gpu_models=frozenset({"H200"})),
            build.shape(4, 2, gpu_models=frozenset({"H200"})),
            build.shape(4, 8),
            build.shape(4, 8, gpu_models=frozenset({"H100"})),
        )
    ]
    assert [(n["nodes"], n["asked"], n["models"]) for n in told] == [
        (1, 8, "H200"),
        (4, 2, "H200"),
        (4, 8, "any GPU"),
        (4, 8, "H100"),
    ]


@pytest.mark.parametrize(
    ("who", "shape", "pools", "state"),
    [
        pytest.param("lab", {}, ["hub"], "of the pool hub", id="its account"),
        pytest.param("team", {}, ["hub"], "of the pool hub", id="an account below"),
        pytest.param("firm", {}, [], "for the jobs of lab", id="another account"),
        pytest.param("national", {}, [], "for the jobs of lab", id="an account above"),
        pytest.param("lab", {"count": 3}, [], "has 2 nodes", id="a larger gang"),
        pytest.param(
            "lab", {"reservation": "cooling"}, [], "in which no job runs", id="maintenance"
        ),
        pytest.param("lab", {"reservation": "gone"}, [], "not in the policy", id="unknown"),
    ],
)
def test_r7_a_reservation_takes_the_jobs_of_its_account_and_no_other(who, shape, pools, state):
    asked = build.shape(**{"reservation": "demo", **shape})
    found = PolicyIndex(RESERVED).candidates(who, asked, HOUR)
    assert [pool.id for pool in found.pools] == pools
    told = " ".join(explain.sentence(verdict, RESERVED) for verdict in found.refusals)
    assert state in told


def test_an_account_that_the_policy_lost_has_no_pool():
    found = PolicyIndex(build.policy(ACCOUNTS)).candidates("gone", build.shape(), HOUR)
    assert (found.pools, found.refusals[0].reason) == ((), Reason.NO_POOL)


def test_r13_the_own_tier_is_that_of_the_nearest_owner():
    pools = [build.pool("a", "lab", tier=Tier.INSTITUTION), build.pool("b", "team", tier=Tier.TEAM)]
    index = PolicyIndex(build.policy(ACCOUNTS, pools))
    own = [index.own_tier(name) for name in ("team", "lab", "firm")]
    assert own == [Tier.TEAM, Tier.INSTITUTION, None]
