"""Balances of pairs over time: a line each, and what its agreement's cap lets through a tick."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from portal.charts.base import DARK_INK, INK, Chart, spec_of
from portal.charts.sharing import amount, hours
from scheduler.wire.pair_balances import PairPage, PairView

DRAWN = 6
"""More lines than this tell nobody anything; the table has every pair."""
IN_SIGHT = 1.6
"""A limit up to so many times the highest line is drawn; a far one would flatten the lines."""
COLOURS = ("#1f5fa8", "#b45309", "#2f7d4f", "#7b3fa0", "#8a1c4a", "#4d5b66")
COLOURS_DARK = ("#7db4f0", "#f0a95b", "#7ecb9b", "#c79be8", "#ee8fb4", "#b8c4cf")
# Colour is never the only cue: each line is also broken in its own way.
DASHES = ([1, 0], [7, 3], [2, 2], [12, 3], [7, 3, 2, 3], [4, 4])
_PIXELS, _LEGEND_ROW_PIXELS = 330, 24
_LEGEND: Mapping[str, object] = {
    "orient": "top",
    "title": None,
    "columns": 1,
    "labelLimit": 320,
    "symbolType": "stroke",
    "symbolStrokeWidth": 3,
    "symbolSize": 400,
}


def name_of(pair: PairView) -> str:
    """Return who lends whom, the one who lent more first."""
    return f"{pair.first} → {pair.second}"


def over_time(found: PairPage, *, dark: bool) -> Chart:
    """Draw the pairs that exchanged most, on one scale, so that lines can be compared."""
    pairs = found.pairs[:DRAWN]
    top = _top(pairs)
    rows: list[dict[str, object]] = [
        {"pair": name_of(pair), "at": at.isoformat(), "balance": round(hours(value), 6)}
        for pair in pairs
        for at, value in zip(found.at, pair.balance_h100e_seconds, strict=True)
    ]
    # Layers share their rows: ticks with rows of their own would not share the scale of time.
    rows += [
        {"pair": name_of(pair), "at": _beside(found, place), "limit": round(limit, 6)}
        for place, pair in enumerate(pairs)
        if (limit := _limit(pair)) is not None and limit <= top
    ]
    low = min((float(str(row["balance"])) for row in rows if "balance" in row), default=0.0)
    ink = DARK_INK if dark else INK
    y = _upwards((low * 1.05, top * 1.05), ink)
    encoding = {"x": _time(found, ink), "color": _colour(pairs, dark=dark)}
    layers = [_lines(y, pairs), _ticks(y), _even(y, ink)]
    body: dict[str, object] = {"encoding": encoding, "layer": layers}
    height = _PIXELS + _LEGEND_ROW_PIXELS * len(pairs)
    return Chart(spec_of(rows, height, body, dark=dark), _sentence(found, pairs))


def _lines(y: Mapping[str, object], pairs: Sequence[PairView]) -> dict[str, object]:
    return {
        "mark": {"type": "line", "strokeWidth": 2.5, "interpolate": "linear"},
        "transform": [{"filter": "isValid(datum.balance)"}],
        "encoding": {
            "y": {**y, "field": "balance"},
            "strokeDash": {
                "field": "pair",
                "type": "nominal",
                "scale": {"domain": [name_of(pair) for pair in pairs], "range": list(DASHES)},
                "legend": _LEGEND,
            },
            "tooltip": [
                {"field": "pair"},
                {"field": "at", "type": "temporal", "format": "%Y-%m-%d %H:%M"},
                {"field": "balance", "type": "quantitative", "format": ",.2f"},
            ],
        },
    }


def _ticks(y: Mapping[str, object]) -> dict[str, object]:
    upwards: dict[str, object] = {**y, "field": "limit"}
    return {
        "mark": {
            "type": "tick",
            "orient": "horizontal",
            "thickness": 5,
            "size": 22,
            "xOffset": -11,
        },
        "transform": [{"filter": "isValid(datum.limit)"}],
        "encoding": {
            "y": upwards,
            "tooltip": [
                {"field": "pair"},
                {
                    "field": "limit",
                    "title": "the cap lets through",
                    "type": "quantitative",
                    "format": ",.0f",
                },
            ],
        },
    }


def _even(y: Mapping[str, object], ink: str) -> dict[str, object]:
    return {
        "mark": {"type": "rule", "color": ink, "strokeWidth": 0.8},
        "encoding": {"x": None, "color": None, "y": {**y, "datum": 0}},
    }


def _colour(pairs: Sequence[PairView], *, dark: bool) -> dict[str, object]:
    return {
        "field": "pair",
        "type": "nominal",
        "scale": {
            "domain": [name_of(pair) for pair in pairs],
            "range": list(COLOURS_DARK if dark else COLOURS),
        },
        "legend": _LEGEND,
    }


def _time(found: PairPage, ink: str) -> dict[str, object]:
    axis = {"labelColor": ink, "domainColor": ink, "tickColor": ink, "grid": False, "tickCount": 5}
    return {
        "field": "at",
        "type": "temporal",
        "title": None,
        "scale": {"domain": [found.since.isoformat(), found.until.isoformat()]},
        "axis": axis,
    }


def _upwards(ends: tuple[float, float], ink: str) -> dict[str, object]:
    return {
        "type": "quantitative",
        "title": "H100e-hours",
        "scale": {"domain": list(ends), "nice": False},
        "axis": {"labelColor": ink, "titleColor": ink, "tickCount": 5, "gridOpacity": 0.3},
    }


def _beside(found: PairPage, place: int) -> str:
    """Return where a pair's tick is: near the end, and like caps stand beside each other."""
    return (found.until - (found.until - found.since) * place / 20).isoformat()


def _limit(pair: PairView) -> float | None:
    limit = pair.limit_h100e_seconds
    return None if limit is None else hours(limit)


def _top(pairs: Sequence[PairView]) -> float:
    """Return the highest line or near limit, in H100e-hours; above zero."""
    high = max((hours(v) for pair in pairs for v in pair.balance_h100e_seconds), default=0.0)
    limits = [limit for pair in pairs if (limit := _limit(pair)) is not None]
    return max([high, *(limit for limit in limits if limit <= IN_SIGHT * high)]) or 1.0


def limits_out_of_sight(found: PairPage) -> int:
    """Return how many of the pairs that are drawn have a limit above the picture."""
    pairs = found.pairs[:DRAWN]
    top = _top(pairs)
    return sum(limit > top for pair in pairs if (limit := _limit(pair)) is not None)


def _sentence(found: PairPage, pairs: Sequence[PairView]) -> str:
    rest = len(found.pairs) - len(pairs)
    more = f" {rest} more pairs are in the table." if rest else ""
    said = "; ".join(_head(pair) for pair in pairs)
    return f"Balance of each pair over time, in H100e-hours, lent less returned. {said}.{more}"


def _head(pair: PairView) -> str:
    net = pair.lent_h100e_seconds - pair.returned_h100e_seconds
    said = f"{amount(net)} more lent" if net else "even"
    if pair.limit_h100e_seconds is not None:
        said += f", the cap lets {amount(pair.limit_h100e_seconds)} through"
    return f"{name_of(pair)}: {said}"


def share_of_limit(pair: PairView) -> str:
    """Return how much of what the cap lets through was lent, in percent; empty without one."""
    limit = pair.limit_h100e_seconds
    if not limit:
        return ""
    return f"{pair.lent_h100e_seconds / limit * Decimal(100):.0f}%"
