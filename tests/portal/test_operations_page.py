"""The operations page and a job's recall, without a browser: what stands there, who may do what."""

from datetime import timedelta

from tests.portal.refusals import Refuse
from tests.portal.test_pages import button, closed_connections, field, said

__all__ = ["closed_connections"]


def of(at, column):
    """Return the rows of the table that has this column."""
    found = (table.value.astype(str).to_dict("records") for table in at.table)
    return next(table for table in found if column in table[0])


def press(at, opener, inside):
    """Press a button of an open dialog: without a browser, the dialog is to be opened anew."""
    button(at, opener).click()
    button(at, inside).click().run()


def labels(at):
    return [each.label for each in at.button]


class TestHealth:
    def test_nodes_out_of_work_say_how_why_since_and_until_when(self, open_page):
        rows = {row["Node"]: row for row in of(open_page("operations"), "Comes back after")}
        drained = rows["national\\-3"]
        assert drained["How it is"] == "✗ draining, 8 GPUs still held"
        assert drained["Since"].startswith("3 h ago")
        assert "by ops" in drained["Why"]
        assert "node resume" in drained["Comes back after"]
        assert rows["state\\-u\\-2"]["Why"] == "silent for 4 min"

    def test_reasons_are_shown_as_they_were_written(self, open_page):
        at = open_page("operations", node="national-3")
        assert "fan is \\<b\\>loud\\</b\\>" in of(at, "Comes back after")[-1]["Why"]
        assert any("fan is <b>loud</b>. Said by ops" in each.value for each in at.text)

    def test_gpus_with_one_fault_are_one_row(self, open_page):
        (row,) = of(open_page("operations"), "Fault")
        assert (row["What"], row["Fault"]) == ("GPUs 0, 1, 2, 3, 4, 5, 6, 7", "✗ GPU lost")

    def test_who_uses_a_gpu_unasked_is_told(self, open_page):
        (row,) = of(open_page("operations"), "Processes")
        assert (row["Node"], row["GPU"], row["Processes"]) == ("national\\-4", "7", "2")

    def test_a_well_fleet_says_so(self, open_page, hub):
        hub.cordons, hub.foreign = {}, set()
        hub.nodes = [node for node in hub.nodes if node.usable]
        at = open_page("operations")
        assert "Every node takes work" in at.info[0].value

    def test_without_nodes_it_says_how_they_come(self, open_page, hub):
        hub.nodes = []
        at = open_page("operations")
        assert not at.exception
        assert "commonpool node-agent" in at.info[0].value

    def test_waste_is_a_short_list(self, open_page, hub):
        rows = of(open_page("operations"), "Leased")
        assert len(rows) == min(10, len(hub.waste))


class TestOperators:
    def test_others_are_told_who_may_and_have_no_buttons(self, open_page, hub):
        at = open_page("operations")
        assert not {"Drain…", "Let it work again…"} & set(labels(at))
        assert "is for operators of the account above all others" in said(at)
        assert "How planning goes is for operators and auditors" in said(at)
        assert "GET /v1/diagnostics" not in hub.requests

    def test_an_operator_drains_with_a_reason_and_a_time(self, open_page, hub):
        hub.operators = {"dana"}
        at = open_page("operations", node="national-1")
        button(at, "Drain…").click().run()
        press(at, "Drain…", "Drain it")
        assert "Say why" in at.error[0].value
        at.text_input(key="drain-why").input("new firmware")
        at.text_input(key="drain-for").input("soon")
        press(at, "Drain…", "Drain it")
        assert "Write 30m, 8h or 2d" in at.error[0].value
        assert "national-1" not in hub.cordons
        at.text_input(key="drain-for").input("8h")
        press(at, "Drain…", "Drain it")
        cordon = hub.cordons["national-1"]
        assert cordon.why == "new firmware"
        assert timedelta(hours=8) < cordon.until - hub.now < timedelta(hours=8, minutes=2)
        assert "for 8 h" in at.success[0].value

    def test_an_operator_lets_a_node_work_again(self, open_page, hub):
        hub.operators = {"dana"}
        at = open_page("operations", node="national-3")
        button(at, "Let it work again…").click().run()
        at.text_input(key="resume-why").input("it is in")
        press(at, "Let it work again…", "Yes, let it work")
        assert hub.cordons == {}
        assert hub.resumed == [("national-3", "it is in")]
        assert "works again" in at.success[0].value

    def test_a_refusal_is_told_in_the_hubs_words(self, open_page, hub):
        hub.operators = {"dana"}
        at = open_page("operations", node="national-3")
        button(at, "Let it work again…").click().run()
        hub.refusal, hub.refused_methods = Refuse(403, "Forbidden", "no operator"), {"POST"}
        press(at, "Let it work again…", "Yes, let it work")
        assert at.error[0].title == "You may not do this"
        assert "national-3" in hub.cordons

    def test_an_operator_sees_how_planning_goes(self, open_page, hub):
        hub.operators = {"dana"}
        at = open_page("operations")
        (row,) = of(at, "Mean, ms")
        assert (row["Phase of a cycle"], row["Longest, ms"]) == ("plan", "200.0")
        assert field(at.metric, "Starts within their interval").value == "80%"


class TestRecall:
    def lend(self, hub):
        job = hub.jobs["jdigits0001"]
        last = job.runs[-1].model_copy(update={"lent": True})
        hub.change(job.id, runs=(*job.runs[:-1], last))

    def test_only_a_lent_lease_can_be_taken_back(self, open_page):
        assert "Recall…" not in labels(open_page("job", id="jdigits0001"))

    def test_a_lent_lease_is_taken_back_after_a_question(self, open_page, hub):
        self.lend(hub)
        at = open_page("job", id="jdigits0001")
        button(at, "Recall…").click().run()
        press(at, "Recall…", "Yes, take them back")
        assert "POST /v1/jobs/jdigits0001/recall" in hub.requests
        assert "Recall…" not in labels(at)
