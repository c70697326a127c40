"""What was recorded is planned again to the byte; what is damaged is told by its place."""

import gzip
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings

from scheduler.core.decisions import Plan
from scheduler.core.model import run_id
from scheduler.core.plan import plan
from scheduler.core.snapshot import DropRun, Put
from scheduler.core.world import World
from scheduler.errors import Refused
from scheduler.replay.again import replay
from scheduler.replay.past import past_jobs
from scheduler.replay.recorder import Recorder, member
from scheduler.replay.recording import read_recording
from tests import build, strategies
from tests.build import HOUR, MINUTE, NOON

POLICY = build.policy(pools=[build.pool(nodes=2)])


def record(recorder, policy, history):
    """Let a history happen, and record it as the hub's loop does."""
    world = World(policy, strategies.start(policy).snapshot)
    for scene, happened in strategies.moments(policy, history):
        if isinstance(happened, Plan):
            decided = plan(world, policy, scene.now)
            recorder.planned(world, decided)
            world.advance(decided)
            recorder.carried_out(decided)
        elif happened is not None:
            world.apply(happened)
            recorder.heard([happened])


def files(folder):
    return sorted(folder.glob("*.gz"))


@given(strategies.policies(), strategies.steps())
@settings(max_examples=30, deadline=None)
def test_a_replay_gives_the_same_plan_to_the_byte(tmp_path_factory, policy, history):
    folder = tmp_path_factory.mktemp("recorded")
    record(Recorder(folder, cycles=2), policy, history)
    again = [one for file in files(folder) for one in replay(read_recording(file))]
    assert [one.difference for one in again] == [None] * len(again)
    assert len(again) == sum(what == "plan" for what, _ in history)


@pytest.fixture
def recorded(tmp_path):
    """Three cycles: two jobs come, and the first ends."""
    world = World(POLICY, build.snapshot(build.nodes(count=2)))
    recorder = Recorder(tmp_path)
    for number in range(3):
        event = Put(build.job(f"j{number}", gpus=8, time_limit=HOUR * (number + 1)))
        world.apply(event)
        recorder.heard([event])
        decided = plan(world, POLICY, NOON + MINUTE * number)
        recorder.planned(world, decided)
        world.advance(decided)
        recorder.carried_out(decided)
    (file,) = files(tmp_path)
    return file


def lines(file):
    return [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]


def rewritten(file, change):
    found = lines(file)
    change(found)
    file.write_bytes(b"".join(member(line) for line in found))
    return read_recording(file)


def test_a_recording_is_its_owners_alone(recorded):
    assert recorded.stat().st_mode & 0o077 == 0


def test_a_cycle_whose_plan_was_not_stored_whole_is_replayed_with_what_was(tmp_path):
    world = World(POLICY, build.snapshot(build.nodes(count=2), build.job("j1"), build.job("j2")))
    recorder = Recorder(tmp_path)
    for number in range(2):
        decided = plan(world, POLICY, NOON + MINUTE * number)
        held = replace(decided, starts=decided.starts[:1])
        recorder.planned(world, decided)
        world.advance(held)
        recorder.carried_out(held)
    again = list(replay(read_recording(files(tmp_path)[0])))
    assert [[start.job for start in one.plan.starts] for one in again] == [["j1", "j2"], ["j2"]]
    assert [one.difference for one in again] == [None, None]


def test_another_decision_is_told_and_the_replay_goes_on(recorded):
    def change(found):
        found[1]["starts"][0]["slots"][0]["gpus"] = [0]
        found[1]["digest"] = "0"

    first, *rest = replay(rewritten(recorded, change))
    assert first.difference.startswith("starts, number 1: recorded {")
    assert "now {" in first.difference
    assert len(rest) == 2


def test_another_verdict_alone_is_told_too(recorded):
    def change(found):
        found[-2]["digest"] = "0"

    *_, last = replay(rewritten(recorded, change))
    assert "verdict" in last.difference


@pytest.mark.parametrize("kept", [1, 20, -1])
def test_a_file_that_is_cut_off_is_told_with_its_line_and_byte(recorded, kept):
    recorded.write_bytes(recorded.read_bytes()[:kept])
    with pytest.raises(Refused, match=r"line \d+ \(at byte \d+\): is (cut off|damaged)"):
        read_recording(recorded)


