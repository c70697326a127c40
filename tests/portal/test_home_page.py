"""Home: what needs the person, and one click to the next job."""

from datetime import timedelta

import pytest

from portal.format import JOB_LOOKS
from portal.parts import home as parts
from scheduler.core.lifecycle import JobState
from scheduler.core.model import RunState
from tests.portal import asked, busy_day
from tests.portal.test_pages import button, closed_connections, rows, said
from tests.portal.test_sharing_pages import of

__all__ = ["closed_connections"]


def links(at):
    return [link.label for link in at.get("page_link")]


def test_it_is_where_a_visit_begins(open_page):
    assert open_page("home").title[0].value == "Home"


def test_a_failure_and_a_recall_are_told_with_a_way_to_the_job(open_page):
    at = open_page("home")
    assert not at.exception
    assert r"**evening\-run\-1**" in links(at)
    assert "failed. Ended with exit code 1." in said(at)
    assert r"**digits\-two\-nodes**" in links(at)
    assert "recalled from state-u-hpc 10 min ago; now running." in said(at)


def test_requests_say_who_waits_for_whom(open_page, hub):
    at = open_page("home")
    assert r"**Budget vision\-2027 of 5,000 H100e\-hours**" in links(at)
    assert "your request has 1 of 2 approvals" in said(at)
    hub.asked = [asked.line(hub.now, f"r-{n}", "alex", awaits=True) for n in range(2)]
    assert "**2 requests** for you to decide" in links(open_page("home"))
    hub.asked = [asked.line(hub.now, f"r-{n}", "alex", awaits=True) for n in range(60)]
    assert "**50+ requests** for you to decide" in links(open_page("home"))


def test_where_nothing_waits_it_says_so(open_page, hub):
    hub.asked = []
    hub.budgets = []
    at = open_page("home", "iris")
    assert "Nothing: no decision, no failure, no recall." in said(at)


def test_jobs_by_state_lead_to_the_filtered_list(open_page, hub):
    at = open_page("home")
    assert {"**1** running", "**1** waiting"} <= set(links(at))
    assert "**1** starting" not in links(at)
    link = next(each for each in at.get("page_link") if each.label == "**1** waiting")
    assert "state=pending" in link.proto.query_string
    for number in range(60):
        name = f"jmany{number:06d}"
        hub.jobs[name] = busy_day.a_job(hub.now, name, "dana", JobState.PENDING)
    assert "**50+** waiting" in links(open_page("home"))


def test_the_last_twenty_jobs_are_also_a_table(open_page):
    at = open_page("home")
    table = rows(at)
    assert len(table) == 20
    assert table[0]["Job"] == r"sweep\-large"
    assert (table[1]["State"], table[1]["Ran"]) == ("Running", "11 min")


def test_what_is_left_is_told_of_the_persons_own_accounts(open_page):
    at = open_page("home")
    quotas = [row for row in rows(at, 1) if row["Account"] == r"arl\-vision"]
    assert len(quotas) == len(rows(at, 1)) > 0
    assert quotas[0]["Left of quota"].endswith("of 8")
    assert "Left, in H100e-hours" in rows(at, 2)[0]


def test_one_click_repeats_the_last_job_and_leads_to_it(open_page, hub):
    before = len(hub.jobs)
    at = open_page("home")
    button(at, "Repeat last job").click().run()
    assert len(hub.jobs) == before + 1
    assert (hub.sent[0].entrypoint, hub.sent[0].nodes) == (
        hub.jobs["jwaits00001"].entrypoint,
        hub.jobs["jwaits00001"].nodes,
    )
    assert at.query_params["id"] == list(hub.jobs)[-1]


def test_a_repeat_that_is_refused_says_why(open_page, hub):
    hub.change("jwaits00001", nodes=9)
    at = open_page("home")
    button(at, "Repeat last job").click().run()
    assert "Ask for fewer nodes" in at.error[0].value


def test_whoever_has_no_jobs_gets_three_templates_as_cards(open_page):
    at = open_page("home", "alex")
    assert "Run your first job" in [each.value for each in at.subheader]
    cards = [each for each in at.get("page_link") if each.label.startswith("Start with ")]
    assert len(cards) == 3
    assert all("tmpl=" in card.proto.query_string for card in cards)
    assert "Repeat last job" not in [each.label for each in at.button]


def test_whoever_has_no_account_is_told_who_adds_them(open_page):
    at = open_page("home", "zoe")
    assert not at.exception
    assert "belongs to no account" in said(at)


def test_little_left_of_a_budget_is_a_notice(open_page, hub):
    hub.budgets = [one.model_copy(update={"limit": one.left * 20}) for one in hub.budgets]
    at = open_page("home")
    assert [each.value.split()[1] for each in at.warning][:1] == [r"arl\-2026"]
    assert all(r"H100e\-hours left" in each.value for each in at.warning)


@pytest.mark.parametrize("state", JobState)
def test_every_state_has_a_sign_of_its_own_word(state):
    sign, colour = parts.SIGNS[state]
    assert len(sign) == 1
    assert colour.startswith("#")
    assert JOB_LOOKS[state].word


def test_the_strip_says_in_words_what_it_draws(hub):
    jobs = [job for job in hub.jobs.values() if job.user == "dana"][:3]
    chart = parts.strip(jobs, hub.now)
    assert chart.alt.startswith("Your last 3 jobs, the oldest first. ")
    assert chart.alt.endswith("digits-two-nodes Running, ran 11 min.")
    values = chart.spec["data"]["values"]
    assert [row["job"] for row in values] == ["evening-run-0", "sweep-large", "digits-two-nodes"]
    assert values[2]["height"] > values[0]["height"] > 0


def test_old_recalls_and_failures_are_no_news(hub):
    later = hub.now + parts.RECENT + timedelta(days=1)
    jobs = list(hub.jobs.values())
    assert parts.recalled(jobs, hub.now)[0].run.state is RunState.PREEMPTED
    assert parts.recalled(jobs, later) == []
    assert parts.failed(jobs, later) == []


def test_the_median_wait_is_of_those_that_started(open_page, hub):
    now = hub.now
    for number, minutes in enumerate((2, 4, 60)):
        name = f"jwaited{number:05d}"
        at = now - timedelta(hours=2)
        run = busy_day.a_run(now, name, 1, RunState.SUCCEEDED, started_at=at)
        hub.jobs[name] = busy_day.a_job(
            now,
            name,
            "iris",
            JobState.SUCCEEDED,
            submitted_at=at - timedelta(minutes=minutes),
            runs=(run,),
        )
    (wait,) = (each for each in open_page("home", "iris").metric if each.label == "Median wait")
    assert (wait.value, "last 3 jobs" in wait.help) == ("4 min", True)


def test_without_a_start_there_is_no_wait_to_tell(open_page, hub):
    hub.jobs = {"jwaits00001": hub.jobs["jwaits00001"]}
    at = open_page("home")
    assert "None of them has started yet" in " ".join(each.value for each in at.caption)
    assert not [each for each in at.metric if each.label == "Median wait"]


def test_gpus_in_use_are_told_by_sector_with_what_there_is(open_page):
    at = open_page("home")
    table = of(at, "Day (UTC)")
    assert (len(table), table[1]["academic"]) == (15, r"13\.2")
    assert "all 56 GPUs" in " ".join(each.value for each in at.caption)


def test_where_nobody_used_a_gpu_it_says_so(open_page, hub):
    hub.anybody = False
    shown = [each.value for each in open_page("home").info]
    assert "Nobody had a GPU in the last 14 days." in shown
