"""Each page in each state, without a browser: what a person reads and can press."""

import pytest
from streamlit.testing.v1 import AppTest

from portal.session import _connections
from scheduler.core.lifecycle import JobState
from scheduler.core.model import RunState, Tier
from tests.portal.conftest import APP, NOBODY_LISTENS
from tests.portal.refusals import Refuse

VIEWS = ["capacity", "submit", "plan_a_run", "jobs", "job", "accounts", "usage", "sharing"]
VIEWS += ["home", "account", "operations", "reservations"]
DECIDING = ["requests", "approvals", "request", "policy", "audit"]


@pytest.fixture(autouse=True)
def closed_connections():
    yield
    _connections().close()
    _connections.clear()


def said(at):
    """Return all that stands on the page, as one text."""
    kinds = (at.markdown, at.text, at.caption, at.info, at.warning, at.error, at.success, at.title)
    return "\n".join(element.value for kind in kinds for element in kind)


def rows(at, number=0):
    """Return a table's cells as text."""
    return at.table[number].value.astype(str).to_dict("records")


def button(at, label):
    return next(each for each in at.button if each.label == label)


def field(kind, label):
    return next(each for each in kind if each.label == label)


@pytest.mark.parametrize("view", [*VIEWS, *DECIDING])
def test_a_hub_that_is_away_is_named_with_its_url_and_what_to_do(open_page, view):
    at = open_page(view, url=NOBODY_LISTENS, id="jdigits0001")
    assert not at.exception
    assert len(at.error) == 1
    assert "`commonpool up` starts it" in at.error[0].value
    assert at.error[0].title == f"No answer from the hub at `{NOBODY_LISTENS}`"


@pytest.mark.parametrize("view", VIEWS)
def test_while_the_hub_is_away_its_last_answer_stays_and_says_its_age(open_page, monkeypatch, view):
    at = open_page(view, id="jdigits0001")
    tables = len(at.table)
    monkeypatch.setenv("COMMONPOOL_HUB_URL", NOBODY_LISTENS)
    at.run()
    assert not at.exception
    assert not at.error
    away = [each for each in at.warning if "This is what it said just now" in each.value]
    assert len(away) == 1
    assert away[0].title == f"No answer from the hub at `{NOBODY_LISTENS}`"
    assert len(at.table) == tables


@pytest.mark.parametrize("view", VIEWS)
def test_a_token_that_the_hub_does_not_know_says_how_to_get_one(open_page, tokens, view):
    (tokens / "dana.token").write_text("cp_user_revoked")
    at = open_page(view, id="jdigits0001")
    assert not at.exception
    assert at.error[0].title == "The hub does not accept this token"
    assert "commonpool" in at.error[0].value


@pytest.mark.parametrize("view", VIEWS)
def test_a_person_without_the_right_is_told_so(open_page, hub, view):
    hub.refusal = Refuse(403, "Forbidden", "this token's scope is node")
    at = open_page(view, id="jdigits0001")
    assert not at.exception
    assert at.error[0].title == "You may not do this"
    assert "scope is node" in at.error[0].value


def test_a_full_disk_is_told_in_the_hubs_words(open_page, hub):
    hub.refusal = Refuse(503, "Storage", "the disk is full", next_step="Try again in 5 s")
    at = open_page("jobs")
    assert "he disk is full" in at.error[0].value
    assert "Try again in 5 s" in at.error[0].value


def test_without_a_session_the_page_says_so_and_asks_the_hub_nothing(monkeypatch, hub, hub_url):
    monkeypatch.setenv("COMMONPOOL_HUB_URL", hub_url)
    at = AppTest.from_file(APP, default_timeout=20).run()
    assert not at.exception
    assert at.title[0].value == "Not signed in"
    assert at.info[0].title == "Your session has ended"
    assert hub.requests == []


def test_the_gates_word_alone_is_not_enough_without_the_browsers_cookie(monkeypatch, hub, hub_url):
    monkeypatch.setenv("COMMONPOOL_HUB_URL", hub_url)
    at = AppTest.from_file(APP, default_timeout=20)
    at.user = {"sub": "dana", "sid": "x"}
    at.run()
    assert not at.exception
    assert at.title[0].value == "Not signed in"
    assert hub.requests == []


