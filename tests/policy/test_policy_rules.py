"""The knobs of the rules: one schema, one set of defaults, also where there is nothing else."""

import json
from dataclasses import fields
from datetime import timedelta
from importlib.resources import files

import pytest

from scheduler import policy_file, policy_rows
from scheduler.core.policy import Backfill, Order, Rules

SCHEMA = json.loads(files("scheduler").joinpath("policy.schema.json").read_text())
KNOBS = SCHEMA["properties"]["rules"]["properties"]


def test_the_schema_knows_every_knob_and_its_default():
    """What is left out of a policy is `Rules` itself, and an editor shows the same."""
    assert set(KNOBS) == {knob.name for knob in fields(Rules)}
    for name, knob in KNOBS.items():
        default = knob["default"]
        meant = getattr(Rules(), name)
        read = policy_rows.duration(default) if isinstance(meant, timedelta) else default
        assert read == meant, name


def described(at: object) -> list[object]:
    """All parts of a schema that stand for a value a person writes."""
    parts: list[object] = []
    if isinstance(at, dict):
        for part in at.get("properties", {}).values():
            parts += [part, *described(part)]
        parts += described(at.get("items"))
    return parts


def test_every_new_field_says_what_it_means():
    for section in ("rules", "budgets", "reservations", "maintenance", "labels"):
        for part in described(SCHEMA["properties"][section]):
            named = part.get("$ref", "").rpartition("/")[2]
            assert part.get("description") or SCHEMA["$defs"][named].get("description"), part


RULES = """
version: 1
rules:
  order: fifo
  backfill: easy
  short_first: 4
  hold_after: 2h
  hold_depth: 8
  hold_share: 10
  teardown: 0s
  share_preemption: false
  preempt_delay: 30m
  preempt_per_hour: 5
  min_runtime: 1h
  immune_after: 3
  immune_for: 1d
"""


def test_rules_alone_are_a_document_too():
    hour = timedelta(hours=1)
    assert policy_file.read_rules(RULES + "  short_first_max: 2d\n") == Rules(
        order=Order.FIFO,
        backfill=Backfill.EASY,
        short_first=4,
        short_first_max=48 * hour,
        hold_after=2 * hour,
        hold_depth=8,
        hold_share=10,
        teardown=timedelta(0),
        share_preemption=False,
        preempt_delay=hour / 2,
        preempt_per_hour=5,
        min_runtime=hour,
        immune_after=3,
        immune_for=24 * hour,
    )
    assert policy_file.read_rules("version: 1\nrules: {}") == Rules()


def test_rules_may_come_with_tiers_and_nothing_else():
    tiers = "tiers: {national: {default_time_limit: 1h, max_time_limit: 2d, notice: 1m}}"
    read = policy_file.read_rules_document(RULES + tiers)
    assert isinstance(read, policy_file.RulesDocument)
    assert [tier for tier, _ in read.tiers] == ["national"]
    assert policy_file.read_rules_document(RULES).tiers == ()


@pytest.mark.parametrize(
    ("text", "line", "field", "reason"),
    [
        pytest.param("version: 1", 1, "rules", "is missing", id="no rules"),
        pytest.param(RULES + "users: []", 17, "users", "known are rules, tiers", id="people"),
        pytest.param(
            RULES.replace("fifo", "lifo"), 4, "rules.order", "fair, balanced, fifo", id="an order"
        ),
        pytest.param(
            RULES.replace("hold_share: 10", "hold_share: 101"),
            9,
            "rules.hold_share",
            "0 to 100",
            id="more than a whole pool",
        ),
        pytest.param(
            RULES.replace("immune_for: 1d", "immune_for: 9999d"),
            16,
            "rules.immune_for",
            "longer than",
            id="immunity of decades",
        ),
        pytest.param(
            RULES.replace("share_preemption: false", "share_preemption: 0"),
            11,
            "rules.share_preemption",
            "true or false",
            id="a number for yes or no",
        ),
        pytest.param(
            "version: 1\nrules: {}\ntiers: {team: {default_time_limit: 2h, max_time_limit: 1h, "
            "notice: 1m}}",
            3,
            "tiers.team.default_time_limit",
            "more than max_time_limit",
            id="a default limit beyond the longest",
        ),
        pytest.param("[", 1, "(the file)", "not YAML", id="no YAML"),
    ],
)
def test_problems_of_rules_are_told_in_the_same_words(text, line, field, reason):
    found = policy_file.read_rules(text)
    assert isinstance(found, tuple)
    assert any((p.line, p.field) == (line, field) and reason in p.reason for p in found), found
