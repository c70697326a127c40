"""What would start a job sooner is told also behind ten thousand others, at a bounded cost."""

import time
from dataclasses import replace
from random import Random

from scheduler.api.explanations import find_out
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
