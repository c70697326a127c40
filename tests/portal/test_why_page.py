"""Why a job waits, and the one click that would start it sooner; retry and clone."""

from datetime import UTC, datetime, timedelta

import pytest

from portal.parts.why import ahead_lines, timeline
from scheduler.core.lifecycle import JobState
from scheduler.core.model import Sector
from scheduler.wire.explanations import AheadView
from tests.portal import busy_day
from tests.portal.refusals import Refuse
from tests.portal.test_pages import button, field, said

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def before(account, sector, jobs, why):
    return AheadView(account=account, sector=sector, jobs=jobs, why=why, sentence="")


def test_others_are_ahead_only_as_counts_by_sector():
    found = [
        before("mine", Sector.DOD, 2, "they came earlier"),
        before("acme", Sector.INDUSTRY, 3, "it has used less per weight"),
        before("globex", Sector.INDUSTRY, 4, "it has used less per weight"),
        before("state-u", Sector.ACADEMIC, 1, "it has used less per weight"),
    ]
    lines = ahead_lines(found, "mine")
    assert lines == [
        "2 jobs of your own account: they came earlier",
        "1 job of academic accounts: they have used less for their weight",
        "7 jobs of industry accounts: they have used less for their weight",
    ]
    assert not [line for line in lines if "acme" in line or "globex" in line]


@pytest.mark.parametrize(
    ("state", "runs", "words"),
    [
        (JobState.PENDING, 0, ["Submitted", "GPUs leased", "Running", "Ended"]),
        (JobState.RUNNING, 1, ["Submitted", "GPUs leased", "Running", "Ended"]),
        (JobState.STOPPED, 0, ["Submitted", "Stopped"]),
        (JobState.SUCCEEDED, 2, ["Submitted", "GPUs leased (attempt 2)", "Running", "Succeeded"]),
    ],
)
def test_the_timeline_has_what_was_and_what_is_to_come(state, runs, words):
    made = [
        busy_day.a_run(NOON, "j1", number + 1, state.value if state.is_terminal else "running")
        for number in range(runs)
    ]
    job = busy_day.a_job(NOON, "j1", "dana", state, runs=tuple(made), ended_at=NOON)
    found = timeline(job)
    assert [word for _, word, _ in found] == words
    times = [at for _, _, at in found]
    if state is JobState.PENDING:
        assert times == [job.submitted_at, None, None, None]


def test_a_waiting_job_says_when_who_is_ahead_and_what_would_help(open_page):
    text = said(open_page("job", id="sweep-large")).replace("\\", "")
    for part in (
        "It should start in about 20 min",
        "2 jobs of your own account: they came earlier",
        "7 jobs of academic accounts",
        "its age is not carried over",
    ):
        assert part in text
    assert "acme" not in text


def test_one_click_submits_the_change_and_ends_the_waiting_job(open_page, hub):
    at = open_page("job", id="sweep-large")
    button(at, "Take 2 of 4 nodes").click().run()
    assert hub.sent[-1].nodes == 2
    assert hub.jobs["jwaits00001"].state is JobState.STOPPED
    assert at.title[0].value.startswith("raysubmit")


def test_a_job_that_ended_is_retried_as_it_was(open_page, hub):
    at = open_page("job", id="evening-run-1")
    assert not [each for each in at.button if each.label == "Cancel…"]
    button(at, "Retry").click().run()
    assert hub.sent[-1].entrypoint == hub.own("dana", "evening-run-1").entrypoint
    assert hub.own("dana", "evening-run-1").state.is_terminal


def test_a_clone_opens_the_form_with_what_the_job_asked_for(open_page):
    at = open_page("job", id="sweep-large")
    button(at, "Clone…").click().run()
    assert at.title[0].value == "Submit a job"
    assert field(at.number_input, "Nodes").value == 4


def test_a_change_that_is_refused_is_told_and_the_job_still_waits(open_page, hub):
    at = open_page("job", id="sweep-large")
    hub.refusal = Refuse(409, "It waits no more", "Job jwaits00001 is running.", field="replace")
    hub.refused_methods = {"POST"}
    button(at, "Take 2 of 4 nodes").click().run()
    assert "is running" in said(at)
    assert hub.jobs["jwaits00001"].state is JobState.PENDING


def test_times_of_the_timeline_are_those_of_the_latest_run():
    run = busy_day.a_run(NOON, "j1", 1, "running")
    job = busy_day.a_job(NOON, "j1", "dana", JobState.RUNNING, runs=(run,))
    assert timeline(job)[1][2] == NOON - timedelta(minutes=10)
