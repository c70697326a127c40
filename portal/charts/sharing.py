"""Pictures of lending: who lent to whom, balances, loans over time, and what recalls took.

Each has the sentence that says the same, and a table beside it on the page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from portal.charts.base import DARK_INK, INK, LEGEND_PIXELS, ROW_PIXELS, Chart, names_above, spec_of
from portal.format import count, span
from scheduler.wire.diagnostics import RecallView
from scheduler.wire.ledger import BalanceView, CellView, LoanView

LENT, BORROWED = "#1f5fa8", "#b45309"
LENT_DARK, BORROWED_DARK = "#7db4f0", "#f0a95b"
MOST_ROWS = 20
_NODE_PIXELS = 64
_BAR_PIXELS = 60
_MOMENT = "%Y-%m-%d %H:%M"
_LABEL_PIXELS = (180, 112)


def hours(seconds: Decimal) -> float:
    """Return H100e-seconds in H100e-hours, as they are drawn; sums are made before."""
    return float(seconds / 3600)


def amount(seconds: Decimal) -> str:
    """Return H100e-seconds as people read them, in H100e-hours."""
    lent = hours(seconds)
    return f"{lent:,.2f}" if abs(lent) < 100 else f"{lent:,.0f}"  # noqa: PLR2004  # three places


def flows(matrix: Sequence[CellView], *, dark: bool) -> Chart:
    """Draw what lenders lent to borrowers, as a Sankey for ECharts."""
    left = _named([(cell.lender, cell.h100e_seconds) for cell in matrix], "lent")
    right = _named([(cell.borrower, cell.h100e_seconds) for cell in matrix], "borrowed")
    links = [
        {
            "source": left[cell.lender],
            "target": right[cell.borrower],
            "value": round(hours(cell.h100e_seconds), 6),
        }
        for cell in matrix
    ]
    said = "; ".join(
        f"{cell.lender} lent {cell.borrower} {amount(cell.h100e_seconds)} H100e-hours in"
        f" {count(cell.loans, 'loan')}"
        for cell in matrix
    )
    spec: dict[str, object] = {
        "tooltip": {"trigger": "item", "valueFormatter": "%,.2f H100e-hours"},
        "series": [_sankey(_ends((left, right), dark=dark), links, DARK_INK if dark else INK)],
    }
    return Chart(spec, f"Who lent to whom. {said}.")


def _ends(sides: Sequence[Mapping[str, str]], *, dark: bool) -> list[dict[str, object]]:
    """Return the lenders and the borrowers as a Sankey's nodes, each side in its colour."""
    colours = [LENT_DARK, BORROWED_DARK] if dark else [LENT, BORROWED]
    return [
        {
            "name": name,
            "depth": depth,
            "itemStyle": {"color": colours[depth]},
            "label": {"width": _LABEL_PIXELS[depth]},
        }
        for depth, side in enumerate(sides)
        for name in side.values()
    ]


def _sankey(nodes: Sequence[object], links: Sequence[object], ink: str) -> dict[str, object]:
    return {
        "type": "sankey",
        "data": nodes,
        "links": links,
        # Lenders' names stand over the flows; borrowers' need a side to themselves.
        "left": 4,
        "right": 120,
        "top": 20,  # a thin end's name of two lines is higher than the end
        "bottom": 20,
        "nodeWidth": 14,
        "nodeGap": 26,
        "draggable": False,
        "emphasis": {"disabled": True},
        "label": {"color": ink, "fontSize": 14, "lineHeight": 18, "overflow": "truncate"},
        "lineStyle": {"color": "gradient", "opacity": 0.35},
    }


def flows_pixels(matrix: Sequence[CellView]) -> int:
    """Return how high the Sankey is to be, so that its names have room."""
    sides = max(len({cell.lender for cell in matrix}), len({cell.borrower for cell in matrix}), 2)
    return 90 + _NODE_PIXELS * sides


def _named(ends: Sequence[tuple[str, Decimal]], word: str) -> dict[str, str]:
    """Return each name with its sum: who lends and borrows is two ends, never a circle."""
    sums: dict[str, Decimal] = {}
    for name, seconds in ends:
        sums[name] = sums.get(name, Decimal(0)) + seconds
    return {name: f"{name}\n{amount(seconds)} {word}" for name, seconds in sums.items()}


