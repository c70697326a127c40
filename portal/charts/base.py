"""Pictures as Vega-Lite dictionaries, each with the sentence that says the same.

Dictionaries, since Altair and Plotly objects cost ten to forty times as much per chart
(measured; a portal process serves many people). Pure functions of the wire's messages.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from portal.format import count
from scheduler.wire.accounts import AccountView, PoolView

ROW_PIXELS = 70
LEGEND_PIXELS = 50
# Each pair of neighbours also differs in lightness, and bars carry their numbers.
COLOURS = {
    "in quota": "#1f5fa8",
    "borrowed": "#b45309",
    "background": "#7b3fa0",
    "free": "#cfe3d6",
    "down": "#9aa5b1",
}
ON_LIGHT = ("free", "down")
INK, PAPER = "#0b1016", "#ffffff"
DARK_INK = "#eef2f6"


@dataclass(frozen=True, slots=True)
class Chart:
    """A Vega-Lite specification, and the same in words for who cannot see it."""

    spec: dict[str, object]
    alt: str


def parts(pool: PoolView) -> dict[str, int]:
    """Return the pool's GPUs by use; they add up to its capacity.

    `down` are GPUs that the policy counts and no usable node reports.
    """
    used = pool.in_quota + pool.borrowed + pool.background
    free = min(pool.free, max(0, pool.capacity - used))
    return {
        "in quota": pool.in_quota,
        "borrowed": pool.borrowed,
        "background": pool.background,
        "free": free,
        "down": max(0, pool.capacity - used - free),
    }


def pool_name(pool: PoolView) -> str:
    """Return the pool's name, marked where no GPU stands behind it."""
    return f"{pool.pool} (simulated)" if pool.simulated else pool.pool


def capacity(pools: Sequence[PoolView], *, legend: bool, dark: bool = False) -> Chart:
    """Draw each pool as one bar of its GPUs by use, all on one scale."""
    heads = [
        f"{pool_name(pool)}: {parts(pool)['free']} of {count(pool.capacity, 'GPU')} free"
        for pool in pools
    ]
    rows: list[dict[str, object]] = [
        {"pool": head, "use": use, "GPUs": gpus, "order": order}
        for pool, head in zip(pools, heads, strict=True)
        for order, (use, gpus) in enumerate(parts(pool).items())
        if gpus
    ]
    widest = max((pool.capacity for pool in pools), default=1)
    x = {
        "field": "GPUs",
        "type": "quantitative",
        "stack": "zero",
        "axis": None,
        "scale": {"domain": [0, widest], "nice": False},
    }
    numbers: dict[str, object] = {
        "mark": {"type": "text", "fontSize": 14, "fontWeight": "bold", "yOffset": 10},
        "encoding": {
            "x": {**x, "bandPosition": 0.5},
            "text": {"field": "GPUs"},
            "order": {"field": "order", "type": "quantitative"},
            "detail": {"field": "use"},
            "color": {
                "condition": {"test": {"field": "use", "oneOf": list(ON_LIGHT)}, "value": INK},
                "value": PAPER,
            },
        },
    }
    body: dict[str, object] = {
        "encoding": {"y": names_above("pool", heads, dark=dark)},
        "layer": [_bars(x, legend=legend), numbers],
    }
    height = ROW_PIXELS * len(pools) + (LEGEND_PIXELS if legend else 0)
    return Chart(spec_of(rows, height, body, dark=dark), capacity_sentence(pools))


def _bars(x: Mapping[str, object], *, legend: bool) -> dict[str, object]:
    colour = {
        "field": "use",
        "type": "nominal",
        "scale": {"domain": list(COLOURS), "range": list(COLOURS.values())},
        "legend": {"orient": "top", "title": None, "columns": 3} if legend else None,
    }
    return {
        "mark": {"type": "bar", "stroke": PAPER, "strokeWidth": 1, "height": 26, "yOffset": 10},
        "encoding": {
            "x": x,
            "color": colour,
            "order": {"field": "order", "type": "quantitative"},
            "tooltip": [{"field": name} for name in ("pool", "use", "GPUs")],
        },
    }


