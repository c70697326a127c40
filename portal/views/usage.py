"""What the person's accounts used, what is left of their budgets, and until when."""

import csv
import io
from collections.abc import Sequence

import streamlit as st

from portal.charts import usage as charts
from portal.charts.base import in_tree
from portal.client.ledger import usage
from portal.format import plain, when_used_up
from portal.parts.drawn import markdown_table, picture
from portal.parts.problems import panel
from portal.session import is_dark, latest, visit
from scheduler.wire.operating import WastePage
from scheduler.wire.usage import AccountUsage, BudgetView, UsagePage

EVERY = "60s"
# The address holds these words as they are, so they are not dressed up.
WINDOWS = ["7", "28", "90"]
MOST_WASTE_DAYS = 31
INDENT = "\N{NO-BREAK SPACE}" * 4


def page() -> None:
    """Draw the time, which the address keeps, then budgets and use."""
    st.title("Usage and budgets")
    st.caption(
        "H100e-hours are GPU-hours in terms of an H100. Each account's numbers hold those of all"
        " accounts below it."
    )
    days = st.selectbox(
        "Days back",
        WINDOWS,
        index=1,
        key="days",
        bind="query-params",
        width=220,
    )
    panel(_usage, EVERY)(int(days or 28))


def _usage(days: int) -> None:
    here = visit()
    found = latest(f"usage {days}", lambda: usage(here.hub, days))
    if not found.accounts:
        st.info(
            "You are in no account yet, so there is nothing to tell. Whom to ask says the page"
            " Projects and members.",
            icon=":material/group_off:",
        )
        return
    _budgets(found)
    _days(found)
    _waste(days)
    _file(found, days)


def _budgets(found: UsagePage) -> None:
    st.header("Budgets", divider="gray")
    if not found.budgets:
        st.info(
            "No budget binds your accounts: how much you may use at once is limited by quotas"
            " alone. An administrator adds a budget to the policy (`budgets`).",
            icon=":material/savings:",
        )
        return
    st.caption(
        "In H100e-hours. Reserved is what running jobs may use up to their time limits, and what"
        " advance reservations cost: a job starts only where its whole cost is left."
    )
    chart = charts.bullets(found.budgets, dark=is_dark())
    drawn, table = st.tabs(["Chart", "View as a table"], key="bullets")
    with drawn:
        picture(chart)
    markdown_table([_budget(one) for one in found.budgets], where=table, alt=chart.alt)
    _burn({one.budget: one for one in found.budgets})


def _budget(one: BudgetView) -> dict[str, str]:
    amounts = {"Used": one.used, "Reserved": one.reserved, "Left": one.left, "Limit": one.limit}
    return {
        "Budget": plain(one.budget),
        "Account": plain(one.account),
        **{name: f"{amount:,.1f}" for name, amount in amounts.items()},
        "Per day": "\N{EN DASH}" if one.per_day is None else f"{one.per_day:,.1f}",
        "Used up": when_used_up(one),
        "Valid": f"{one.valid_from:%Y-%m-%d} to {one.valid_to:%Y-%m-%d}",
    }


def _burn(budgets: dict[str, BudgetView]) -> None:
    st.subheader("How long it lasts")
    name = next(iter(budgets))
    if len(budgets) > 1:
        name = st.selectbox("Budget", list(budgets), key="budget", bind="query-params") or name
    budget = budgets[name]
    st.markdown(f"**{plain(name)}**: {plain(_outlook(budget))}")
    chart = charts.burn_down(budget, dark=is_dark())
    drawn, table = st.tabs(["Chart", "View as a table"], key="burn")
    with drawn:
        picture(chart)
    if budget.cone:
        drawn.caption(
            "The line is what was left; the dashed one goes on at the pace of the chosen time, and"
            " in 8 of 10 cases it stays within the shade."
        )
    markdown_table(
        [
            {"Day (UTC)": one.day.isoformat(), "Left": f"{one.left:,.1f}"}
            for one in reversed(budget.burn[-31:])
        ],
        where=table,
        alt=chart.alt,
    )