def balances(rows: Sequence[BalanceView], *, dark: bool) -> Chart:
    """Draw each group's net: right of zero it lent more, left of it it borrowed more."""
    names = [f"{row.name}: {_signed(row.net_h100e_seconds)}" for row in rows]
    data: list[dict[str, object]] = [
        {
            "who": name,
            "net": round(hours(row.net_h100e_seconds), 6),
            "lent": amount(row.lent_h100e_seconds),
            "borrowed": amount(row.borrowed_h100e_seconds),
        }
        for name, row in zip(names, rows, strict=True)
    ]
    most = max((abs(hours(row.net_h100e_seconds)) for row in rows), default=0.0) or 1.0
    body: dict[str, object] = {
        "mark": {"type": "bar", "height": 26, "yOffset": 10},
        "encoding": {
            "y": names_above("who", names, dark=dark),
            "x": {
                "field": "net",
                "type": "quantitative",
                "title": None,
                # Nothing of an axis but the line where lent and borrowed are even.
                "axis": {
                    "values": [0],
                    "labels": False,
                    "ticks": False,
                    "domain": False,
                    "gridColor": DARK_INK if dark else INK,
                },
                "scale": {"domain": [-most, most]},
            },
            "color": {
                "condition": {
                    "test": "datum.net < 0",
                    "value": BORROWED_DARK if dark else BORROWED,
                },
                "value": LENT_DARK if dark else LENT,
            },
            "tooltip": [{"field": each} for each in ("who", "lent", "borrowed")],
        },
    }
    said = f"Net balance in H100e-hours, lent less borrowed. {'; '.join(names)}."
    return Chart(spec_of(data, ROW_PIXELS * len(rows) + 10, body, dark=dark), said)


def _signed(seconds: Decimal) -> str:
    if not seconds:
        return "even"
    word = "lent" if seconds > 0 else "borrowed"
    return f"{amount(abs(seconds))} more {word}"


@dataclass(frozen=True, slots=True)
class Window:
    """Between which times loans are drawn."""

    since: datetime
    until: datetime


def loans(rows: Sequence[LoanView], window: Window, *, dark: bool) -> Chart:
    """Draw loans as bars over time, a row for each pair and pool; recalls are marked."""
    pairs = list(dict.fromkeys(pair_of(row) for row in rows))[:MOST_ROWS]
    data: list[dict[str, object]] = [
        {
            "pair": pair_of(row),
            "GPUs": row.gpus,
            "from": max(row.started_at, window.since).isoformat(),
            "to": (row.ended_at or window.until).isoformat(),
            "recalled": row.recalled_at.isoformat() if row.recalled_at else None,
        }
        for row in rows
        if pair_of(row) in pairs
    ]
    # The layers share their rows: filtered ones would not share the scale of time.
    time = {
        "type": "temporal",
        "title": None,
        "axis": _time_axis(dark=dark),
        "scale": {"domain": [window.since.isoformat(), window.until.isoformat()]},
    }
    body: dict[str, object] = {
        "encoding": {"y": names_above("pair", pairs, dark=dark)},
        "layer": [_bars(time, dark=dark), _recall_marks(time, dark=dark)],
    }
    return Chart(spec_of(data, _BAR_PIXELS * len(pairs) + 40, body, dark=dark), _loans_said(rows))


def _bars(time: Mapping[str, object], *, dark: bool) -> dict[str, object]:
    return {
        "mark": {
            "type": "bar",
            "height": 16,
            "yOffset": 10,
            "opacity": 0.6,
            "cornerRadius": 2,
            "color": LENT_DARK if dark else LENT,
            "stroke": DARK_INK if dark else INK,
            "strokeWidth": 0.5,
        },
        "encoding": {
            "x": {**time, "field": "from"},
            # Without its type the end would read the scale's texts another way than the start.
            "x2": {"field": "to", "type": "temporal"},
            "tooltip": [
                {"field": "pair"},
                {"field": "GPUs"},
                {"field": "from", "type": "temporal", "format": _MOMENT},
                {"field": "to", "type": "temporal", "format": _MOMENT},
            ],
        },
    }


