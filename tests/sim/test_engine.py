"""What the engine does with the planner's word, on traces that can be checked by hand."""

from datetime import timedelta
from types import SimpleNamespace

import pytest

from scheduler.sim.report import measure
from scheduler.sim.rulebook import read_rulebook, rules_of
from tests.sim.replay import HALVES, costs, lived, prepared, replay


def test_a_job_that_finds_no_room_starts_when_the_one_before_it_ends(tmp_path):
    rows = [(0, 100, 8, "a"), (10, 50, 8, "a")]
    history = replay(tmp_path, rows, cluster=(1, 8))
    assert lived(history) == [("j1", 1, 0, 100, "completed"), ("j2", 1, 100, 150, "completed")]
    assert [each.wait.total_seconds() for each in history.ended] == [0, 90]


def test_what_happens_at_one_instant_is_planned_for_at_once(tmp_path):
    history = replay(tmp_path, [(0, 50, 1, "a"), (0, 50, 1, "b"), (50, 7, 16, "a")])
    assert history.tally.cycles == 3  # at 0, 50 and 57
    assert history.tally.starts == 3
    assert lived(history)[-1] == ("j3", 1, 50, 57, "completed")


def test_a_job_is_ended_at_a_time_limit_below_its_duration_and_keeps_what_it_did(tmp_path):
    history = replay(tmp_path, [(5, 100, 16, "a"), (6, 10, 16, "a")], limits="factor:0.5")
    assert lived(history) == [("j1", 1, 5, 55, "time_limit"), ("j2", 1, 55, 60, "time_limit")]
    assert [each.wait.total_seconds() for each in history.ended] == [0, 49]
    assert measure(history).at_time_limit == 2


BORROWED = [(0, 1000, 8, "b"), (0, 1000, 8, "b"), (100, 50, 8, "a")]
"""Tenant b has both halves, one of them borrowed, when tenant a wants its own back."""


def test_an_owners_recall_gives_notice_holds_the_gpus_and_requeues_the_victim(tmp_path):
    history = replay(tmp_path, BORROWED, HALVES)
    assert lived(history) == [
        ("j2", 1, 0, 160, "preempted"),  # 60 s of notice, in which it goes on
        ("j3", 1, 160, 210, "completed"),
        ("j1", 1, 0, 1000, "completed"),
        ("j2", 2, 210, 1210, "completed"),  # all of it again
    ]
    report = measure(history)
    assert report.preemptions == 1
    assert report.lost_gpu_hours == pytest.approx(8 * 160 / 3600)
    assert [each.wait.total_seconds() for each in history.ended] == [60, 0, 210]
    # Measured against the notice, and published (R10).
    (recall,) = history.recalls
    minute = timedelta(seconds=60)
    assert (recall.lender, recall.notice, recall.took) == ("a", minute, minute)
    assert (report.recalls, report.recall_s.median, report.recall_s.p99) == (1, 60, 60)


def test_a_checkpoint_keeps_work_and_a_restart_costs(tmp_path):
    history = replay(tmp_path, BORROWED, HALVES, costs=costs(restart=30, every=50))
    # 150 of 160 s are kept; 30 s of restart and the 850 s that are left follow.
    assert lived(history)[-1] == ("j2", 2, 210, 210 + 30 + 850, "completed")
    assert history.lost_gpu_seconds == 8 * (10 + 30)


def test_a_victim_that_is_done_within_its_notice_is_completed(tmp_path):
    history = replay(tmp_path, [(0, 1000, 8, "b"), (0, 120, 8, "b"), (100, 50, 8, "a")], HALVES)
    assert lived(history) == [
        ("j2", 1, 0, 120, "completed"),
        ("j3", 1, 120, 170, "completed"),
        ("j1", 1, 0, 1000, "completed"),
    ]
    assert history.lost_gpu_seconds == 0
    report = measure(history)
    assert (report.preemptions, history.tally.preempts, report.recalls) == (0, 1, 1)


def test_usage_is_settled_when_a_lease_ends_from_the_start_of_work(tmp_path):
    engine, setting = prepared(tmp_path, BORROWED, HALVES)
    engine.run(setting.works, setting.begins_at)
    # H100 count once each; ten minutes fade away by very little in two weeks.
    assert engine.world.usage["a"].h100e_seconds == pytest.approx(8 * 50, rel=0.01)
    assert engine.world.usage["b"].h100e_seconds == pytest.approx(8 * (160 + 2 * 1000), rel=0.01)


class Fortune:
    """Foresees 42 s for everyone of account b, and remembers what it was told."""

    def __init__(self):
        self.seen = []

    def predict(self, _user, account, *_):
        return SimpleNamespace(mean=42.0) if account == "b" else None

    def observe(self, *told):
        _, account, gpus, _, seconds = told
        self.seen.append((account, gpus, seconds))


def test_a_predictor_is_asked_at_submission_and_told_at_the_end(tmp_path):
    fortune, foreseen = Fortune(), set()

    def look(_):
        foreseen.update((run.id, run.predicted) for run in engine.world.runs.values())

    engine, setting = prepared(tmp_path, BORROWED, HALVES, predictor=fortune, told=look)
    engine.run(setting.works, setting.begins_at)
    assert fortune.seen == [("a", 8, 50), ("b", 8, 1000), ("b", 8, 1000)]
    soon = timedelta(seconds=42)
    assert foreseen == {("cp-j1-1", soon), ("cp-j2-1", soon), ("cp-j2-2", soon), ("cp-j3-1", None)}


def test_a_job_that_no_rule_lets_run_is_unfinished_and_the_simulation_ends(tmp_path):
    tier = "{default_time_limit: 1h, max_time_limit: 1h, notice: 1m}"
    book = rules_of(f"version: 1\nrules: {{}}\ntiers:\n  institution: {tier}\n")
    history = replay(tmp_path, [(0, 4000, 1, "a"), (1, 10, 1, "a")], book)
    assert [work.job.id for work in history.unfinished] == ["j1"]
    assert measure(history).unfinished == 1
    assert measure(history).jobs == 2


def test_the_same_trace_gives_the_same_history_twice(tmp_path):
    rows = [(n * 7 % 50 + n, 10 + n * 13 % 90, 1 + n * 5 % 16, "ab"[n % 2]) for n in range(40)]
    rows.sort()
    assert replay(tmp_path, rows, HALVES) == replay(tmp_path, rows, HALVES)


def test_shipped_rules_are_what_their_names_say():
    ours = read_rulebook("default").rules
    assert (ours.order, ours.backfill, ours.share_preemption) == ("balanced", "holds", False)
    easy, fifo = read_rulebook("easy").rules, read_rulebook("fifo").rules
    assert (easy.order, easy.backfill, easy.share_preemption) == ("fifo", "easy", False)
    assert (fifo.order, fifo.backfill, fifo.share_preemption) == ("fifo", "strict", False)