def _outlook(one: BudgetView) -> str:
    if one.per_day is None:
        return "it needs three whole days of this time to say how long it lasts."
    pace = f"at {one.per_day:,.1f} H100e-hours per day"
    if one.earliest is None:
        return f"{pace} it {when_used_up(one)}."
    return f"{pace} it is used up: {when_used_up(one)}."


def _days(found: UsagePage) -> None:
    st.header("GPU-hours by day", divider="gray")
    accounts = {row.account: row for row in found.accounts}
    # The last of the list is the deepest: the person's own, not the nation's.
    name = st.selectbox(
        "Account", list(accounts), index=len(accounts) - 1, key="account", bind="query-params"
    )
    account = accounts[name or found.accounts[-1].account]
    drawn, table = st.tabs(["Chart", "View as a table"], key="by-day")
    if account.gpu_hours:
        chart = charts.by_day(account, dark=is_dark())
        with drawn:
            picture(chart)
    else:
        drawn.info("No GPU-hours in this time.", icon=":material/bedtime:")
    markdown_table(
        [_account(row, depth) for row, depth in in_tree(found.accounts)],
        where=table,
        alt="GPU-hours of each account in this time, by how they were had",
    )


def _account(row: AccountUsage, depth: int) -> dict[str, str]:
    parts = {
        "In quota": sum(day.in_quota_gpu_hours for day in row.days),
        "Borrowed": sum(day.borrowed_gpu_hours for day in row.days),
        "Background": sum(day.background_gpu_hours for day in row.days),
        "GPU-hours": row.gpu_hours,
        "Charged H100e-hours": row.charged_h100e_hours,
    }
    return {
        "Account": INDENT * depth + plain(row.account),
        **{name: f"{hours:,.2f}" for name, hours in parts.items()},
    }


def _waste(days: int) -> None:
    here, span = visit(), min(days, MOST_WASTE_DAYS)
    found = latest(f"waste {span}", lambda: here.hub.waste(span), quietly=True)
    st.header("Leased and at work", divider="gray")
    st.caption(
        "At work is the part of the measured time in which the GPUs' multiprocessors were active."
        " Large leases that worked little (triangles, lower right) are where most can be won."
        + (f" Of the last {span} days." if span < days else "")
    )
    _drawn_waste(found)


def _drawn_waste(found: WastePage) -> None:
    if not any(row.share_used is not None for row in found.accounts):
        st.info(
            "Nothing was measured in this time: node agents report how busy GPUs are.",
            icon=":material/speed:",
        )
        return
    chart = charts.waste(found.accounts, dark=is_dark())
    drawn, table = st.tabs(["Chart", "View as a table"], key="waste")
    with drawn:
        picture(chart)
    markdown_table(
        [
            {
                "Account": plain(row.account),
                "GPU-hours leased": f"{row.leased_gpu_hours:,.1f}",
                "Measured": f"{row.measured_gpu_hours:,.1f}",
                "At work": f"{row.used_gpu_hours:,.1f}",
                "Part at work": "not measured"
                if row.share_used is None
                else f"{row.share_used:.0%}",
            }
            for row in found.accounts
        ],
        where=table,
        alt=chart.alt,
    )


def _file(found: UsagePage, days: int) -> None:
    st.header("Take it with you", divider="gray")
    st.download_button(
        "Usage by account and day as CSV",
        data=_csv(found.accounts),
        file_name=f"commonpool-usage-{days}-days.csv",
        mime="text/csv",
        on_click="ignore",
        icon=":material/download:",
    )


def _csv(accounts: Sequence[AccountUsage]) -> str:
    out = io.StringIO()
    rows = csv.writer(out)
    rows.writerow(("account", "sector", *type(accounts[0].days[0]).model_fields))
    for account in accounts:
        for day in account.days:
            rows.writerow((account.account, account.sector.value, *day.model_dump().values()))
    return out.getvalue()


page()