def test_the_sidebar_says_who_looks_and_as_what(open_page):
    at = open_page("jobs", "iris")
    assert at.sidebar.markdown[0].value == "Signed in as **iris**"
    assert at.sidebar.caption[0].value == "researcher of acme-robotics"


def test_with_one_token_nobody_chooses(monkeypatch, hub_url):
    monkeypatch.setenv("COMMONPOOL_HUB_URL", hub_url)
    monkeypatch.setenv("COMMONPOOL_PORTAL_TOKEN", "cp_user_dana")
    at = AppTest.from_file(APP, default_timeout=20).run()
    assert not at.exception
    assert not at.sidebar.selectbox
    assert at.title[0].value == "Home"


def test_another_person_sees_another_persons_jobs(open_page):
    at = open_page("jobs", "iris")
    assert [link.label for link in at.get("page_link")] == [r"**raysubmit\_jforeign001**"]
    at = open_page("jobs", "dana")
    assert "**digits\\-two\\-nodes**" in [link.label for link in at.get("page_link")]


class TestCapacity:
    def test_simulated_gpus_are_said_to_be(self, open_page):
        at = open_page()
        assert at.warning[0].title == "SIMULATED"
        assert all("(simulated)" in row["Pool"] for row in rows(at))

    def test_each_pool_stands_with_its_gpus_by_use(self, open_page):
        at = open_page()
        national = rows(at)[2]
        numbers = [national[use] for use in ("In quota", "Borrowed", "Background", "Free", "Down")]
        assert numbers == ["16", "8", "4", "4", "0"]
        assert [(each.label, each.value) for each in at.metric] == [
            ("GPUs free", "6"),
            ("GPUs in use", "42"),
            ("GPUs down", "8"),
        ]

    def test_a_pool_shows_its_quotas_and_why_a_node_is_not_usable(self, open_page):
        at = open_page(pool="state-u-hpc")
        quota, node = rows(at, 1)[0], rows(at, 2)[1]
        assert (quota["Account"], quota["In use"], quota["Guaranteed"]) == (
            "state-u-nlp",
            "8",
            "16",
        )
        assert node["State"] == "✗ not usable: silent for 4 min"
        assert node["GPUs are"] == "SIMULATED"

    def test_each_node_says_how_busy_it_is_and_each_gpu_in_use_who_has_it(self, open_page):
        at = open_page(pool="national-hub")
        node, gpu = rows(at, 2)[3], rows(at, 3)[0]
        assert (node["SM activity"], node["Power"], node["Hottest"]) == ("41%", "2724W", "62°")
        assert (gpu["Who"], gpu["SM activity"]) == ("cp\\-jdigits0001\\-1 arl\\-vision dana", "82%")
        assert gpu["Health"] == "✓ ok"

    def test_a_gpu_that_is_not_well_says_why(self, open_page):
        at = open_page(pool="state-u-hpc")
        assert "✗ GPU lost" in [row["Health"] for row in rows(at, 3)]

    def test_no_pool_and_no_node_say_what_to_do(self, open_page, hub):
        hub.nodes = []
        assert "commonpool node-agent" in said(open_page())
        hub.pools = []
        assert "commonpool policy apply" in said(open_page())

    def test_real_gpus_are_not_called_simulated(self, open_page, hub):
        hub.pools = [pool.model_copy(update={"simulated": False}) for pool in hub.pools]
        at = open_page()
        assert "SIMULATED" not in [each.title for each in at.warning]
        assert "simulated" not in said(at).lower()


class TestJobs:
    def test_running_and_waiting_jobs_say_what_they_do_and_when(self, open_page):
        text = said(open_page("jobs"))
        assert "Runs on national-hub, in quota" in text
        assert "should start in about 2 min" in text
        assert "16 GPUs (2 nodes × 8)" in text  # noqa: RUF001  # a real times sign

    def test_the_address_holds_the_filter(self, open_page):
        at = open_page("jobs", state="failed")
        assert len(at.get("page_link")) == 1
        assert "evening\\-run\\-1" in at.get("page_link")[0].label

    def test_a_filter_without_a_match_can_be_cleared(self, open_page):
        at = open_page("jobs", state="stopping")
        assert "No job matches" in said(at)
        button(at, "Show all my jobs").click().run()
        assert len(at.get("page_link")) == 20

    def test_nobody_has_jobs_at_first_and_is_led_to_the_form(self, open_page):
        at = open_page("jobs", "alex")
        assert "You have no jobs yet" in said(at)
        assert at.get("page_link")[0].label == "Submit the first one"

    def test_older_jobs_are_a_page_away_and_back(self, open_page):
        at = open_page("jobs")
        button(at, "Older jobs").click().run()
        assert len(at.get("page_link")) == 7
        button(at, "Newest jobs").click().run()
        assert len(at.get("page_link")) == 20


