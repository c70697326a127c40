"""The pages about lending and use, without a browser: what a person reads and can press."""

import io
from datetime import timedelta

import pytest
from rich.console import Console

from portal.charts import sharing as charts_sharing
from portal.charts import usage as charts_usage
from portal.commands.sharing_tables import loans_table, print_ledger, print_usage
from portal.format import when_used_up
from scheduler.core.ledger import By
from tests.portal import lent_days
from tests.portal.fake_hub import FakeHub
from tests.portal.test_pages import closed_connections, field, said

__all__ = ["closed_connections"]

HUB = FakeHub()


def ledger(by=By.SECTOR, user="iris"):
    query = lent_days.LedgerQuery(by=by)
    return lent_days.page(HUB, user, query)


def of(at, column):
    """Return the rows of the table that has this column."""
    found = (table.value.astype(str).to_dict("records") for table in at.table)
    return next(table for table in found if column in table[0])


class TestSharing:
    def test_the_matrix_says_what_the_picture_shows(self, open_page):
        at = open_page("sharing")
        matrix = of(at, "Lender")
        assert {(row["Lender"], row["Borrower"]) for row in matrix} >= {("academic", "industry")}
        alts = [each.proto.alt for each in at.get("vega_lite_chart")]
        assert any("Net balance in H100e-hours" in alt for alt in alts)

    def test_nets_add_up_to_zero(self, open_page):
        at = open_page("sharing", by="account", days="90")
        nets = [float(row["Net"].replace(",", "")) for row in of(at, "Net")]
        assert sum(nets) == pytest.approx(0, abs=len(nets) * 0.5)  # each is rounded to be read
        assert {row["Account"] for row in of(at, "Net")} >= {"state\\-u", "acme\\-robotics"}

    def test_the_address_holds_what_is_looked_at(self, open_page):
        at = open_page("sharing", by="institution", days="7")
        assert field(at.selectbox, "By").value == "institution"
        assert field(at.selectbox, "Days back").value == "7"

    def test_only_loans_of_the_persons_accounts_are_listed(self, open_page):
        at = open_page("sharing", "alex")
        assert "state\\-u, state\\-u\\-nlp" in said(at)
        for row in of(at, "Under"):
            assert "state" in row["Lender"] + row["Borrower"]

    def test_who_has_no_loans_sees_the_sums_and_is_told(self, open_page):
        at = open_page("sharing", "zoe")
        assert "None of them lent or borrowed" in said(at)
        assert of(at, "Lender")

    def test_recall_times_stand_against_the_promise(self, open_page):
        late = next(row for row in of(open_page("sharing"), "p99") if "nlp" in row["Owner"])
        assert (late["p99"], late["Longest notice"], late["Late"]) == ("10 min 55 s", "10 min", "1")

    def test_concentration_is_told_per_tier_with_a_word(self, open_page):
        tiers = {row["Tier"]: row for row in of(open_page("sharing"), "Concentration")}
        assert tiers["Institution"]["Concentration"] == "1.00, high"
        assert tiers["Institution"]["Largest"] == "industry, 100%"

    def test_without_loans_it_says_in_three_lines_how_lending_works(self, open_page, hub):
        hub.loans = []
        at = open_page("sharing")
        assert at.info[0].title == "Nobody lent or borrowed in this time"
        assert [line[:2] for line in at.info[0].value.splitlines()] == ["1.", "2.", "3."]

    def test_simulated_loans_are_said_to_be(self, open_page):
        assert "SIMULATED" in [each.title for each in open_page("sharing").warning]


class TestUsage:
    def test_budgets_say_used_reserved_left_and_until_when(self, open_page):
        budgets = of(open_page("usage"), "Budget")
        assert [row["Budget"] for row in budgets] == [
            "arl\\-2026",
            "arl\\-vision\\-q4",
            "nation",
        ]
        assert budgets[0]["Limit"] == "9,000.0"
        assert " to " in budgets[0]["Used up"]

    def test_the_chosen_budget_says_how_long_it_lasts(self, open_page):
        at = open_page("usage", budget="nation")
        assert "**nation**" in said(at)
        assert "lasts until" in said(at).replace("\\", "")

    def test_the_persons_own_account_is_drawn_first_and_the_address_may_name_another(
        self, open_page
    ):
        assert field(open_page("usage").selectbox, "Account").value == "arl-vision"
        assert field(open_page("usage", account="arl").selectbox, "Account").value == "arl"

    def test_without_budgets_it_says_what_limits_then(self, open_page, hub):
        hub.budgets = []
        assert "No budget binds your accounts" in said(open_page("usage"))

    def test_who_is_in_no_account_is_told_how_to_get_into_one(self, open_page):
        at = open_page("usage", "zoe")
        assert "You are in no account yet" in said(at)
        assert not at.table

    def test_where_nothing_was_measured_it_says_so(self, open_page, hub):
        hub.waste = ()
        assert "Nothing was measured" in said(open_page("usage"))

    def test_much_leased_and_little_used_is_waste(self):
        by_name = {row.account: row for row in lent_days.waste()}
        assert charts_usage.is_waste(by_name["acme-robotics"], 3000)
        assert not charts_usage.is_waste(by_name["state-u-bio"], 3000)
        assert not charts_usage.is_waste(by_name["arl-speech"], 0)


class TestWords:
    def test_every_name_of_the_sankey_is_one_end_only(self):
        spec = charts_sharing.flows(ledger(By.ACCOUNT).matrix, dark=False).spec
        series = spec["series"][0]
        names = [node["name"] for node in series["data"]]
        assert len(names) == len(set(names))
        assert {link["source"] for link in series["links"]}.isdisjoint(
            link["target"] for link in series["links"]
        )

    @pytest.mark.parametrize(
        ("index", "word"), [(0.05, "low"), (0.1, "moderate"), (0.18, "moderate"), (0.19, "high")]
    )
    def test_concentration_has_the_guidelines_words(self, index, word):
        assert charts_sharing.word_of(index) == word

    def test_when_a_budget_is_used_up_is_said_as_surely_as_it_is_known(self):
        one = lent_days.budgets(HUB.now)[0]

        def word(**changed):
            return when_used_up(one.model_copy(update=changed))

        assert word(per_day=None) == "too few days to tell"
        assert word(earliest=None).startswith("lasts until")
        assert "may last" in word(latest=None)
        assert word(latest=None, likely=None).startswith("probably lasts")
        assert word(latest=one.earliest, likely=one.earliest) == f"{one.earliest}"

    def test_the_terminal_shows_the_same(self):
        out = io.StringIO()
        console = Console(file=out, width=140)
        print_ledger(console, ledger())
        print_usage(console, lent_days.usage(HUB, "dana", 28))
        console.print(loans_table(ledger(), HUB.now + timedelta(hours=1)))
        text = out.getvalue()
        for words in ("all", "0.00", "Institution tier: concentration 1.00", "SIMULATED", "nation"):
            assert words in text
        assert "recalled" in text
