"""GPUs in use by sector over the last days, with what there is."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from statistics import fmean

from portal.charts.base import DARK_INK, INK, Chart, spec_of
from scheduler.core.model import Sector
from scheduler.wire.sector_use import SectorUsePage

WORDS = {
    Sector.DOD: "DoD",
    Sector.ACADEMIC: "academic",
    Sector.INDUSTRY: "industry",
    Sector.ALLIED: "allied",
}
# Neighbours differ in lightness too, and each is outlined.
COLOURS = ["#1f5fa8", "#f0a95b", "#2f7d4f", "#c79be8"]
HOUR = timedelta(hours=1)
_PIXELS = 260


@lru_cache(maxsize=4)  # everybody is shown the same
def over_time(found: SectorUsePage, *, dark: bool) -> Chart:
    """Draw the mean GPUs of each hour as areas above each other, below a line for what is there."""
    ink = DARK_INK if dark else INK
    rows: list[dict[str, object]] = [
        {"at": at.isoformat(), "sector": WORDS[each.sector], "GPUs": gpus}
        for each in found.sectors
        for at, gpus in zip(_hours(found), each.gpus, strict=True)
    ]
    highest = max([found.capacity, *map(sum, zip(*(s.gpus for s in found.sectors), strict=True))])
    axis = {"labelColor": ink, "titleColor": ink, "domainColor": ink, "tickCount": 5}
    y = {
        "type": "quantitative",
        "title": "GPUs",
        "axis": axis,
        "scale": {"domain": [0, highest * 1.05 or 1]},
    }
    ends = [found.since.isoformat(), found.until.isoformat()]
    x = {
        "field": "at",
        "type": "temporal",
        "title": None,
        "scale": {"domain": ends},
        "axis": {**axis, "grid": False, "format": "%d %b"},
    }
    told = [WORDS[each.sector] for each in found.sectors]
    body: dict[str, object] = {"layer": [_areas(x, y, ink, told), _line(found.capacity, y, ink)]}
    return Chart(spec_of(rows, _PIXELS, body, dark=dark), sentence(found))


def _areas(
    x: Mapping[str, object], y: Mapping[str, object], ink: str, told: Sequence[str]
) -> dict[str, object]:
    return {
        "mark": {"type": "area", "line": {"color": ink, "strokeWidth": 0.6}, "opacity": 0.85},
        "encoding": {
            "x": x,
            "y": {**y, "field": "GPUs", "stack": "zero"},
            "color": {
                "field": "sector",
                "type": "nominal",
                "scale": {"domain": list(WORDS.values()), "range": COLOURS},
                "legend": {"orient": "top", "title": None, "columns": 4, "values": list(told)},
            },
        },
    }


def _line(capacity: int, y: Mapping[str, object], ink: str) -> dict[str, object]:
    return {
        "mark": {"type": "rule", "strokeDash": [6, 4], "color": ink, "strokeWidth": 1.5},
        "encoding": {"y": {**y, "datum": capacity}},
    }


def sentence(found: SectorUsePage) -> str:
    """Say what the areas show: each sector's mean and its most, and what there is."""
    said = "; ".join(
        f"{WORDS[each.sector]} {fmean(each.gpus):,.1f} on average, at most {max(each.gpus):,.0f}"
        for each in found.sectors
    )
    return f"GPUs in use by sector, hour by hour, of {found.capacity:,} that there are: {said}."


@lru_cache(maxsize=4)
def days(found: SectorUsePage) -> Sequence[dict[str, str]]:
    """Return the mean GPUs of each day by sector, the latest first."""
    of_day: dict[str, list[int]] = {}
    for place, at in enumerate(_hours(found)):
        of_day.setdefault(f"{at:%Y-%m-%d}", []).append(place)
    return [
        {"Day (UTC)": day}
        | {WORDS[each.sector]: _mean(each.gpus, places) for each in found.sectors}
        for day, places in reversed(of_day.items())
    ]


def _mean(gpus: Sequence[float], places: Sequence[int]) -> str:
    return f"{fmean(gpus[place] for place in places):,.1f}"


def _hours(found: SectorUsePage) -> list[datetime]:
    number = max((len(each.gpus) for each in found.sectors), default=0)
    return [found.since + place * HOUR for place in range(number)]