class TestJob:
    def test_a_waiting_job_says_its_place_its_start_and_why_pool_by_pool(self, open_page):
        at = open_page("job", id="sweep-large")
        assert [(each.label, each.value) for each in at.metric[:3]] == [
            ("Place in the queue of arl-vision", "1"),
            ("Planned start", "in about 2 min"),
            ("Almost surely", "in about 3 h"),
        ]
        assert [row["Pool"] for row in rows(at)] == [
            r"arl\-team",
            r"state\-u\-hpc",
            r"national\-hub",
        ]
        assert "4 of 32 GPUs free" in rows(at)[2]["Why not there"]

    def test_a_job_not_planned_yet_says_so(self, open_page, hub):
        hub.change("jwaits00001", position=None, starts_at=None)
        at = open_page("job", id="jwaits00001")
        assert [each.value for each in at.metric[:2]] == ["being planned", "not known yet"]
        assert "does so within seconds" in said(at)

    def test_each_attempt_says_where_on_whose_gpus_and_how_it_ended(self, open_page):
        text = said(open_page("job", id="jdigits0001"))
        assert "**Attempt 1**: recalled by its owner" in text
        assert "borrowed under state\\-u\\-lends\\-industry" in text
        assert "exit code 0" in text
        assert "SIMULATED" in text

    def test_cancelling_asks_first(self, open_page, hub):
        at = open_page("job", id="sweep-large")
        button(at, "Cancel…").click().run()
        assert hub.jobs["jwaits00001"].state is JobState.PENDING
        assert "loses its place" in said(at)
        assert {"Yes, cancel it", "Keep it"} <= {each.label for each in at.button}

    def test_a_job_that_ended_cannot_be_cancelled(self, open_page):
        at = open_page("job", id="evening-run-1")
        assert "Cancel…" not in [each.label for each in at.button]

    @pytest.mark.parametrize("name", ["jforeign001", "nothing-like-it", ""])
    def test_a_foreign_job_is_as_absent_as_one_that_is_not_there(self, open_page, name):
        at = open_page("job", **({"id": name} if name else {}))
        assert not at.exception
        assert at.title[0].value == "No such job"

    def test_the_same_job_for_rays_own_tools_never_shows_the_token(self, open_page):
        at = open_page("job", id="jdigits0001")
        command = next(code.value for code in at.code if "ray job submit" in code.value)
        assert "$COMMONPOOL_TOKEN" in command
        assert "cp_user_dana" not in command

    def test_every_state_of_a_run_can_be_shown(self, open_page, hub):
        run = hub.jobs["jdigits0001"].runs[1]
        runs = tuple(run.model_copy(update={"state": state}) for state in RunState)
        hub.change("jdigits0001", runs=runs)
        at = open_page("job", id="jdigits0001")
        assert not at.exception
        assert sum("**Attempt 2**" in each.value for each in at.markdown) == len(RunState)


