"""The picture of reservations and maintenance: bars over time by pool, with a line at now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from portal.charts.base import DARK_INK, INK, LEGEND_PIXELS, Chart, names_above, spec_of
from portal.format import count
from portal.windows import MAINTENANCE, RESERVED, Window

MOST_ROWS = 30
_BAR_PIXELS = 60
_COLOURS = ("#1f5fa8", "#b45309")
_COLOURS_DARK = ("#7db4f0", "#f0a95b")
_Layers = list[dict[str, object]]
_MOMENT = "%Y-%m-%d %H:%M"


@dataclass(frozen=True, slots=True)
class Span:
    """Between which times windows are drawn, and where now is."""

    since: datetime
    now: datetime
    until: datetime


def head(window: Window) -> str:
    """Return where a window is and what it is: a row of the picture."""
    what = f"for {window.whose}" if window.what == RESERVED else MAINTENANCE
    return f"{window.pool}: {window.name}, {what}"


def gantt(windows: Sequence[Window], span: Span, *, dark: bool) -> Chart:
    """Draw each window as a bar on a row of its own, rows of one pool together."""
    shown = windows[:MOST_ROWS]
    heads = list(dict.fromkeys(head(window) for window in shown))
    rows: list[dict[str, object]] = [
        {
            "window": head(window),
            "what": window.what,
            "from": max(window.starts_at, span.since).isoformat(),
            "to": min(window.ends_at, span.until).isoformat(),
            "nodes": window.nodes,
            "why": window.reason,
        }
        for window in shown
    ]
    ink = DARK_INK if dark else INK
    time: dict[str, object] = {
        "type": "temporal",
        "title": None,
        "axis": {
            "labelColor": ink,
            "domainColor": ink,
            "tickColor": ink,
            "grid": False,
            "tickCount": 5,
        },
        "scale": {"domain": [span.since.isoformat(), span.until.isoformat()]},
    }
    bars, y = _bars(time, dark=dark), names_above("window", heads, dark=dark)
    body: dict[str, object] = {
        "layer": [
            {**bars, "encoding": {**bars["encoding"], "y": y}},
            *_now(time, span, y, ink),
        ],
    }
    height = _BAR_PIXELS * len(heads) + 40 + LEGEND_PIXELS
    return Chart(spec_of(rows, height, body, dark=dark), _said(windows, span))


def _bars(time: Mapping[str, object], *, dark: bool) -> dict[str, dict[str, object]]:
    return {
        "mark": {
            "type": "bar",
            "height": 18,
            "yOffset": 10,
            "cornerRadius": 2,
            "stroke": DARK_INK if dark else INK,
            "strokeWidth": 1,  # else an hour among months would not be seen
        },
        "encoding": {
            "x": {**time, "field": "from"},
            # Without its type the end would read the scale's texts another way than the start.
            "x2": {"field": "to", "type": "temporal"},
            "color": {
                "field": "what",
                "type": "nominal",
                "scale": {
                    "domain": [RESERVED, MAINTENANCE],
                    "range": list(_COLOURS_DARK if dark else _COLOURS),
                },
                "legend": {"orient": "top", "title": None, "symbolStrokeWidth": 0},
            },
            "tooltip": [
                {"field": "window"},
                {"field": "from", "type": "temporal", "format": _MOMENT},
                {"field": "to", "type": "temporal", "format": _MOMENT},
                {"field": "nodes"},
                {"field": "why"},
            ],
        },
    }


def _now(time: Mapping[str, object], span: Span, y: Mapping[str, object], ink: str) -> _Layers:
    """Return the line at now, beside the bars only: it must not cross the names above them."""
    heads = y["sort"]
    at = span.now.isoformat()
    rows = [{"now": at, "window": one} for one in heads] if isinstance(heads, list) else []
    line = {"type": "tick", "color": ink, "thickness": 2, "size": 34, "yOffset": 10}
    word = {"type": "text", "align": "left", "dx": -2, "baseline": "bottom", "color": ink}
    x = {**time, "field": "now"}
    return [
        {"data": {"values": rows}, "mark": line, "encoding": {"x": x, "y": y}},
        {
            "data": {"values": [{"now": at}]},
            "mark": {**word, "fontSize": 14},
            "encoding": {"x": x, "y": {"value": 0}, "text": {"value": "↓ now"}},
        },
    ]


def _said(windows: Sequence[Window], span: Span) -> str:
    kept = sum(window.what == RESERVED for window in windows)
    going = sum(window.starts_at <= span.now < window.ends_at for window in windows)
    return (
        f"Reservations and maintenance over time, by pool, with a line at now:"
        f" {count(kept, 'reservation')}, {count(len(windows) - kept, 'window')} of maintenance;"
        f" {going} of them now."
    )
