"""Pictures of one run: how busy its GPUs were over its life, and how much memory they used."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from portal.charts.base import DARK_INK, INK, Chart, spec_of
from portal.format import count
from scheduler.wire.job_reports import GpuUse, RunUse, UsePoint

LINE, LINE_DARK = "#1f5fa8", "#7db4f0"
MOST, MOST_DARK = "#b45309", "#f0a95b"
GIB = 1024.0
_PIXELS = 240
LONG = timedelta(hours=20)


def activity(run: RunUse, *, dark: bool) -> Chart:
    """Draw the mean activity of a run's SMs over time, and the busiest second of any GPU."""
    points = [one for one in run.points if one.sm_mean is not None]
    rows: list[dict[str, object]] = [
        {"at": one.at.isoformat(), "what": what, "part": value}
        for one in points
        for what, value in (("mean", one.sm_mean), ("busiest second", one.sm_most))
        if value is not None
    ]
    y = {
        "field": "part",
        "type": "quantitative",
        "title": "SMs at work",
        "scale": {"domain": [0, 1]},
        "axis": _axis(dark=dark) | {"format": "%", "values": [0, 0.5, 1]},
    }
    said = f"How busy the GPUs of attempt {run.attempt} were over time: {activity_words(run)}."
    return Chart(spec_of(rows, _PIXELS, _lines(points, y, dark=dark), dark=dark), said)


def memory(run: RunUse, *, dark: bool) -> Chart:
    """Draw the most memory that any GPU of a run had in use, over time."""
    points = [one for one in run.points if one.memory_most_mib is not None]
    rows: list[dict[str, object]] = [
        {
            "at": one.at.isoformat(),
            "what": "most of any GPU",
            "part": round(one.memory_most_mib / GIB, 2),
        }
        for one in points
        if one.memory_most_mib is not None
    ]
    has = max((gpu.memory_mib or 0 for gpu in run.gpus), default=0) / GIB
    top = max([has, *(float(str(row["part"])) for row in rows)]) or 1.0
    y = {
        "field": "part",
        "type": "quantitative",
        "title": "GiB in use",
        "scale": {"domain": [0, top]},
        "axis": _axis(dark=dark),
    }
    said = f"GPU memory of attempt {run.attempt} over time: {memory_words(run)}."
    return Chart(spec_of(rows, _PIXELS, _lines(points, y, dark=dark), dark=dark), said)


def _lines(points: Sequence[UsePoint], y: Mapping[str, object], *, dark: bool) -> dict[str, object]:
    ends = [one.at.isoformat() for one in points]
    words = ["mean", "busiest second", "most of any GPU"]
    # The same for both, or Vega warns that they disagree.
    legend = {"orient": "top", "title": None, "values": _told(y), "symbolType": "stroke"}
    blue, orange = (LINE_DARK, MOST_DARK) if dark else (LINE, MOST)
    return {
        "mark": {"type": "line", "point": True, "strokeWidth": 2},
        "encoding": {
            "x": {
                "field": "at",
                "type": "temporal",
                "title": None,
                "axis": _axis(dark=dark) | {"grid": False, "format": _format(points)},
                # Data come after the picture: without its ends an axis would warn.
                "scale": {"domain": [min(ends), max(ends)]} if len(ends) > 1 else {},
            },
            "y": y,
            "color": {
                "field": "what",
                "type": "nominal",
                "scale": {"domain": words, "range": [blue, orange, blue]},
                "legend": legend,
            },
            "strokeDash": {
                "field": "what",
                "type": "nominal",
                "scale": {"domain": words, "range": [[1, 0], [4, 4], [1, 0]]},
                "legend": legend,
            },
            "tooltip": [
                {"field": "at", "type": "temporal", "format": "%Y-%m-%d %H:%M"},
                {"field": "what"},
                {"field": "part"},
            ],
        },
    }


def _format(points: Sequence[UsePoint]) -> str:
    is_long = len(points) > 1 and points[-1].at - points[0].at > LONG
    return "%d %b %H:%M" if is_long else "%H:%M"


def _told(y: Mapping[str, object]) -> list[str]:
    return ["most of any GPU"] if y["title"] == "GiB in use" else ["mean", "busiest second"]


def _axis(*, dark: bool) -> dict[str, object]:
    ink = DARK_INK if dark else INK
    return {"labelColor": ink, "titleColor": ink, "domainColor": ink, "tickCount": 5}


def activity_words(run: RunUse) -> str:
    """Return how busy a run's GPUs were over its life, in a clause."""
    seen = [(one.sm_mean, one.seconds * one.gpus) for one in run.points if one.sm_mean is not None]
    if not seen:
        return "nobody measured it"
    mean = sum(part * weight for part, weight in seen) / sum(weight for _, weight in seen)
    most = max((one.sm_most for one in run.points if one.sm_most is not None), default=None)
    top = "" if most is None else f", at most {most:.0%} in any second"
    return f"{mean:.0%} of the time at work{top}"


def memory_words(run: RunUse) -> str:
    """Return how much memory a run's GPUs used at most, in a clause."""
    most = max((one.memory_most_mib or 0 for one in run.points), default=0)
    if not most:
        return "nobody measured it"
    has = max((gpu.memory_mib or 0 for gpu in run.gpus), default=0)
    return f"at most {gib(most)}" + (f" of {gib(has)}" if has else "")


def gib(mib: float | None) -> str:
    """Return an amount of GPU memory; a dash for what was not measured."""
    return "–" if mib is None else f"{mib / GIB:,.1f} GiB"  # noqa: RUF001  # a dash for nothing


def part(value: float | None) -> str:
    """Return a part of 1 in percent; a dash for what was not measured."""
    return "–" if value is None else f"{value:.0%}"  # noqa: RUF001  # a dash for nothing


def gpu_rows(gpus: Sequence[GpuUse], *, is_open: bool) -> list[dict[str, str]]:
    """Return a run's GPUs as a table: now, where it still has them, and over its life."""
    now = ("SMs now", "Memory now") if is_open else ()
    return [
        {
            "GPU": f"{one.node}, GPU {one.gpu}",
            **dict(zip(now, (part(one.sm_now), gib(one.memory_now_mib)), strict=False)),
            "SMs at work": part(one.sm_mean),
            "Busiest second": part(one.sm_most),
            "Memory at most": gib(one.memory_most_mib),
        }
        for one in gpus
    ]


def point_rows(run: RunUse, said_at: Sequence[str]) -> list[dict[str, str]]:
    """Return a run's stretches as a table; `said_at` is when each ended, in words."""
    return [
        {
            "Until": when,
            "GPUs that reported": count(one.gpus, "GPU"),
            "SMs at work": part(one.sm_mean),
            "Busiest second": part(one.sm_most),
            "Memory at most": gib(one.memory_most_mib),
        }
        for when, one in zip(said_at, run.points, strict=True)
    ]
