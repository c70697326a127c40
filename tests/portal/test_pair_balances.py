"""The balance of pairs over time: what is drawn, what is told, and what stands in the table."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from portal.charts import pair_balances as charts
from portal.charts.base import DARK_INK
from scheduler.core.ledger import By
from scheduler.wire.pair_balances import PairPage, PairView
from tests.portal.test_pages import closed_connections, said
from tests.portal.test_sharing_pages import of

__all__ = ["closed_connections"]
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
AT = tuple(NOON + day * timedelta(days=1) for day in range(3))


def pair(first="state-u", hours=(0, 20, 30), limit=None, **more):
    """Return a pair's view; its numbers are of H100e-hours."""
    fields = {
        "first": first,
        "second": "acme",
        "lent_h100e_seconds": Decimal(max(hours) * 3600),
        "returned_h100e_seconds": Decimal((max(hours) - hours[-1]) * 3600),
        "loans": 2,
        "balance_h100e_seconds": tuple(Decimal(each * 3600) for each in hours),
        "limit_h100e_seconds": None if limit is None else Decimal(limit * 3600),
        "cap_gpus": None if limit is None else 8,
    }
    return PairView(**{**fields, **more})


def page(*pairs):
    return PairPage(since=AT[0], until=AT[-1], by=By.INSTITUTION, at=AT, pairs=pairs)


def ticks(found):
    rows = charts.over_time(found, dark=False).spec["data"]["values"]
    return {row["pair"]: row["limit"] for row in rows if "limit" in row}


class TestChart:
    def test_a_line_has_a_point_at_the_start_and_after_each_part(self):
        rows = charts.over_time(page(pair()), dark=False).spec["data"]["values"]
        assert [(row["at"], row["balance"]) for row in rows] == [
            (at.isoformat(), hours) for at, hours in zip(AT, (0, 20, 30), strict=True)
        ]

    @pytest.mark.parametrize(
        ("limit", "drawn", "far"),
        [
            pytest.param(None, {}, 0, id="no cap"),
            pytest.param(40, {"state-u → acme": 40}, 0, id="a limit near the line is a tick"),
            pytest.param(5760, {}, 1, id="a far one would flatten the lines, and is told"),
            pytest.param(0, {"state-u → acme": 0}, 0, id="a cap of nothing"),
        ],
    )
    def test_a_limit_is_a_tick_where_it_can_be_seen(self, limit, drawn, far):
        found = page(pair(limit=limit))
        assert ticks(found) == drawn
        assert charts.limits_out_of_sight(found) == far

    def test_many_pairs_are_drawn_as_far_as_they_can_be_told_apart(self):
        found = page(*(pair(first=f"inst-{n}") for n in range(20)))
        chart = charts.over_time(found, dark=True)
        drawn = {row["pair"] for row in chart.spec["data"]["values"]}
        assert len(drawn) == charts.DRAWN == len(charts.COLOURS) == len(charts.DASHES)
        assert chart.alt.endswith("14 more pairs are in the table.")

    def test_the_sentence_says_what_the_lines_show(self):
        found = page(pair(limit=40), pair(first="arl", hours=(0, 5, 0)))
        assert charts.over_time(found, dark=False).alt == (
            "Balance of each pair over time, in H100e-hours, lent less returned."
            " state-u → acme: 30.00 more lent, the cap lets 40.00 through; arl → acme: even."
        )

    def test_it_has_the_inks_of_its_theme(self):
        spec = charts.over_time(page(pair()), dark=True).spec
        assert spec["encoding"]["x"]["axis"]["labelColor"] == DARK_INK
        assert spec["encoding"]["color"]["scale"]["range"] == list(charts.COLOURS_DARK)


class TestPage:
    def test_every_pair_is_a_row_with_its_cap_and_what_that_lets_through(self, open_page):
        at = open_page("sharing", by="account", days="7")
        rows = {(row["Lent more"], row["Borrowed more"]): row for row in of(at, "Came back")}
        capped = rows["state\\-u", "acme\\-robotics"]
        # The demo's agreement lends eight GPUs: seven days of them.
        assert (capped["Cap"], capped["Cap lets through"]) == ("8 GPUs", "1,344")
        assert capped["Agreements"] == "state\\-u\\-lends\\-industry"
        within = rows["state\\-u\\-nlp", "acme\\-robotics"]
        assert {within["Cap"], within["Cap lets through"], within["Of that lent"]} == {"–"}  # noqa: RUF001
        assert within["Agreements"] == "quotas"
        assert "far above the lines" in said(at)

    def test_what_stays_within_one_group_is_no_balance_and_the_page_says_so(self, open_page, hub):
        inside = hub.loans[0]
        hub.loans = [inside.__class__(**_fields(inside))]
        at = open_page("sharing", by="sector", days="365")
        assert "Whatever was lent stayed within one sector" in said(at)

    def test_nobody_lent_and_nothing_is_drawn(self, open_page, hub):
        hub.loans = []
        at = open_page("sharing")
        assert "Nobody lent or borrowed" in "".join(each.proto.title for each in at.info) + said(at)
        assert "Balance of each pair" not in said(at)


def _fields(loan):
    own = {name: getattr(loan, name) for name in loan.__slots__}
    return own | {"borrower": loan.lender}
