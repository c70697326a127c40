"""A planned run in pictures: its FLOP among thresholds and known models, its days per tier."""

from collections.abc import Sequence
from datetime import date

from portal.charts.base import DARK_INK, INK, Chart
from portal.format import TIER_WORDS
from portal.plan_words import days, power
from scheduler.core.compute_law import PUBLISHED, TierDays
from scheduler.core.plan_sources import THRESHOLDS

_COLOURS = {"this run": "#b45309", "known model": "#1f5fa8", "threshold": "#7b3fa0"}
_DARK = {"this run": "#f0a95b", "known model": "#7db4f0", "threshold": "#c79be8"}
_ROW = 48


def scale_rows(flop: float, today: date) -> list[dict[str, object]]:
    """Return the run, known models and thresholds, the smallest first."""
    rows: list[dict[str, object]] = [
        {"what": row.model, "kind": "known model", "flop": row.flop} for row in PUBLISHED
    ]
    rows += [
        {"what": f"{row.name}, {power(row.flop)}", "kind": "threshold", "flop": row.flop}
        for row in THRESHOLDS
        if row.holds(today)
    ]
    rows.append({"what": f"this run, {power(flop)}", "kind": "this run", "flop": flop})
    return sorted(rows, key=lambda row: (float(str(row["flop"])), str(row["what"])))


def flop_scale(flop: float, today: date, *, dark: bool = False) -> Chart:
    """Draw the run on a logarithmic scale of FLOP, beside what it is to be compared with."""
    rows = scale_rows(flop, today)
    colours = _DARK if dark else _COLOURS
    low = min(float(str(row["flop"])) for row in rows)
    high = max(float(str(row["flop"])) for row in rows)
    said = "; ".join(f"{row['what']}: {power(float(str(row['flop'])))} FLOP" for row in rows)
    # Colour and shape are of one field: Vega makes one legend of both if they have the same.
    legend = {"orient": "top", "title": None, "labelColor": DARK_INK if dark else INK}
    encoding: dict[str, object] = {
        "x": {
            "field": "flop",
            "type": "quantitative",
            "scale": {"type": "log", "domain": [low / 10, high * 10]},
            "axis": {"title": "FLOP", "format": ".0e", "tickCount": 6, **_axis(dark=dark)},
        },
        "y": _names("what", [str(row["what"]) for row in rows], dark=dark),
        "color": {
            "field": "kind",
            "type": "nominal",
            "scale": {"domain": list(colours), "range": list(colours.values())},
            "legend": legend,
        },
        "shape": {
            "field": "kind",
            "type": "nominal",
            "scale": {"domain": list(colours), "range": ["diamond", "circle", "square"]},
            "legend": legend,
        },
        "tooltip": [{"field": "what"}, {"field": "flop", "format": ".2e"}],
    }
    body: dict[str, object] = {
        "mark": {"type": "point", "filled": True, "size": 160, "opacity": 1, "yOffset": 10},
        "encoding": encoding,
    }
    return Chart(_spec(rows, body), f"FLOP on a logarithmic scale. {said}.")


def tier_rows(tiers: Sequence[TierDays]) -> list[dict[str, object]]:
    """Return each tier with its days, best to worst."""
    return [
        {
            "tier": f"{TIER_WORDS[row.tier]}, {row.h100e:,.0f} H100e: {days(row.days.expected)}",
            "best": row.days.best,
            "expected": row.days.expected,
            "worst": row.days.worst,
        }
        for row in tiers
    ]


def tier_days(tiers: Sequence[TierDays], within: float, *, dark: bool = False) -> Chart:
    """Draw how long each tier would take, alone and around the clock, and what is patient."""
    rows = tier_rows(tiers)
    colour = (_DARK if dark else _COLOURS)["known model"]
    limit = (_DARK if dark else _COLOURS)["this run"]
    ends = [row.days.best for row in tiers] + [row.days.worst for row in tiers] + [within]
    x = {
        "type": "quantitative",
        "scale": {"type": "log", "domain": [min(ends) / 2, max(ends) * 2]},
        "axis": {"title": "days", "tickCount": 6, "format": "~g", **_axis(dark=dark)},
    }
    y = _names("tier", [str(row["tier"]) for row in rows], dark=dark)
    layers: list[dict[str, object]] = [
        {
            "mark": {"type": "rule", "strokeWidth": 6, "color": colour, "yOffset": 10},
            "encoding": {"x": {**x, "field": "best"}, "x2": {"field": "worst"}, "y": y},
        },
        {
            "mark": {"type": "point", "filled": True, "size": 160, "color": colour, "opacity": 1}
            | {"yOffset": 10},
            "encoding": {"x": {**x, "field": "expected"}, "y": y},
        },
        {
            "mark": {"type": "rule", "color": limit, "strokeDash": [6, 4], "strokeWidth": 2},
            "encoding": {"x": {"datum": within, "type": "quantitative"}},
        },
    ]
    said = "; ".join(
        f"{row['tier']} ({days(float(str(row['best'])))} to {days(float(str(row['worst'])))})"
        for row in rows
    )
    alt = f"Days that the run takes with all of a tier: {said}. The line is at {days(within)}."
    return Chart(_spec(rows, {"layer": layers}), alt)


def _axis(*, dark: bool) -> dict[str, object]:
    ink = DARK_INK if dark else INK
    return {"labelColor": ink, "titleColor": ink, "gridOpacity": 0.4}


def _names(field: str, names: Sequence[str], *, dark: bool) -> dict[str, object]:
    """Return a vertical axis whose names stand above the marks: a narrow screen has no side."""
    ink = DARK_INK if dark else INK
    axis = {
        "labelAlign": "left",
        "labelBaseline": "bottom",
        "labelPadding": -2,
        "labelOffset": -4,
        "labelLimit": 600,
        "labelColor": ink,
        "ticks": False,
        "domain": False,
    }
    return {"field": field, "type": "nominal", "sort": list(names), "title": None, "axis": axis}


def _spec(rows: list[dict[str, object]], body: dict[str, object]) -> dict[str, object]:
    return {
        "data": {"values": rows},
        "height": _ROW * len(rows) + 60,
        "width": "container",
        "autosize": {"type": "fit", "contains": "padding"},
        "config": {
            "mark": {"aria": False},  # the sentence says it all; Vega's groups have no name
            "axis": {"labelFontSize": 14, "titleFontSize": 14},
            "legend": {"labelFontSize": 14},
            "view": {"stroke": None},
        },
        **body,
    }
