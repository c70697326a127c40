"""The compiled planner: never of other sources than those at hand, and the same to the byte."""

import json
import random
import shutil
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings

from scheduler import compiled
from scheduler.core.plan import plan
from scheduler.core.snapshot import DropRun, Put
from scheduler.core.world import World
from scheduler.replay.recorder import Recorder
from tests import build, strategies
from tests.bench.fleet import Size, fleet, machines, waiting
from tests.build import MINUTE, NOON
from tests.replay.test_replay import record

ROOT = Path(__file__).parents[2]
HIDDEN = "from pathlib import Path; from scheduler import compiled; compiled.BUILDS = Path('no');"
RUN = """
import atexit, sys
from scheduler import compiled, main
atexit.register(lambda: sys.stderr.write(f"planned by {compiled.planner()}\\n"))
main.run()
"""
TOWN = Size(3, 4, 1, 1, 40, 30, 1_500)


def test_a_build_is_found_by_these_very_sources_alone(tmp_path):
    core = tmp_path / "core"
    shutil.copytree(compiled.CORE, core)
    known = compiled.build_of()
    assert compiled.build_of(core) == known
    # In a module that is not compiled itself too: what was compiled knows what is in it.
    with (core / "model.py").open("a") as file:
        file.write("\n")
    assert compiled.build_of(core) != known


def test_without_a_build_of_these_sources_nothing_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(compiled, "BUILDS", tmp_path)
    before = list(sys.path)
    assert not compiled.prefer()
    assert compiled.is_outdated()
    assert sys.path == before
    monkeypatch.setattr(compiled, "BUILDS", tmp_path / "absent")
    assert not compiled.prefer()
    assert not compiled.is_outdated()


@pytest.mark.parametrize("name", compiled.MODULES)
def test_nothing_is_compiled_that_would_then_mean_something_else(name):
    text = (compiled.CORE / f"{name}.py").read_text(encoding="utf-8")
    assert "cached_property" not in text  # worked out each time


@pytest.fixture(scope="module")
def again():
    """Plan recordings again in a process of its own, compiled; build the planner if need be."""
    subprocess.run([sys.executable, "infra/planner/build.py"], cwd=ROOT, check=True)

    def replayed(folder):
        command = [sys.executable, "-m", "scheduler.compiled", "-m", "tests.replay.again", folder]
        done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        return json.loads(done.stdout)

    return replayed


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_it_plans_random_histories_to_the_byte(again, tmp_path):
    numbers = count()

    @given(strategies.policies(), strategies.steps(6))
    @settings(max_examples=300, deadline=None, database=None)
    def histories(policy, history):
        record(Recorder(tmp_path / str(next(numbers))), policy, history)

    histories()
    found = again(tmp_path)
    assert found["planner"] == "compiled"
    assert found["cycles"] > 300
    assert found["differences"] == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(3))
def test_it_plans_a_town_that_works_to_the_byte(again, tmp_path, seed):
    rng, policy = random.Random(seed), fleet(TOWN)
    world = World(policy, build.snapshot(machines(policy), waiting(TOWN, 0, TOWN.jobs, rng)))
    recorder = Recorder(tmp_path)
    for number in range(12):
        decided = plan(world, policy, NOON + 10 * MINUTE * number)
        recorder.planned(world, decided)
        world.advance(decided)
        recorder.carried_out(decided)
        ended = rng.sample(sorted(world.runs), len(world.runs) // 8)
        new = waiting(TOWN, TOWN.jobs + 50 * number, 50, rng)
        events = [*map(DropRun, ended), *map(Put, new)]
        for event in events:
            world.apply(event)
        recorder.heard(events)
    assert again(tmp_path) == {"planner": "compiled", "cycles": 12, "differences": []}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_trace_ends_alike(again, tmp_path):
    del again
    rows = []
    for name, first in ("python", HIDDEN), ("compiled", ""):
        code = f"{first}{RUN}"
        jobs = tmp_path / f"{name}.csv"
        words = ["simulate", "docs/week.csv", "--nodes", "2", "--gpus-per-node", "8"]
        command = [sys.executable, "-c", code, *words, "--jobs", str(jobs)]
        done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        assert done.stderr.endswith(f"planned by {name}\n")
        rows.append(jobs.read_text())
    assert rows[0] == rows[1]
    assert rows[0].count("\n") > 1
