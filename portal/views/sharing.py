"""Who lent what to whom, and how soon owners had their own back."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import streamlit as st

from portal.charts import sharing as charts
from portal.client.ledger import FileKind, ledger, ledger_file
from portal.format import TIER_WORDS, count, moment, plain, zone_name
from portal.parts.drawn import markdown_table, picture
from portal.parts.pair_balances import draw_pairs
from portal.parts.problems import panel
from portal.session import Visit, is_dark, latest, visit
from scheduler.core.ledger import By
from scheduler.wire.ledger import LedgerPage

EVERY = "60s"
# The address holds these words as they are, so they are not dressed up.
WINDOWS = ["7", "30", "90", "365"]
GROUPS = {"sector": "Sector", "institution": "Institution", "account": "Account"}
SHOWN = 100
NONE = "\N{EN DASH}"  # nothing there


def page() -> None:
    """Draw what is chosen, which the address keeps, and the ledger."""
    st.title("Sharing")
    st.caption(
        "What owners leave idle, others use. Each loan stands here twice: lent by one, borrowed"
        " by another, in H100e-hours (GPU-hours in terms of an H100). Both sides always add up"
        " to zero."
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        days = st.selectbox(
            "Days back",
            WINDOWS,
            index=1,
            key="days",
            bind="query-params",
            width=220,
        )
        by = st.selectbox(
            "By",
            list(GROUPS),
            key="by",
            bind="query-params",
            width=220,
        )
    panel(_ledger, EVERY)(int(days or 30), By(by or "sector"))


def _ledger(days: int, by: By) -> None:
    here = visit()
    since = here.now - timedelta(days=days)
    found = latest(f"ledger {days} {by}", lambda: ledger(here.hub, since, by, limit=SHOWN))
    if not found.loans_in_all:
        _explain()
        _recalls(found)
        return
    _say_simulated(found)
    _numbers(found)
    _flows(found)
    _balances(found)
    draw_pairs(days, by)
    _loans(found, here)
    _recalls(found)
    _concentration(found)
    _files(here, days)


def _explain() -> None:
    st.info(
        "1. An account lends the part of its guarantee that the policy lets others use"
        " (`lend_max`), and an agreement opens a pool to outsiders.\n"
        "2. While it is idle, others' jobs run on it as *borrowed*; nobody asks, the planner"
        " places them.\n"
        "3. When the owner's own job comes, borrowers get their notice to checkpoint and leave,"
        " and this page says how long that took.",
        title="Nobody lent or borrowed in this time",
        icon=":material/handshake:",
    )
    st.page_link("views/capacity.py", label="See who may lend how much", icon=":material/dns:")


def _say_simulated(found: LedgerPage) -> None:
    if not found.simulated_loans:
        return
    every = found.simulated_loans == found.loans_in_all
    which = "All" if every else f"{found.simulated_loans:,} of {found.loans_in_all:,}"
    st.warning(
        f"{which} loans of this time were of simulated GPUs: counted, but no GPU stood behind"
        " them.",
        title="SIMULATED",
        icon=":material/science:",
    )


def _numbers(found: LedgerPage) -> None:
    lent = sum((row.lent_h100e_seconds for row in found.balances), Decimal(0))
    recalled = sum(row.recalls for row in found.balances)
    with st.container(horizontal=True):
        st.metric("H100e-hours lent", charts.amount(lent), border=True, width="content")
        st.metric("Loans", f"{found.loans_in_all:,}", border=True, width="content")
        st.metric(
            "Recalled",
            f"{recalled:,}",
            border=True,
            width="content",
            help="Loans that ended because an owner took its GPUs back.",
        )


def _flows(found: LedgerPage) -> None:
    st.header("Who lent to whom", divider="gray")
    chart = charts.flows(found.matrix, dark=is_dark())
    drawn, table = st.tabs(["Chart", "View as a table"], key="flows")
    with drawn:
        st.echarts_chart(chart.spec, height=charts.flows_pixels(found.matrix), alt=chart.alt)
    markdown_table(
        [
            {
                "Lender": plain(cell.lender),
                "Borrower": plain(cell.borrower),
                "H100e-hours": charts.amount(cell.h100e_seconds),
                "Loans": cell.loans,
            }
            for cell in found.matrix
        ],
        where=table,
        alt=chart.alt,
    )


def _balances(found: LedgerPage) -> None:
    st.header("Net balance", divider="gray")
    st.caption("Lent less borrowed: to the right, others had more of theirs than they of others'.")
    chart = charts.balances(found.balances, dark=is_dark())
    drawn, table = st.tabs(["Chart", "View as a table"], key="balances")
    with drawn:
        picture(chart)
    markdown_table(
        [
            {
                GROUPS[found.by.value]: plain(row.name),
                "Lent": charts.amount(row.lent_h100e_seconds),
                "Borrowed": charts.amount(row.borrowed_h100e_seconds),
                "Net": charts.amount(row.net_h100e_seconds),
                "Lent, then recalled": charts.amount(row.recalled_h100e_seconds),
                "Recalls": row.recalls,
            }
            for row in found.balances
        ],
        where=table,
        alt=chart.alt,
    )


def _loans(found: LedgerPage, here: Visit) -> None:
    whose = "All loans" if found.entries_of is None else "Loans of your accounts"
    st.header(whose, divider="gray")
    if found.entries_of is not None:
        names = ", ".join(map(plain, found.entries_of)) or "none yet"
        st.caption(f"Your accounts, and those above them: {names}. Sums above are everybody's.")
    if not found.loans:
        st.info("None of them lent or borrowed in this time.", icon=":material/event_available:")
        return
    window = charts.Window(found.since, found.until)
    chart = charts.loans(found.loans, window, dark=is_dark())
    drawn, table = st.tabs(["Chart", "View as a table"], key="loans")
    with drawn:
        picture(chart)
    if any(loan.recalled_at for loan in found.loans):
        drawn.caption("A triangle is a recall: the owner took its GPUs back.")
    markdown_table([_loan(found, row, here) for row in range(len(found.loans))], where=table)
    table.caption(f"Times are in {zone_name(here.now, here.zone)}.")
    if found.next:
        st.caption(f"The newest {count(SHOWN, 'loan')}. All are in the files below.")


def _loan(found: LedgerPage, place: int, here: Visit) -> dict[str, str | int]:
    loan = found.loans[place]
    lent = next((row.h100e_seconds for row in found.entries if row.loan == loan.loan), Decimal(0))
    ended = "goes on" if loan.ended_at is None else moment(loan.ended_at, here.now, here.zone)
    recalled = moment(loan.recalled_at, here.now, here.zone) if loan.recalled_at else NONE
    return {
        "Lender": plain(loan.lender.account),
        "Borrower": plain(loan.borrower.account),
        "Pool": plain(loan.pool),
        "GPUs": loan.gpus,
        "From": moment(loan.started_at, here.now, here.zone),
        "To": ended,
        "Recalled": recalled,
        "H100e-hours": charts.amount(lent),
        "Under": plain(loan.agreement or "quotas"),
    }


def _recalls(found: LedgerPage) -> None:
    if not found.recalls:
        return
    st.header("How soon owners had their own back", divider="gray")
    st.caption(
        "From the decision to take GPUs back until the owner's job ran. Kept is within the"
        " notice that borrowers were promised, and the teardown."
    )
    chart = charts.recalls(found.recalls, dark=is_dark())
    drawn, table = st.tabs(["Chart", "View as a table"], key="recalls")
    with drawn:
        picture(chart)
    markdown_table(
        [
            {
                "Owner": plain(row.lender or "all"),
                "Recalls": row.recalls,
                "Kept": row.kept,
                "Late": row.late,
                "Given up": row.given_up,
                "p50": NONE if row.p50_seconds is None else charts.seconds(row.p50_seconds),
                "p99": NONE if row.p99_seconds is None else charts.seconds(row.p99_seconds),
                "Longest notice": charts.seconds(row.longest_notice_seconds),
            }
            for row in found.recalls
        ],
        where=table,
        alt=chart.alt,
    )


def _concentration(found: LedgerPage) -> None:
    st.header("Is it shared by many?", divider="gray")
    st.caption(
        "Concentration is Herfindahl and Hirschman's index of what was borrowed in a tier: the sum"
        " of squared shares. 1 is one borrower alone, 0.25 is as four equal ones; above 0.18 is"
        " high."
    )
    markdown_table(
        [
            {
                "Tier": TIER_WORDS[row.tier],
                "Concentration": f"{row.index:.2f}, {charts.word_of(row.index)}",
                "Borrowers": row.borrowers,
                "Largest": f"{plain(row.largest)}, {row.largest_share:.0%}",
            }
            for row in found.concentration
        ],
        alt="Concentration of borrowing by tier",
    )


def _files(here: Visit, days: int) -> None:
    st.header("Take it with you", divider="gray")
    st.caption("Both entries of every loan that you may see, exact to the last place.")
    with st.container(horizontal=True):
        for kind, mime in (
            (FileKind.CSV, "text/csv"),
            (FileKind.PARQUET, "application/vnd.apache.parquet"),
        ):
            st.download_button(
                f"Entries as {kind.value.capitalize() if kind is FileKind.PARQUET else 'CSV'}",
                # Asked for when it is pressed: most who look at the page take nothing along.
                data=_fetch(here, days, kind),
                file_name=f"commonpool-ledger-{days}-days.{kind.value}",
                mime=mime,
                on_click="ignore",
                icon=":material/download:",
            )


def _fetch(here: Visit, days: int, kind: FileKind) -> Callable[[], bytes]:
    return lambda: ledger_file(here.hub, here.now - timedelta(days=days), kind)


page()
