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
    markdown_table([{name: plain(cell) for name, cell in row.items()} for row in rows], alt)


def markdown_table(
    rows: Sequence[Mapping[str, object]],
    alt: str | None = None,
    where: "st.delta_generator.DeltaGenerator | None" = None,
) -> None:
    """Draw rows whose texts are Markdown already, on the page or `where`."""
    (where or st).table(arrow(rows), hide_index=True, alt=alt)


def arrow(rows: Sequence[Mapping[str, object]]) -> pa.Table:
    """Return rows as a table of Arrow's; a row without a column has nothing there.

    A column that has numbers and words is one of words: Arrow's columns are of one type.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: _column([row.get(name) for row in rows]) for name in names})


def _column(cells: Sequence[object]) -> Sequence[object]:
    kinds = {type(cell) for cell in cells if cell is not None}
    if str in kinds and len(kinds) > 1:
        return [None if cell is None else str(cell) for cell in cells]
    return cells
