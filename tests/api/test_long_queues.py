"""What would start a job sooner is told also behind ten thousand others, at a bounded cost."""

import time
from dataclasses import replace
from random import Random

from scheduler.api.explanations import find_out
from scheduler.core.admission import Ask
from scheduler.core.dry_run import Asked, dry_run
from scheduler.core.plan import plan
from scheduler.core.predict import Predictor
from scheduler.core.world import World
from tests import build
from tests.bench.bench_cycle import TEAMS, setting
from tests.bench.fleet import machines, waiting
from tests.build import NOON

CPU_SECONDS = 30
"""Ten times what it takes on one core of 2026, for machines that are busy."""


def test_a_job_behind_ten_thousand_others_is_told_what_would_start_it_sooner():
    random, policy = Random(7), setting(1000)
    earlier = waiting(TEAMS, 20_000, 3_000, random)
    world = World(policy, build.snapshot(machines(policy), *earlier))
    world.advance(plan(world, policy, NOON))
    jobs = {job.id: job for job in waiting(TEAMS, 0, 10_000, random)}
    snapshot = replace(world.snapshot(), jobs=jobs)
    began = time.process_time()
    found = find_out(policy, snapshot, "j5000", NOON, Predictor())
    assert time.process_time() - began < CPU_SECONDS
    assert "Planned with 1,500 of 10,000 waiting jobs" in found.note
    assert all(one.starts_at >= NOON for one in found.sooner)


def test_a_dry_run_behind_ten_thousand_others_says_what_it_left_out_at_a_bounded_cost():
    random, bare = Random(7), setting(1000)
    above = {account.parent for account in bare.accounts}
    team = next(account.name for account in bare.accounts if account.name not in above)
    accounts = tuple(
        replace(account, members=frozenset({"dana"})) if account.name == team else account
        for account in bare.accounts
    )
    policy = replace(bare, accounts=accounts, users=(build.user("dana"),))
    world = World(policy, build.snapshot(machines(policy), *waiting(TEAMS, 20_000, 3_000, random)))
    world.advance(plan(world, policy, NOON))
    jobs = {job.id: job for job in waiting(TEAMS, 0, 10_000, random)}
    snapshot = replace(world.snapshot(), jobs=jobs)
    asked = Asked(Ask(user="dana", account=team, nodes=4, gpus_per_node=8))
    began = time.process_time()
    found = dry_run(policy, snapshot, asked, NOON, Predictor())
    assert time.process_time() - began < CPU_SECONDS
    assert "waiting jobs, the first of each account's queue" in found.note
    assert found.candidates[0].starts_now or found.candidates[0].verdicts
