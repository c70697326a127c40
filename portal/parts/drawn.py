"""Pictures and tables, handed to Streamlit as Arrow.

Streamlit would make a pandas table of our rows first, which costs a page more than anything else
that it does (a fifth of Home, measured).
"""

from collections.abc import Sequence

import pyarrow as pa
import streamlit as st

from portal.charts.base import Chart
from portal.format import plain


def picture(chart: Chart) -> None:
    """Draw a chart, with its sentence for who cannot see it."""
    spec = dict(chart.spec)
    rows = spec.pop("data")["values"]  # type: ignore[index]
    st.vega_lite_chart(pa.Table.from_pylist(rows), spec, alt=chart.alt)


def table(rows: Sequence[dict[str, str]], alt: str) -> None:
    """Draw rows of plain text, all of the same columns."""
    shown = [{name: plain(cell) for name, cell in row.items()} for row in rows]
    st.table(pa.Table.from_pylist(shown), hide_index=True, alt=alt)