def test_a_flipped_byte_is_told(recorded):
    data = bytearray(recorded.read_bytes())
    data[len(data) // 2] ^= 0xFF
    recorded.write_bytes(data)
    with pytest.raises(Refused, match=r"line \d+ \(at byte \d+\)"):
        read_recording(recorded)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(b"", "is empty", id="nothing"),
        pytest.param(b"hello", "line 1 (at byte 0): is damaged", id="no gzip"),
        pytest.param(gzip.compress(b"hello"), "is not JSON", id="no JSON"),
        pytest.param(member([1]), "is no JSON object", id="a list"),
        pytest.param(member({"a": 1}), "is not the first line", id="another file"),
        pytest.param(
            member({"commonpool": "recording", "version": 99}), "is of format 99", id="a later one"
        ),
        pytest.param(
            member({"commonpool": "recording", "version": 1}), "holds no policy", id="no policy"
        ),
    ],
)
def test_what_is_no_recording_is_told_in_words(tmp_path, content, said):
    file = tmp_path / "x.gz"
    file.write_bytes(content)
    with pytest.raises(Refused) as refused:
        read_recording(file)
    assert said in refused.value.detail


def test_a_line_that_is_no_cycle_is_told(recorded):
    with pytest.raises(Refused, match=r"line 2 .* is no cycle of a recording: .*digest"):
        rewritten(recorded, lambda found: found[1].pop("digest"))


def unknown_job(found):
    found[1]["starts"][0]["job"] = "nobodys"


def unknown_account(found):
    row = {"account": "nobody", "pool": "hub", "nominal": 1, "lend_max": 1, "borrow_max": 0}
    found[0]["policy"]["quotas"].append(row)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        pytest.param(
            lambda found: found.pop(1), "line 2 .*in cycle 1, which is not there", id="a line gone"
        ),
        pytest.param(
            lambda found: found[2].update(carried=7), "line 3 .*is no cycle", id="no decisions"
        ),
        pytest.param(unknown_job, "cycle 1 of the recording does not go with", id="unknown job"),
        pytest.param(
            unknown_account, "its first line of the recording does not go with", id="an account"
        ),
    ],
)
def test_a_recording_that_was_altered_is_told_by_where_it_breaks_off(recorded, change, told):
    with pytest.raises(Refused, match=told):
        list(replay(rewritten(recorded, change)))


def test_files_are_bounded_in_cycles_and_number(tmp_path):
    world = World(POLICY, build.snapshot(build.nodes(count=2)))
    recorder = Recorder(tmp_path, cycles=2, files=3)
    for number in range(20):
        recorder.planned(world, plan(world, POLICY, NOON + MINUTE * number))
    assert len(files(tmp_path)) == 3
    assert [frame.now for frame in read_recording(files(tmp_path)[-1]).frames] == [
        NOON + 18 * MINUTE,
        NOON + 19 * MINUTE,
    ]


def test_a_file_is_bounded_in_bytes(tmp_path):
    world = World(POLICY, build.snapshot(build.nodes(count=2)))
    recorder = Recorder(tmp_path, max_bytes=1)
    for number in range(3):
        recorder.planned(world, plan(world, POLICY, NOON + MINUTE * number))
    assert len(files(tmp_path)) == 3


def test_a_world_that_was_built_anew_begins_a_file(tmp_path):
    recorder = Recorder(tmp_path)
    for _ in range(2):
        world = World(POLICY, build.snapshot(build.nodes(count=2)))
        recorder.planned(world, plan(world, POLICY, NOON))
    assert len(files(tmp_path)) == 2


def test_where_the_disk_refuses_recording_stops_and_planning_does_not(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    recorder = Recorder(tmp_path / "file")
    world = World(POLICY, build.snapshot(build.nodes(count=2)))
    undisturbed = plan(world, POLICY, NOON)
    for _ in range(2):
        decided = plan(world, POLICY, NOON)
        recorder.planned(world, decided)
        recorder.carried_out(decided)
        assert decided == undisturbed
    assert (tmp_path / "file").read_text() == "not a folder"
    (tmp_path / "file").unlink()  # there would be room now, but half a history is none
    recorder.planned(world, plan(world, POLICY, NOON))
    assert not (tmp_path / "file").exists()


def test_a_recording_is_a_history_that_what_if_can_play(tmp_path):
    world = World(POLICY, build.snapshot(build.nodes(count=2)))
    recorder = Recorder(tmp_path, cycles=2)
    happened = [
        [Put(build.job("j1", gpus=8)), Put(build.job("j2", gpus=8))],
        [Put(build.run("j1", "national", {"hub-1": range(8)}))],
        [Put(build.run("j2", "national", {"hub-2": range(8)}))],
        [DropRun(run_id("j1", 1))],
        [DropRun(run_id("j2", 1)), Put(build.job("j2", gpus=8, attempt=2))],
    ]
    for number, events in enumerate(happened):
        for event in events:
            world.apply(event)
        recorder.heard(events)
        decided = plan(world, POLICY, NOON + 10 * MINUTE * number)
        recorder.planned(world, decided)
        world.advance(decided)
        recorder.carried_out(decided)
    past = past_jobs(read_recording(file) for file in files(tmp_path))
    assert [(one.job.id, one.job.attempt, one.ran) for one in past] == [("j1", 1, 30 * MINUTE)]
