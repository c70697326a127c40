"""Admission: what can never start is refused by field, value, limit and next step."""

from dataclasses import replace
from datetime import timedelta

import pytest

from scheduler.core.admission import Admitted, Ask, Refusal, check
from scheduler.core.model import PriorityClass, Sector, Tier
from scheduler.core.policy import Rules
from tests import build
from tests.build import DAY, HOUR, MINUTE

POLICY = build.policy(
    [
        build.account("national", None),
        build.account("lab", members=["ann", "bob"]),
        build.account("other", members=["bob"]),
    ],
    [
        build.pool("hub", "national", 4, labels=frozenset({"public", "secret"})),
        build.pool("den", "lab", 2, gpu_model="A100", gpus_per_node=4, tier=Tier.TEAM),
    ],
    [build.quota("lab", 16)],
    users=(
        build.user("ann", max_gpus=16, max_pending=3),
        build.user("bob", labels=frozenset({"public", "secret", "cosmic"})),
        build.user("eve"),
    ),
    rules=Rules(max_gpus_per_job=24, max_pending_per_user=5),
)


def refused(pending: int = 0, **fields) -> Refusal:
    answer = check(Ask(**{"user": "ann", **fields}), POLICY, pending)
    assert isinstance(answer, Refusal), answer
    return answer


def test_a_plain_request_is_admitted_with_every_default():
    answer = check(Ask("ann"), POLICY, 0)
    assert answer == Admitted(
        POLICY.accounts[1], build.shape(), PriorityClass.STANDARD, 10 * MINUTE
    )


def test_the_default_limit_is_that_of_the_lowest_tier_that_can_hold_the_job():
    tiers = tuple(
        (tier, replace(rules, default_time_limit=HOUR) if tier is Tier.NATIONAL else rules)
        for tier, rules in POLICY.tiers
    )
    policy = replace(POLICY, tiers=tiers)
    small = check(Ask("ann", gpus_per_node=4), policy, 0)
    large = check(Ask("ann", gpus_per_node=8), policy, 0)
    assert isinstance(small, Admitted)
    assert isinstance(large, Admitted)
    assert (small.time_limit, large.time_limit) == (10 * MINUTE, HOUR)


def test_one_tier_means_only_that_one():
    answer = check(Ask("ann", tiers=(Tier.TEAM,)), POLICY, 0)
    assert isinstance(answer, Admitted)
    assert (answer.shape.tier_min, answer.shape.tier_max) == (Tier.TEAM, Tier.TEAM)


def test_a_background_job_is_marked_in_its_shape():
    answer = check(Ask("ann", priority=PriorityClass.BACKGROUND), POLICY, 0)
    assert isinstance(answer, Admitted)
    assert answer.shape.background


REFUSALS = [
    pytest.param({"user": "mallory"}, "user", "not named in the policy", id="an unknown person"),
    pytest.param({"user": "eve"}, "account", "belongs to 0 accounts", id="a person of no account"),
    pytest.param({"user": "bob"}, "account", "must say which", id="a person of two accounts"),
    pytest.param({"account": "other"}, "account", "not a member", id="someone else's account"),
    pytest.param({"account": "nope"}, "account", "no account is named", id="an unknown account"),
    pytest.param({"account": "national"}, "account", "accounts below it", id="an inner account"),
    pytest.param(
        {"label": "secret"}, "label", "may not handle", id="a label without clearance (R14)"
    ),
    pytest.param(
        {"user": "bob", "account": "lab", "label": "cosmic"},
        "label",
        "no pool is accredited",
        id="a label that no pool has (R14)",
    ),
    pytest.param(
        {"gpu_models": frozenset({"B200"})},
        "gpu_models",
        "no pool has B200",
        id="a model that no pool has (R15)",
    ),
    pytest.param(
        {"gpu_models": frozenset({"A100"}), "tiers": (Tier.NATIONAL,)},
        "gpu_models",
        "together",
        id="a model that its tiers lack",
    ),
    pytest.param(
        {"tiers": (Tier.NATIONAL, Tier.TEAM)},
        "tier",
        "above the highest",
        id="tiers the wrong way round",
    ),
    pytest.param(
        {"tiers": (Tier.INSTITUTION,)}, "tier", "no pool is between", id="a tier without pools"
    ),
    pytest.param(
        {"gpus_per_node": 9}, "gpus_per_node", "no allowed pool", id="a node larger than any"
    ),
    pytest.param({"nodes": 5}, "nodes", "or not at all", id="a gang larger than any pool"),
    pytest.param(
        {"nodes": 4, "gpus_per_node": 8},
        "nodes",
        "no job may hold 32",
        id="more than a job may have",
    ),
    pytest.param(
        {"nodes": 3, "gpus_per_node": 8},
        "nodes",
        "may not hold 24",
        id="more than the person may have",
    ),
    pytest.param(
        {"time_limit": 31 * DAY},
        "time_limit",
        "longer than any tier allows",
        id="a limit beyond every tier",
    ),
    pytest.param({"time_limit": timedelta(0)}, "time_limit", "", id="no time at all"),
    pytest.param(
        {"priority": PriorityClass.BACKGROUND, "preemptible": False},
        "preemptible",
        "background",
        id="background work that refuses recall",
    ),
    pytest.param({"pending": 3}, "user", "3 jobs waiting", id="too many waiting already"),
]


@pytest.mark.parametrize(("fields", "field", "detail"), REFUSALS)
def test_what_can_never_start_is_refused_by_name(fields, field, detail):
    """R1's limits, R6, R13, R14, R15: field, limit and next step are always there."""
    refusal = refused(**fields)
    assert refusal.field == field
    assert detail in refusal.detail
    assert refusal.limit
    assert refusal.next_step


