"""Pictures and tables, handed to Streamlit as Arrow.

Streamlit would make a pandas table of our rows first, which costs a page more than anything else
that it does (a fifth of Home, measured).
"""

from collections.abc import Mapping, Sequence

import pyarrow as pa
import streamlit as st

from portal.charts.base import Chart
from portal.format import plain


def picture(chart: Chart) -> None:
    """Draw a chart, with its sentence for who cannot see it."""
    spec = dict(chart.spec)
    data = spec.get("data")
    rows = data.get("values") if isinstance(data, dict) else None
    if not rows:  # its layers have rows of their own, or there are none
        st.vega_lite_chart(spec, alt=chart.alt)
        return
    del spec["data"]
    st.vega_lite_chart(arrow(rows), spec, alt=chart.alt)


def table(rows: Sequence[Mapping[str, str]], alt: str) -> None:
    """Draw rows of plain text."""
    shown = [{name: plain(cell) for name, cell in row.items()} for row in rows]
    st.table(arrow(shown), hide_index=True, alt=alt)


def arrow(rows: Sequence[Mapping[str, object]]) -> pa.Table:
    """Return rows as a table of Arrow's; a row without a column has nothing there."""
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: [row.get(name) for row in rows] for name in names})
