"""The calendar of reservations and maintenance, without a browser."""

from datetime import UTC, datetime, timedelta

import pytest

from portal.charts.windows import Span, gantt
from portal.windows import of_operators, of_policy
from tests.portal import operated_days
from tests.portal.refusals import Refuse
from tests.portal.test_operations_page import labels, of, press
from tests.portal.test_pages import button, closed_connections, field, said

__all__ = ["closed_connections"]

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
DAY = timedelta(days=1)


class TestCalendar:
    def test_it_has_what_the_policy_and_operators_keep_and_nothing_that_is_over(self, open_page):
        rows = of(open_page("reservations"), "Lasts")
        assert [(row["Pool"], row["Name"], row["What"], row["By"]) for row in rows] == [
            ("arl\\-team", "cooling", "maintenance", "policy"),
            ("national\\-hub", "demo\\-day", "reserved for arl", "policy"),
            ("state\\-u\\-hpc", "maintenance\\-1", "maintenance", "operators"),
        ]
        assert rows[2]["Begins"] == "in about 48 h"
        assert rows[2]["Nodes"] == "state\\-u\\-1, state\\-u\\-2"
        assert rows[0]["Nodes"] == "all of its nodes"

    def test_the_picture_says_in_words_what_it_shows(self, open_page):
        (chart,) = open_page("reservations").get("vega_lite_chart")
        assert "1 reservation, 2 windows of maintenance; 0 of them now" in chart.proto.alt

    def test_the_address_holds_the_pool_and_the_days(self, open_page):
        at = open_page("reservations", **{"of-pool": "arl-team", "days": "7"})
        assert [row["Name"] for row in of(at, "Lasts")] == ["cooling"]
        assert field(at.selectbox, "Days ahead").value == "7"

    def test_what_begins_later_is_counted(self, open_page, hub):
        hub.policy = ""
        hub.windows = [
            window.model_copy(
                update={"starts_at": hub.now + 60 * DAY, "ends_at": hub.now + 61 * DAY}
            )
            for window in hub.windows
        ]
        at = open_page("reservations")
        assert "1 begin later" in at.info[0].value

    def test_without_a_policy_nothing_is_reserved(self, open_page, hub):
        hub.policy, hub.windows = None, []
        at = open_page("reservations")
        assert not at.exception
        assert "Nothing is reserved in the next 30 days" in at.info[0].value

    def test_a_reservation_is_asked_for_with_the_pool_that_is_looked_at(self, open_page):
        at = open_page("reservations", **{"of-pool": "national-hub"})
        button(at, "Ask for a reservation").click().run()
        assert at.title[0].value == "Requests"
        assert at.header[0].value == "Ask for a reservation"
        assert field(at.selectbox, "Pool").value == "national-hub"


class TestOperators:
    def test_others_are_told_who_may_and_have_no_buttons(self, open_page):
        at = open_page("reservations")
        assert not {"Plan maintenance…", "Cancel it…"} & set(labels(at))
        assert "is for operators of the account above all others" in said(at)

    def test_an_operator_plans_maintenance_with_a_reason_and_a_time(self, open_page, hub):
        hub.operators = {"dana"}
        at = open_page("reservations")
        button(at, "Plan maintenance…").click().run()
        at.multiselect(key="plan-nodes").select("national-1").select("national-2")
        at.text_input(key="plan-from").input("2030-03-02 18:00")
        at.text_input(key="plan-for").input("8h")
        press(at, "Plan maintenance…", "Plan it")
        assert "Why: " in at.error[0].value
        at.text_input(key="plan-why").input("new firmware")
        press(at, "Plan maintenance…", "Plan it")
        window = hub.windows[-1]
        assert window.nodes == ("national-1", "national-2")
        assert window.starts_at == datetime(2030, 3, 2, 18, tzinfo=UTC)
        assert window.ends_at - window.starts_at == timedelta(hours=8)
        assert window.reason == "new firmware"
        assert "Planned: maintenance of national\\-1, national\\-2" in at.success[0].value

    def test_a_time_that_is_none_is_told_and_nothing_is_planned(self, open_page, hub):
        hub.operators = {"dana"}
        at = open_page("reservations")
        button(at, "Plan maintenance…").click().run()
        at.text_input(key="plan-from").input("tomorrow")
        press(at, "Plan maintenance…", "Plan it")
        assert "is not like 2026\\-03\\-02 18\\:00" in at.error[0].value
        assert len(hub.windows) == 1

    def test_an_operator_cancels_what_operators_planned(self, open_page, hub):
        hub.operators = {"dana"}
        at = open_page("reservations")
        press_cancel(at)
        assert hub.windows == []
        assert "is cancelled" in at.success[0].value
        assert "Cancel it…" not in labels(at)

    def test_a_refusal_is_told_in_the_hubs_words(self, open_page, hub):
        hub.operators = {"dana"}
        at = open_page("reservations")
        hub.refusal, hub.refused_methods = Refuse(403, "Forbidden", "no operator"), {"DELETE"}
        press_cancel(at)
        assert at.error[0].title == "You may not do this"
        assert len(hub.windows) == 1


def press_cancel(at):
    button(at, "Cancel it…").click().run()
    press(at, "Cancel it…", "Yes, cancel it")


class TestWindows:
    @pytest.mark.parametrize(
        ("written", "meant"),
        [
            ("2026-03-02", datetime(2026, 3, 2, tzinfo=UTC)),
            ("2026-03-02T09:00:00-04:00", datetime(2026, 3, 2, 13, tzinfo=UTC)),
            ("2026-03-02T09:00:00", datetime(2026, 3, 2, 9, tzinfo=UTC)),
            ("'2026-03-02T09:00:00Z'", datetime(2026, 3, 2, 9, tzinfo=UTC)),
        ],
    )
    def test_a_time_without_a_zone_is_utc_as_the_policy_means_it(self, written, meant):
        (window,) = of_policy(
            f"maintenance: [{{id: a, pool: p, starts_at: {written}, ends_at: 2026-04-01}}]"
        )
        assert window.starts_at == meant

    @pytest.mark.parametrize("text", ["", "accounts: []", "reservations:"])
    def test_a_policy_without_any_keeps_nothing(self, text):
        assert of_policy(text) == []

    @pytest.mark.parametrize("dark", [False, True])
    def test_windows_of_one_pool_have_rows_of_their_own(self, dark):
        windows = [*of_policy(operated_days.a_policy(NOW))[:1]]
        windows += of_operators(operated_days.windows(NOW))
        spec = gantt(windows, Span(NOW - DAY, NOW, NOW + 7 * DAY), dark=dark).spec
        assert [row["window"] for row in spec["data"]["values"]] == [
            "national-hub: demo-day, for arl",
            "state-u-hpc: maintenance-1, maintenance",
        ]
