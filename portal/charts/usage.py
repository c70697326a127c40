"""Pictures of use: budgets as bars, how they burn down, use by day, and use against waste."""

from collections.abc import Sequence
from datetime import timedelta
from statistics import median

from portal.charts.base import (
    COLOURS,
    DARK_INK,
    INK,
    LEGEND_PIXELS,
    ROW_PIXELS,
    Chart,
    names_above,
    spec_of,
)
from portal.format import when_used_up
from scheduler.wire.operating import WasteView
from scheduler.wire.usage import AccountUsage, BudgetView

USED, RESERVED, LEFT = "#1f5fa8", "#b45309", "#cfe3d6"
LINE, LINE_DARK = "#1f5fa8", "#7db4f0"
WASTE, WASTE_DARK = "#b45309", "#f0a95b"
LITTLE_USED = 0.3
"""Below this part of measured time at work, large leases are where GPU-hours are won back."""

_CLASSES = {
    "in quota": "in_quota_gpu_hours",
    "borrowed": "borrowed_gpu_hours",
    "background": "background_gpu_hours",
}


def bullets(budgets: Sequence[BudgetView], *, dark: bool) -> Chart:
    """Draw each budget as one bar of its limit: used, reserved up to limits, left."""
    heads = [_head(one) for one in budgets]
    rows: list[dict[str, object]] = []
    for budget, head in zip(budgets, heads, strict=True):
        parts = {"used": budget.used, "reserved": budget.reserved, "left": max(0.0, budget.left)}
        whole = max(sum(parts.values()), budget.limit) or 1.0
        for order, (what, part) in enumerate(parts.items()):
            rows.append(
                {"budget": head, "what": what, "share": part / whole, "order": order}
                | {"H100e-hours": round(part, 2)}
            )
    body: dict[str, object] = {
        "mark": {"type": "bar", "height": 26, "yOffset": 10, "stroke": INK, "strokeWidth": 0.5},
        "encoding": {
            "y": names_above("budget", heads, dark=dark),
            "x": {
                "field": "share",
                "type": "quantitative",
                "stack": "zero",
                "axis": None,
                "scale": {"domain": [0, 1]},
            },
            "color": {
                "field": "what",
                "type": "nominal",
                "scale": {
                    "domain": ["used", "reserved", "left"],
                    "range": [USED, RESERVED, LEFT],
                },
                "legend": {"orient": "top", "title": None, "symbolStrokeWidth": 0.5},
            },
            "order": {"field": "order", "type": "quantitative"},
            "tooltip": [{"field": each} for each in ("budget", "what", "H100e-hours")],
        },
    }
    told = (
        f"{one.budget}: {one.used:,.1f} used, {one.reserved:,.1f} reserved, {one.left:,.1f} left"
        f" of {one.limit:,.0f}"
        for one in budgets
    )
    said = f"Budgets in H100e-hours. {'; '.join(told)}."
    return Chart(spec_of(rows, ROW_PIXELS * len(heads) + LEGEND_PIXELS, body, dark=dark), said)


def _head(one: BudgetView) -> str:
    return f"{one.budget}: {one.left:,.0f} of {one.limit:,.0f} left"


def burn_down(budget: BudgetView, *, dark: bool) -> Chart:
    """Draw what was left of a budget day by day, and the cone in which it will be."""
    ink, line = (DARK_INK, LINE_DARK) if dark else (INK, LINE)
    rows: list[dict[str, object]] = [
        {"day": one.day.isoformat(), "left": max(0.0, one.left)} for one in budget.burn
    ]
    rows += [
        {
            "day": one.day.isoformat(),
            "low": one.low,
            "likely": one.likely,
            "high": one.high,
        }
        for one in budget.cone
    ]
    axis = {"labelColor": ink, "titleColor": ink, "tickCount": 5}
    days = [str(row["day"]) for row in rows]
    x = {
        "field": "day",
        "type": "temporal",
        "title": None,
        "scale": {"type": "utc", "domain": [min(days), max(days)]},
        "axis": {**axis, "grid": False, "format": "%d %b"},
    }
    y = {"type": "quantitative", "title": "H100e-hours left", "axis": axis}
    scale = {"domain": [0, budget.limit]}
    body: dict[str, object] = {
        "encoding": {"x": x},
        "layer": [
            {
                "mark": {"type": "area", "opacity": 0.25, "color": line},
                "encoding": {"y": {**y, "field": "low", "scale": scale}, "y2": {"field": "high"}},
            },
            {
                "mark": {"type": "line", "strokeDash": [6, 4], "color": line},
                "encoding": {"y": {**y, "field": "likely"}},
            },
            {
                "mark": {"type": "line", "color": line, "strokeWidth": 3, "point": True},
                "encoding": {"y": {**y, "field": "left"}},
            },
        ],
    }
    now = budget.burn[-1].left if budget.burn else budget.limit
    said = (
        f"What is left of {budget.budget} by day: {now:,.1f} of {budget.limit:,.0f} H100e-hours"
        f" now; used up: {when_used_up(budget)}."
    )
    return Chart(spec_of(rows, 300, body, dark=dark), said)


