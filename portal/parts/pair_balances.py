"""The balance between each two groups over time, on the page Sharing."""

from datetime import timedelta

import streamlit as st

from portal.charts import pair_balances as charts
from portal.charts.sharing import amount
from portal.client.ledger_pairs import pair_balances
from portal.format import count, plain
from portal.parts.drawn import markdown_table, picture
from portal.session import is_dark, latest, visit
from scheduler.core.ledger import By
from scheduler.wire.pair_balances import PairPage, PairView

ROWS_SHOWN = 50
NONE = "\N{EN DASH}"  # no such limit
TICK = (
    "A tick at a line's end is the most that its agreement's cap has let through by now: that"
    " many GPUs, lent all along."
)


def draw_pairs(days: int, by: By) -> None:
    """Draw the pairs that exchanged most as lines, and all of them as a table."""
    here = visit()
    since = here.now - timedelta(days=days)
    found = latest(f"pairs {days} {by}", lambda: pair_balances(here.hub, since, by), quietly=True)
    st.header("Balance of each pair over time", divider="gray")
    st.caption(
        "What the first lent the second, less what came back, added up since the window began:"
        f" a line that rises is lent, one that falls is paid back. {TICK}"
    )
    if not found.pairs:
        st.info(
            f"Whatever was lent stayed within one {by.value}, so no two have a balance.",
            icon=":material/balance:",
        )
        return
    chart = charts.over_time(found, dark=is_dark())
    drawn, table = st.tabs(["Chart", "View as a table"], key="pairs")
    with drawn:
        picture(chart)
    with drawn:
        _say_what_is_not_drawn(found)
    markdown_table([_row(pair) for pair in found.pairs[:ROWS_SHOWN]], where=table, alt=chart.alt)
    if len(found.pairs) > ROWS_SHOWN:
        table.caption(f"The {ROWS_SHOWN} pairs that exchanged most.")


def _say_what_is_not_drawn(found: PairPage) -> None:
    said = []
    rest = len(found.pairs) - charts.DRAWN
    if rest > 0:
        more = count(rest, "more pair")
        said.append(f"The {charts.DRAWN} pairs that exchanged most; {more} in the table.")
    far = charts.limits_out_of_sight(found)
    if far:
        said.append(
            f"{count(far, 'limit')} far above the lines, and in the table: a tick up there would"
            " flatten them."
        )
    if said:
        st.caption(" ".join(said))


def _row(pair: PairView) -> dict[str, str | int]:
    limit = pair.limit_h100e_seconds
    return {
        "Lent more": plain(pair.first),
        "Borrowed more": plain(pair.second),
        "Lent": amount(pair.lent_h100e_seconds),
        "Came back": amount(pair.returned_h100e_seconds),
        "Balance": amount(pair.lent_h100e_seconds - pair.returned_h100e_seconds),
        "Loans": pair.loans,
        "Cap": NONE if pair.cap_gpus is None else count(pair.cap_gpus, "GPU"),
        "Cap lets through": NONE if limit is None else amount(limit),
        "Of that lent": charts.share_of_limit(pair) or NONE,
        "Agreements": plain(", ".join(pair.agreements)) or "quotas",
    }
