"""The tree of accounts: weights, recent use, and who goes next."""

import pandas as pd  # type: ignore[import-untyped]  # it ships no types
import streamlit as st

from portal.charts.base import in_tree, usage
from portal.format import plain
from portal.parts.drawn import picture
from portal.parts.problems import panel
from portal.session import is_dark, latest, visit
from scheduler.wire.accounts import AccountView

HOURS = ("Recent H100e-hours", "Per weight")
INDENT = "\N{NO-BREAK SPACE}" * 4


def page() -> None:
    """Draw the page."""
    st.title("Accounts")
    st.caption(
        "Between accounts, the one that lately used least for its weight goes first. H100e-hours"
        " are GPU-hours in terms of an H100; what is past counts less and less."
    )
    panel(_tree, "10s")()


def _tree() -> None:
    ordered = in_tree(latest("accounts", visit().hub.accounts).accounts)
    if not ordered:
        st.info(
            "There is no account yet. An administrator loads a policy, which names them:"
            " `commonpool policy apply FILE`.",
            icon=":material/account_tree:",
        )
        return
    chart = usage([account for account, _ in ordered], dark=is_dark())
    table, drawn = st.tabs(["Table", "Chart"])
    rows = pd.DataFrame([_row(account, depth) for account, depth in ordered])
    table.table(
        rows.style.format("{:,.2f}", subset=list(HOURS)),
        hide_index=True,
        alt="Accounts as a tree with sector, weight, recent use, share, GPUs and waiting jobs",
    )
    with drawn:
        picture(chart)


def _row(account: AccountView, depth: int) -> dict[str, str | float]:
    return {
        "Account": INDENT * depth + plain(account.account),
        "Sector": account.sector.value,
        "Weight": account.weight,
        "Recent H100e-hours": round(account.h100e_seconds / 3600, 2),
        "Per weight": round(account.share / 3600, 2),
        "GPUs in use": account.running_gpus,
        "Jobs waiting": account.pending_jobs,
    }


page()