def by_day(account: AccountUsage, *, dark: bool) -> Chart:
    """Draw an account's GPU-hours of each day, by how they were had."""
    ink = DARK_INK if dark else INK
    rows: list[dict[str, object]] = [
        {"day": day.day.isoformat(), "how": how, "order": order}
        | {"GPU-hours": round(getattr(day, name), 3)}
        for day in account.days
        for order, (how, name) in enumerate(_CLASSES.items())
        if getattr(day, name)
    ]
    axis = {"labelColor": ink, "titleColor": ink, "tickCount": 5}
    most = max(account.days, key=_total)
    last = account.days[-1].day + timedelta(days=1)
    body: dict[str, object] = {
        # A bar for a day; a time axis, so that weeks of days need no label each.
        "mark": {"type": "bar", "stroke": ink, "strokeWidth": 0.3},
        "encoding": {
            "x": {
                "field": "day",
                "type": "temporal",
                "timeUnit": "utcyearmonthdate",
                "title": None,
                "scale": {
                    "type": "utc",
                    "domain": [account.days[0].day.isoformat(), last.isoformat()],
                },
                "axis": {**axis, "grid": False, "format": "%d %b"},
            },
            "y": {"field": "GPU-hours", "type": "quantitative", "stack": "zero", "axis": axis}
            | {"scale": {"domain": [0, _total(most) * 1.05 or 1]}},
            "color": {
                "field": "how",
                "type": "nominal",
                "scale": {
                    "domain": list(_CLASSES),
                    "range": [COLOURS[how] for how in _CLASSES],
                },
                "legend": {"orient": "top", "title": None, "symbolStrokeWidth": 0.5},
            },
            "order": {"field": "order", "type": "quantitative"},
            "tooltip": [{"field": each} for each in ("day", "how", "GPU-hours")],
        },
    }
    said = (
        f"GPU-hours of {account.account} by day: {account.gpu_hours:,.1f} in"
        f" {len(account.days)} days, most on {most.day} ({_total(most):,.1f})."
    )
    return Chart(spec_of(rows, 280, body, dark=dark), said)


def _total(day: object) -> float:
    return float(sum(getattr(day, name) for name in _CLASSES.values()))


def waste(rows: Sequence[WasteView], *, dark: bool) -> Chart:
    """Draw each account by GPU-hours leased and the part of them at work; the corner is waste."""
    ink = DARK_INK if dark else INK
    measured = [row for row in rows if row.share_used is not None]
    middle = median([row.leased_gpu_hours for row in measured] or [0.0])
    data: list[dict[str, object]] = [
        {
            "account": row.account,
            "GPU-hours": round(row.leased_gpu_hours, 2),
            "share": row.share_used,
            "wasted": is_waste(row, middle),
        }
        for row in measured
    ]
    most = max((row.leased_gpu_hours for row in measured), default=0.0) or 1.0
    place = _waste_place(most, ink)
    data += [{"little": LITTLE_USED}, {"middle": middle}]
    names = {
        "mark": {"type": "text", "dy": -14, "fontSize": 13, "color": ink},
        "encoding": {**place, "text": {"field": "account"}},
    }
    body: dict[str, object] = {
        "layer": [
            _rule({"y": {**place["y"], "field": "little"}}, ink),
            _rule({"x": {**place["x"], "field": "middle"}}, ink),
            _waste_points(place, dark=dark),
            names,
        ]
    }
    said = "; ".join(
        f"{row.account}: {row.leased_gpu_hours:,.1f} GPU-hours, {row.share_used:.0%} at work"
        for row in measured
        if row.share_used is not None
    )
    return Chart(spec_of(data, 320, body, dark=dark), f"GPU-hours and how busy they were. {said}.")


def _waste_place(most: float, ink: str) -> dict[str, dict[str, object]]:
    """Return the two axes: GPU-hours up to a little over the most, and the part at work."""
    axis = {"labelColor": ink, "titleColor": ink, "tickCount": 5}
    return {
        "x": {
            "field": "GPU-hours",
            "type": "quantitative",
            "title": "GPU-hours",
            "axis": axis,
            "scale": {"domain": [0, most * 1.1]},
        },
        "y": {
            "field": "share",
            "type": "quantitative",
            "title": "at work",
            "scale": {"domain": [0, 1.08]},
            "axis": {**axis, "format": "%", "values": [0, 0.25, 0.5, 0.75, 1]},
        },
    }


def _waste_points(place: dict[str, dict[str, object]], *, dark: bool) -> dict[str, object]:
    """Return the accounts as points; what is wasted has a colour and a shape of its own."""
    return {
        "mark": {"type": "point", "filled": True, "size": 140, "opacity": 1},
        "encoding": {
            **place,
            "color": {
                "condition": {"test": "datum.wasted", "value": WASTE_DARK if dark else WASTE},
                "value": LINE_DARK if dark else LINE,
            },
            "shape": {
                "condition": {"test": "datum.wasted", "value": "triangle-up"},
                "value": "circle",
            },
            "tooltip": [{"field": each} for each in ("account", "GPU-hours", "share")],
        },
    }


def is_waste(row: WasteView, middle: float) -> bool:
    """Return whether an account leased much, for what there is, and worked little with it."""
    return (
        row.share_used is not None
        and row.share_used < LITTLE_USED
        and row.leased_gpu_hours >= middle
    )


def _rule(encoding: dict[str, object], ink: str) -> dict[str, object]:
    mark = {"type": "rule", "strokeDash": [3, 3], "color": ink, "opacity": 0.6}
    return {"mark": mark, "encoding": encoding}
