"""The story is consistent, its claims can fail, and refusals are read from Ray's own words."""

import shlex
import sys
from datetime import UTC, datetime

import numpy as np
import pytest

from scheduler.core.lifecycle import JobState
from scheduler.core.model import QuotaClass, RunState, Tier
from scheduler.embedded import demo
from scheduler.embedded.demo_story import (
    EXPECTED,
    OWN,
    STORY,
    Door,
    Part,
    Scene,
    Seen,
    everything_ended,
    ran,
    refused,
    succeeded,
    waited,
    went_through,
)
from scheduler.embedded.programs import deduplicate, train_digits
from scheduler.embedded.trouble import Trouble
from scheduler.wire.jobs import Explanation, JobEvent, JobRun, JobView, LogPage

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
PARTS = [part for scene in STORY for part in scene.parts]


def job(state=JobState.SUCCEEDED, *runs):
    return JobView(
        id="jabc",
        submission_id="demo-x",
        user="dana",
        account="arl-vision",
        state=state,
        reason="",
        entrypoint="x",
        nodes=1,
        gpus_per_node=8,
        gpu_models=(),
        tier=(Tier.TEAM, Tier.NATIONAL),
        label="public",
        priority="standard",
        preemptible=True,
        time_limit_seconds=60,
        submitted_at=NOON,
        runs=runs,
    )


def run(pool="arl-team", terms=QuotaClass.IN_QUOTA, agreement=None):
    return JobRun(
        run="cp-jabc-1",
        attempt=1,
        state=RunState.SUCCEEDED,
        site="arl-team",
        pool=pool,
        tier=Tier.TEAM,
        nodes=("arl-team-1",),
        gpus=8,
        quota_class=terms,
        agreement=agreement,
        leased_at=NOON,
        why="",
    )


def told(*events):
    history = tuple(JobEvent(at=NOON, event=event, sentence=event) for event in events)
    return Explanation(job="jabc", state=JobState.RUNNING, summary="", history=history)


def test_a_dozen_jobs_of_three_people_half_of_them_by_rays_own_command():
    assert len(PARTS) >= 12
    assert {part.person for part in PARTS} == {"dana", "alex", "iris"}
    assert sum(part.door is Door.RAY for part in PARTS) * 2 >= len(PARTS)
    assert len({part.key for part in PARTS}) == len(PARTS)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.key)
def test_each_job_runs_a_program_that_is_there(part):
    python, program, *_ = shlex.split(part.command)
    assert python == "python"
    assert (demo.PROGRAMS / program).exists()


def test_nothing_that_is_expected_holds_before_it_was_seen():
    cast = {part.key: Seen(part) for part in PARTS}
    assert [words for words, claim in EXPECTED if claim(cast)] == []


def test_where_a_job_ran_is_its_first_run_with_pool_terms_and_agreement():
    cast = {"own-team": Seen(OWN, job=job(JobState.SUCCEEDED, run(), run("national-hub")))}
    assert ran("own-team", "arl-team", QuotaClass.IN_QUOTA)(cast)
    assert not ran("own-team", "national-hub", QuotaClass.IN_QUOTA)(cast)
    assert not ran("own-team", "arl-team", QuotaClass.BORROWED)(cast)
    assert not ran("own-team", "arl-team", QuotaClass.IN_QUOTA, "some-agreement")(cast)


def test_a_history_is_gone_through_in_its_order():
    cast = {"own-team": Seen(OWN, explanation=told("leased", "recalled", "requeued", "leased"))}
    assert went_through("own-team", "leased", "recalled", "leased")(cast)
    assert not went_through("own-team", "recalled", "leased", "requeued")(cast)


def test_states_waits_and_refusals_are_claims_too():
    seen = Seen(OWN, job=job(JobState.FAILED))
    cast = {"own-team": seen}
    assert not succeeded("own-team")(cast)
    assert not waited("own-team")(cast)
    assert not refused("own-team", "B200")(cast)
    seen.refusal, seen.waited_for = "no pool has B200 GPUs", "waits"
    assert waited("own-team")(cast)
    assert refused("own-team", "B200")(cast)


