"""Submit in two clicks: a template, and Submit; and what the page says before and keeps after."""

import io
import zipfile
from datetime import UTC, datetime

import pytest

from portal.catalogue import template
from scheduler.core.model import Tier
from scheduler.wire.drafts import Draft
from tests.portal import dry_runs
from tests.portal.test_pages import button, field, said


def press(at, label):
    return button(at, label).click().run()


def cards(at):
    return [each.value for each in at.markdown if "H100e-hours" in each.value]


def test_a_template_and_submit_are_two_clicks_to_a_job_with_its_program(open_page, hub):
    at = open_page("submit")
    pills = next(each for each in at.get("button_group") if each.label == "Start from")
    pills.set_value("edge").run()
    assert at.query_params["tmpl"] in ("edge", ["edge"])
    press(at, "Submit job")
    (sent,) = hub.sent
    assert (sent.entrypoint, sent.name) == ("python edge.py", "template-edge")
    assert sent.metadata == {"template": "edge"}
    (package,) = hub.packages.values()
    with zipfile.ZipFile(io.BytesIO(package)) as files:
        assert files.read("edge.py") == template("edge").program
    assert sent.runtime_env["working_dir"].startswith("gcs://_ray_pkg_")
    assert at.title[0].value.startswith("raysubmit")


def test_what_is_best_at_all_is_one_card_and_what_differs_are_three(open_page, hub):
    at = open_page("submit", tmpl="edge")
    assert len(cards(at)) == 1
    assert "**Starts first, done first, and cheapest**" in [each.value for each in at.markdown]
    assert not [each for each in at.radio if each.label == "Submit it as"]
    hub.foresee = dry_runs.busy
    at = open_page("submit", tmpl="edge")
    assert len(cards(at)) == 3
    choice = next(each for each in at.radio if each.label == "Submit it as")
    assert choice.options[choice.index] == "Done first"


def test_the_chosen_card_is_what_is_submitted(open_page, hub):
    hub.foresee = dry_runs.busy
    at = open_page("submit", tmpl="edge")
    next(each for each in at.radio if each.label == "Submit it as").set_value(0)
    press(at, "Submit job")
    assert hub.sent[-1].tier == (Tier.NATIONAL,)


def test_a_field_that_was_changed_since_is_submitted_as_it_stands(open_page, hub):
    hub.foresee = dry_runs.busy
    at = open_page("submit", tmpl="edge")
    next(each for each in at.radio if each.label == "Submit it as").set_value(0)
    field(at.text_input, "Time limit").set_value("9m")
    press(at, "Submit job")
    assert (hub.sent[-1].tier, hub.sent[-1].time_limit_seconds) == ((), 540)


def test_the_checks_are_told_with_their_numbers(open_page, hub):
    hub.foresee = dry_runs.busy
    text = said(open_page("submit", tmpl="edge"))
    for part in ("Admitted", "Quota", "Recall", "Files: a package", "Run time"):
        assert part in text.replace("\\", "")


def test_a_draft_survives_a_closed_tab_and_ends_with_the_submission(open_page, hub):
    at = open_page("submit")
    field(at.text_area, "Command").set_value("python mine.py")
    field(at.number_input, "Nodes").set_value(3)
    press(at, "Save and check")
    assert hub.drafts["dana", "submit"].content["nodes"] == 3
    assert len(cards(at)) == 1
    assert field(open_page("submit", "iris").text_area, "Command").value == ""
    again = open_page("submit")
    assert field(again.text_area, "Command").value == "python mine.py"
    assert field(again.number_input, "Nodes").value == 3
    assert "Your draft of" in said(again)
    press(again, "Submit job")
    assert hub.sent[-1].nodes == 3
    assert hub.drafts == {}


def test_a_draft_is_kept_while_fields_are_filled_in(open_page, hub):
    at = open_page("submit")
    assert hub.drafts == {}
    field(at.text_area, "Command").set_value("python mine.py").run()
    field(at.number_input, "Nodes").set_value(3).run()
    kept = hub.drafts["dana", "submit"].content
    assert (kept["entrypoint"], kept["nodes"]) == ("python mine.py", 3)
    asked = hub.requests.count("PUT /v1/drafts/submit")
    at.run()
    assert hub.requests.count("PUT /v1/drafts/submit") == asked == 2
    assert "POST /v1/jobs/dry-run" not in hub.requests
    again = open_page("submit")
    assert field(again.text_area, "Command").value == "python mine.py"


def test_opening_a_template_overwrites_no_draft(open_page, hub):
    hub.drafts["dana", "submit"] = Draft(
        page="submit", content={"entrypoint": "x"}, updated_at=datetime.now(UTC)
    )
    open_page("submit", tmpl="edge")
    assert hub.drafts["dana", "submit"].content == {"entrypoint": "x"}


def test_a_draft_can_be_discarded_and_one_of_another_version_is_left_aside(open_page, hub):
    hub.drafts["dana", "submit"] = Draft(
        page="submit", content={"entrypoint": "x", "nodes": 2}, updated_at=datetime.now(UTC)
    )
    at = open_page("submit")
    assert field(at.number_input, "Nodes").value == 2
    press(at, "Discard the draft")
    assert hub.drafts == {}
    assert field(at.text_area, "Command").value == ""
    hub.drafts["dana", "submit"] = Draft(
        page="submit", content={"wheels": 4}, updated_at=datetime.now(UTC)
    )
    assert field(open_page("submit").text_area, "Command").value == ""


def test_what_was_refused_is_kept_as_a_draft_too(open_page, hub):
    at = open_page("submit")
    field(at.text_area, "Command").set_value("python train.py")
    field(at.number_input, "Nodes").set_value(9)
    press(at, "Submit job")
    assert hub.drafts["dana", "submit"].content["nodes"] == 9


def test_an_earlier_job_is_submitted_again_with_its_files(open_page, hub):
    at = open_page("submit", **{"from": "sweep-large"})
    field(at.number_input, "Nodes").set_value(2)
    press(at, "Submit job")
    assert "POST /v1/jobs/jwaits00001/again" in hub.requests
    assert (hub.sent[-1].nodes, hub.sent[-1].label) == (2, "controlled")


@pytest.mark.parametrize(
    "form", ["ray job submit", "commonpool submit", "entrypoint: python edge.py", "submit_job("]
)
def test_the_same_job_stands_there_in_four_forms_without_the_token(open_page, form):
    at = open_page("submit", tmpl="edge")
    found = [code.value for code in at.code if form in code.value]
    assert found
    assert not [code.value for code in at.code if "cp_user_dana" in code.value]