def names_above(field: str, names: Sequence[str], *, dark: bool) -> dict[str, object]:
    """Return a vertical axis whose names stand above the bars: a narrow screen has no side."""
    axis = {
        "labelAlign": "left",
        "labelBaseline": "bottom",
        "labelPadding": -2,
        "labelOffset": -8,
        "labelLimit": 600,
        "labelColor": DARK_INK if dark else INK,
        "ticks": False,
        "domain": False,
    }
    return {"field": field, "type": "nominal", "sort": list(names), "title": None, "axis": axis}


def capacity_sentence(pools: Sequence[PoolView]) -> str:
    """Say what the bars show, pool by pool."""
    said = (
        f"{pool_name(pool)}: {count(pool.capacity, 'GPU')}, "
        + ", ".join(f"{gpus} {use}" for use, gpus in parts(pool).items() if gpus)
        for pool in pools
    )
    return "GPUs by use. " + "; ".join(said) + "."


def usage(accounts: Sequence[AccountView], *, dark: bool = False) -> Chart:
    """Draw what each account lately used, in H100e-hours, the past fading away (R3)."""
    rows: list[dict[str, object]] = [
        {
            "account": f"{each.account}: {each.h100e_seconds / 3600:,.2f}",
            "H100e-hours": round(each.h100e_seconds / 3600, 2),
            "sector": each.sector.value,
        }
        for each in accounts
    ]
    names = [str(row["account"]) for row in rows]
    widest = max((each.h100e_seconds / 3600 for each in accounts), default=0) or 1
    body: dict[str, object] = {
        "mark": {"type": "bar", "height": 26, "yOffset": 10},
        "encoding": {
            "y": names_above("account", names, dark=dark),
            "x": {
                "field": "H100e-hours",
                "type": "quantitative",
                "axis": None,
                # A chart behind a tab is drawn before its data come: then nothing says how far.
                "scale": {"domain": [0, widest], "nice": False},
            },
            "color": {
                "field": "sector",
                "type": "nominal",
                "legend": {"orient": "top", "title": None},
            },
            "tooltip": [{"field": name} for name in ("account", "sector", "H100e-hours")],
        },
    }
    said = f"Recent H100e-hours by account. {'; '.join(names)}."
    height = ROW_PIXELS * len(rows) + LEGEND_PIXELS
    return Chart(spec_of(rows, height, body, dark=dark), said)


class InTree(Protocol):
    """What stands for an account of the tree."""

    @property
    def account(self) -> str: ...
    @property
    def parent(self) -> str | None: ...


Row = TypeVar("Row", bound=InTree)


def in_tree(accounts: Sequence[Row]) -> list[tuple[Row, int]]:
    """Return each account after its parent, by name, with its depth from 0."""
    names = {account.account for account in accounts}

    def below(parent: str | None, depth: int) -> list[tuple[Row, int]]:
        children = [
            each
            for each in sorted(accounts, key=lambda each: each.account)
            if (each.parent if each.parent in names else None) == parent
        ]
        return [
            row for child in children for row in ((child, depth), *below(child.account, depth + 1))
        ]

    return below(None, 0)


def spec_of(
    rows: list[dict[str, object]], height: int, body: dict[str, object], *, dark: bool
) -> dict[str, object]:
    """Return a whole specification: rows of data, and how they are drawn."""
    return {
        "data": {"values": rows},
        "height": height,
        "width": "container",
        "autosize": {"type": "fit", "contains": "padding"},
        "config": {
            "mark": {"aria": False},  # the sentence says it all; Vega's groups have no name
            "axis": {"labelFontSize": 15},
            "legend": {"labelFontSize": 14, "labelColor": DARK_INK if dark else INK},
            "view": {"stroke": None},
        },
        **body,
    }