def test_a_refusal_is_read_from_the_line_that_rays_client_prints():
    line = "RuntimeError: Request failed with status code 422: commonpool: no pool has B200 GPUs."
    problem = demo._refusal(line)  # noqa: SLF001
    assert problem.status == 422
    assert problem.sentence() == "commonpool: no pool has B200 GPUs."


class Silent:
    def __getattr__(self, name):
        return lambda *_: None


class StepClock:
    """Moves on by a second at each look."""

    def __init__(self):
        self._at = 0.0

    def monotonic(self):
        self._at += 1
        return self._at

    def now(self):
        return NOON


@pytest.fixture
def hub(monkeypatch):
    """Let every job be in the state that the test says, without a hub."""

    class FakeHub:
        state = JobState.RUNNING
        cancelled = 0

        def __init__(self, *_):
            pass

        def job(self, _):
            return job(FakeHub.state, run())

        def explanation(self, _):
            return told("submitted")

        def log(self, _, offset):
            return LogPage(text="", next_offset=offset, complete=FakeHub.state.is_terminal)

        def cancel(self, _):
            FakeHub.cancelled += 1

    monkeypatch.setattr(demo, "Hub", FakeHub)
    monkeypatch.setattr(demo, "_by_api", lambda *_: None)
    monkeypatch.setattr(demo, "pause", lambda _: None)
    return FakeHub


PART = Part("one", "dana", "something", "python evaluate.py", {"gpus_per_node": "1"}, Door.API)
STAGE = demo.Stage("http://hub", {"dana": "x"}, "run", StepClock())


def test_a_story_that_does_not_go_on_ends_in_time_and_cancels_what_is_left(hub):
    story = (Scene("never", (PART,), lambda _: False),)
    with pytest.raises(Trouble, match=r"not seen in time: never Still open: one"):
        demo.play(STAGE, story, {}, 30, Silent())
    assert hub.cancelled == 1


def test_a_story_whose_jobs_have_all_ended_does_not_wait_for_what_cannot_come(hub):
    hub.state = JobState.FAILED
    story = (Scene("never", (PART,), succeeded("one")),)
    with pytest.raises(Trouble, match="every job has ended"):
        demo.play(STAGE, story, {}, 10_000, Silent())
    assert hub.cancelled == 0


def test_a_story_that_goes_well_ends_with_all_that_was_seen(hub):
    hub.state = JobState.SUCCEEDED
    cast = {}
    demo.play(STAGE, (Scene("well", (PART,), everything_ended),), cast, 10_000, Silent())
    assert cast["one"].job == job(JobState.SUCCEEDED, run())


def test_the_gradient_of_the_training_program_is_the_slope_of_its_loss():
    draw = np.random.default_rng(1)
    x, y = draw.random((20, 64)), draw.integers(0, 10, 20)
    weights = train_digits.fresh(8)["weights"]

    def loss():
        return -np.log(train_digits.forward(weights, x)[1][np.arange(20), y]).mean()

    step = 1e-6
    for weight, slope in zip(weights, train_digits.gradient(weights, x, y), strict=True):
        place = tuple(draw.integers(0, size) for size in weight.shape)
        before = loss()
        weight[place] += step
        assert (loss() - before) / step == pytest.approx(slope[place], rel=1e-3, abs=1e-5)


def test_a_state_that_was_saved_reads_back(tmp_path):
    state = train_digits.fresh(4)
    train_digits.save(state, tmp_path / "digits.pickle")
    (found,) = tmp_path.iterdir()
    again = train_digits.pickle.loads(found.read_bytes())
    assert again["epoch"] == 0
    assert np.array_equal(again["weights"][0], state["weights"][0])


def test_near_duplicates_share_a_band_and_strangers_do_not():
    signed = np.array([[1] * 64, [1] * 4 + [2] * 60, [3] * 64])
    assert deduplicate.alike(signed) == {(0, 1)}


def test_the_programs_need_nothing_of_commonpools():
    foreign = {"scheduler", "agents", "portal"}
    for file in demo.PROGRAMS.glob("*.py"):
        words = file.read_text().split()
        assert not any(f"import {name}" in " ".join(words) for name in foreign), file
    assert sys.modules["scheduler.embedded.programs.train_digits"].commonpool is None