def test_a_person_without_a_limit_of_their_own_has_the_rules():
    answer = check(Ask("bob", "lab"), POLICY, 5)
    assert isinstance(answer, Refusal)
    assert answer.limit == "waiting jobs of bob: 5"
    assert isinstance(check(Ask("bob", "lab"), POLICY, 4), Admitted)


NEWER = build.policy(
    [
        build.account("national", None, sector="dod"),
        build.account("lab", members=["ann"]),
        build.account("firm", sector="industry", members=["ivo"]),
    ],
    [
        build.pool("hub", nodes=4, labels=frozenset({"secret"}), software=frozenset({"mpi"})),
        build.pool("old", nodes=9, gpu_model="V100", gpus_per_node=4),
        build.pool("far", nodes=8, tier=Tier.FRONTIER),
    ],
    users=(build.user("ann", labels=frozenset({"secret"}), max_gpus=16), build.user("ivo")),
    labels=(build.label("public", 0), build.label("secret", 1)),
    reservations=(
        build.reservation("demo", "lab", 2),
        build.reservation("campaign", "national", 1, pool="far", ends_at=build.NOON + 20 * DAY),
        build.reservation("cooling", None),
        build.reservation("theirs", "firm"),
    ),
    rules=Rules(max_gpus_per_job=24),
)


def asked(now=None, **fields):
    return check(Ask(**{"user": "ann", **fields}), NEWER, 0, now)


def test_a_cleared_person_handles_what_their_label_dominates():
    """R14: secret dominates public, for people and for pools."""
    assert isinstance(asked(label="public", gpus_per_node=8), Admitted)
    assert isinstance(check(Ask("ivo", label="secret"), NEWER, 0), Refusal)


def test_h100_equivalents_are_kept_as_asked_with_what_h100s_would_do():
    """R15."""
    answer = asked(h100e=9, memory_gib=80, software=frozenset({"mpi"}), name="train")
    assert isinstance(answer, Admitted)
    assert answer.shape == build.shape(2, 5, h100e=9, memory_gib=80, software=frozenset({"mpi"}))
    assert answer.name == "train"


def test_a_reservation_decides_the_tier_and_bounds_the_default_limit():
    """R7: its nodes may be of a tier that jobs do not reach otherwise."""
    answer = asked(reservation="campaign")
    assert isinstance(answer, Admitted)
    assert (answer.shape.tier_min, answer.shape.tier_max) == (Tier.FRONTIER, Tier.FRONTIER)
    assert answer.time_limit == HOUR
    assert isinstance(asked(reservation="campaign", time_limit=20 * DAY), Admitted)


NEWER_REFUSALS = [
    pytest.param({"memory_gib": 81}, "memory_gib", "no pool has GPUs with 81", id="memory (R15)"),
    pytest.param(
        {"memory_gib": 33, "gpu_models": frozenset({"V100"})},
        "memory_gib",
        "no pool has GPUs with 33",
        id="memory of the model asked for",
    ),
    pytest.param({"memory_gib": -1}, "memory_gib", "from zero", id="less than no memory"),
    pytest.param({"h100e": -1}, "h100e", "from zero", id="less than no GPU"),
    pytest.param({"h100e": 8, "nodes": 2}, "h100e", "or for H100", id="both ways of asking"),
    pytest.param({"h100e": 99}, "h100e", "so many H100-equiv", id="more H100e than a pool"),
    pytest.param({"h100e": 17}, "h100e", "may not hold 18", id="more H100e than the person may"),
    pytest.param(
        {"h100e": 4, "gpu_models": frozenset({"V100"})},
        "h100e",
        "no job may hold 32",
        id="H100e that are too many GPUs of the model",
    ),
    pytest.param(
        {"software": frozenset({"mpi", "mpy"})}, "software", "no pool offers mpy", id="software"
    ),
    pytest.param(
        {"software": frozenset({"mpi"}), "gpu_models": frozenset({"V100"})},
        "gpu_models",
        "together",
        id="software that the model's pools lack",
    ),
    pytest.param({"reservation": "no"}, "reservation", "is named", id="an unknown reservation"),
    pytest.param({"reservation": "cooling"}, "reservation", "maintenance", id="maintenance"),
    pytest.param({"reservation": "theirs"}, "reservation", "jobs of 'firm'", id="another's"),
    pytest.param({"reservation": "demo", "nodes": 3}, "nodes", "or not at all", id="too large"),
    pytest.param(
        {"reservation": "demo", "time_limit": 2 * HOUR},
        "time_limit",
        "longer than any reservation",
        id="longer than the reservation",
    ),
    pytest.param(
        {"reservation": "demo", "now": build.NOON + HOUR},
        "reservation",
        "'demo' ended at",
        id="a reservation that is over",
    ),
    pytest.param({"name": "x" * 201}, "name", "201 characters", id="a name that is too long"),
    pytest.param({"name": "a\nb"}, "name", "cannot be shown", id="a name of two lines"),
]


@pytest.mark.parametrize(("fields", "field", "detail"), NEWER_REFUSALS)
def test_what_never_fits_is_refused_by_its_own_field(fields, field, detail):
    """R7, R13, R15: field, limit and next step are always there."""
    refusal = asked(**fields)
    assert isinstance(refusal, Refusal), refusal
    assert refusal.field == field
    assert detail in refusal.detail
    assert refusal.limit
    assert refusal.next_step


def test_an_account_whose_sector_no_pool_takes_is_told():
    """R13."""
    policy = replace(
        NEWER,
        pools=tuple(replace(p, sectors=frozenset({Sector.DOD})) for p in NEWER.pools),
    )
    refusal = check(Ask("ivo"), policy, 0)
    assert isinstance(refusal, Refusal)
    assert (refusal.field, refusal.limit) == ("account", "sectors of all pools: dod")