class TestSubmit:
    def press(self, at):
        return button(at, "Submit job").click().run()

    def test_a_job_is_submitted_with_what_was_said_and_shown(self, open_page, hub):
        at = open_page("submit")
        field(at.text_area, "Command").set_value("python train.py")
        field(at.number_input, "Nodes").set_value(2)
        field(at.number_input, "GPUs on each node").set_value(8)
        field(at.selectbox, "Highest tier").set_value(Tier.TEAM)
        field(at.selectbox, "Label of its data").set_value("controlled")
        field(at.text_input, "Submission id (may be left out)").set_value("first-try")
        field(at.checkbox, "May be recalled").uncheck()
        self.press(at)
        job = next(job for job in hub.jobs.values() if job.submission_id == "first-try")
        assert (job.entrypoint, job.nodes, job.gpus_per_node) == ("python train.py", 2, 8)
        assert (job.label, job.preemptible) == ("controlled", False)
        assert job.tier == (Tier.TEAM, Tier.TEAM)
        assert at.query_params["id"] == job.id
        assert at.title[0].value == r"first\-try"

    def test_a_refusal_stands_at_its_field_with_limit_and_next_step(self, open_page, hub):
        before = len(hub.jobs)
        at = open_page("submit")
        field(at.text_area, "Command").set_value("python train.py")
        field(at.number_input, "Nodes").set_value(9)
        self.press(at)
        assert len(hub.jobs) == before
        assert "Limit\\: nodes of the largest pool it may use\\: 4" in at.error[1].value
        assert "Ask for fewer nodes" in at.error[1].value
        assert at.columns[0].error[0].value == at.error[1].value
        assert field(at.text_area, "Command").value == "python train.py"

    def test_what_few_jobs_ask_for_is_sent_too(self, open_page, hub):
        at = open_page("submit")
        assert not at.expander[0].proto.expanded
        field(at.text_area, "Command").set_value("python train.py")
        field(at.text_input, "Name").set_value("digits")
        field(at.number_input, "Memory of each GPU, in GiB").set_value(80)
        field(at.number_input, "H100-equivalents").set_value(16)
        field(at.text_input, "Software").set_value("cuda-12.4 , pytorch")
        self.press(at)
        job = list(hub.jobs.values())[-1]
        assert (job.name, job.memory_gib, job.h100e) == ("digits", 80, 16)
        assert (job.software, job.reservation) == (("cuda-12.4", "pytorch"), None)

    def test_a_refusal_among_the_options_unfolds_them(self, open_page, hub):
        before = len(hub.jobs)
        at = open_page("submit")
        field(at.text_area, "Command").set_value("python train.py")
        field(at.text_input, "Reservation").set_value("ex-7")
        self.press(at)
        assert len(hub.jobs) == before
        assert at.expander[0].proto.expanded
        assert "o reservation is named" in at.expander[0].error[0].value
        assert field(at.text_input, "Reservation").value == "ex-7"

    def test_a_template_brings_its_options_and_not_the_nodes_that_h100s_would_take(
        self, open_page, hub
    ):
        options = {"h100e": 16, "nodes": 2, "gpus_per_node": 8, "software": ("pytorch", "nccl")}
        hub.change("jwaits00001", **options)
        at = open_page("submit", **{"from": "sweep-large"})
        assert at.expander[0].proto.expanded
        assert field(at.number_input, "H100-equivalents").value == 16
        assert field(at.number_input, "Nodes").value == 1
        assert field(at.text_input, "Software").value == "pytorch, nccl"

    def test_an_empty_form_asks_for_a_command(self, open_page):
        at = self.press(open_page("submit"))
        assert "Say what to run" in said(at)

    def test_a_hub_that_cannot_store_keeps_what_was_typed(self, open_page, hub):
        at = open_page("submit")
        field(at.text_area, "Command").set_value("python train.py")
        hub.refusal, hub.refused_methods = Refuse(503, "Storage", "the disk is full"), {"POST"}
        self.press(at)
        assert "he disk is full" in said(at)
        hub.refusal = None
        self.press(at)
        assert at.title[0].value.startswith("raysubmit")

    def test_a_person_without_an_account_is_told_who_can_help(self, open_page):
        at = open_page("submit", "zoe")
        assert "belongs to no account" in said(at)
        assert not at.text_area

    def test_a_job_can_be_changed_and_submitted_again(self, open_page):
        at = open_page("submit", **{"from": "sweep-large"})
        assert field(at.number_input, "Nodes").value == 4
        assert field(at.selectbox, "Label of its data").value == "controlled"
        assert "sweep.py" in field(at.text_area, "Command").value

    def test_another_persons_job_is_no_template(self, open_page):
        at = open_page("submit", **{"from": "jforeign001"})
        assert field(at.text_area, "Command").value == ""


class TestAccounts:
    def test_the_tree_shows_use_and_who_waits(self, open_page):
        at = open_page("accounts")
        row = rows(at)[4]
        assert row["Account"].strip() == r"arl\-vision"
        assert (row["GPUs in use"], row["Jobs waiting"]) == ("20", "1")

    def test_no_account_says_what_to_do(self, open_page, hub):
        hub.accounts = []
        assert "commonpool policy apply" in said(open_page("accounts"))