def _recall_marks(time: Mapping[str, object], *, dark: bool) -> dict[str, object]:
    return {
        "mark": {
            "type": "point",
            "shape": "triangle-down",
            "filled": True,
            "size": 130,
            "yOffset": -1,
            "color": BORROWED_DARK if dark else BORROWED,
            "opacity": 1,
        },
        "encoding": {
            "x": {**time, "field": "recalled"},
            "tooltip": [
                {"field": "pair"},
                {"field": "recalled", "type": "temporal", "format": _MOMENT},
            ],
        },
    }


def pair_of(loan: LoanView) -> str:
    """Return who lends whom, where."""
    return f"{loan.lender.account} → {loan.borrower.account}, {loan.pool}"


def _loans_said(rows: Sequence[LoanView]) -> str:
    recalled = sum(row.recalled_at is not None for row in rows)
    going = sum(row.ended_at is None for row in rows)
    return (
        f"{count(len(rows), 'loan')} over time, by lender, borrower and pool: {going} go on,"
        f" {recalled} were recalled (triangles)."
    )


def _time_axis(*, dark: bool) -> dict[str, object]:
    ink = DARK_INK if dark else INK
    return {"labelColor": ink, "domainColor": ink, "tickColor": ink, "grid": False, "tickCount": 5}


def recalls(rows: Sequence[RecallView], *, dark: bool) -> Chart:
    """Draw how long each lender waited for its own, p50 and p99, against the longest notice."""
    heads = {row.lender or "": _head(row) for row in rows}
    data: list[dict[str, object]] = []
    for row in rows:
        for what, took in (
            ("half within", row.p50_seconds),
            ("99 of 100 within", row.p99_seconds),
            ("promised notice", row.longest_notice_seconds),
        ):
            if took is not None:
                data.append({"lender": heads[row.lender or ""], "what": what, "seconds": took})
    most = max((float(str(row["seconds"])) for row in data), default=1.0) or 1.0
    words = ["half within", "99 of 100 within", "promised notice"]
    ink = DARK_INK if dark else INK
    colours = [LENT_DARK if dark else LENT, BORROWED_DARK if dark else BORROWED, ink]
    body: dict[str, object] = {
        "mark": {"type": "point", "filled": True, "size": 150, "yOffset": 10, "opacity": 1},
        "encoding": {
            "y": names_above("lender", list(heads.values()), dark=dark),
            "x": {
                "field": "seconds",
                "type": "quantitative",
                "title": "seconds",
                "scale": {"domain": [0, most * 1.05]},
                "axis": {"labelColor": ink, "titleColor": ink, "tickCount": 5},
            },
            "color": {
                "field": "what",
                "type": "nominal",
                "scale": {"domain": words, "range": colours},
                "legend": {"orient": "top", "title": None, "columns": 2},
            },
            "shape": {
                "field": "what",
                "type": "nominal",
                "scale": {"domain": words, "range": ["circle", "diamond", "square"]},
            },
            "tooltip": [{"field": each} for each in ("lender", "what", "seconds")],
        },
    }
    said = f"How long lenders waited for their own. {'; '.join(heads.values())}."
    return Chart(spec_of(data, ROW_PIXELS * len(heads) + 70 + LEGEND_PIXELS, body, dark=dark), said)


def _head(row: RecallView) -> str:
    p99 = "none back yet" if row.p99_seconds is None else f"p99 {seconds(row.p99_seconds)}"
    notice = seconds(row.longest_notice_seconds)
    return f"{row.lender}: {p99}, promised {notice}"


def seconds(took: float) -> str:
    """Return a length of time that is told in seconds, as people say it."""
    return span(timedelta(seconds=took)) if took >= 1 else f"{took:.1f} s"


def word_of(index: float) -> str:
    """Return how concentrated borrowing with this index is, in a word.

    Source: U.S. Department of Justice and FTC, Merger Guidelines (2023), guideline 1: markets
    above 1,800 points (0.18) are highly concentrated, and from 1,000 on moderately, as before.
    """
    if index > 0.18:  # noqa: PLR2004  # the guideline's
        return "high"
    return "moderate" if index >= 0.1 else "low"  # noqa: PLR2004  # as above
