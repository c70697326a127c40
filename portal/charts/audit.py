"""Pictures of the audit log: what was done by day and kind, and how decisions came out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, timedelta

from portal.charts.base import (
    DARK_INK,
    INK,
    LEGEND_PIXELS,
    ROW_PIXELS,
    Chart,
    names_above,
    spec_of,
)
from portal.format import count
from scheduler.wire.audit import AuditCount, AuditCounts

OUTCOMES = {
    "request.approve": "approvals",
    "request.apply": "put in force",
    "request.deny": "denied",
    "request.withdraw": "withdrawn",
    "request.expire": "expired",
}
OTHERS = "other kinds"
MOST_KINDS = 6
_COLOURS = ("#1f5fa8", "#b45309", "#2f7d4f", "#7b3fa0", "#8a1c4a", "#4d5b66", "#9aa5b1")
_COLOURS_DARK = ("#7db4f0", "#f0a95b", "#7ecb9b", "#c79be8", "#ee8fb4", "#b8c4cf", "#7b8794")
_HEIGHT = 260


def kind_of(action: str) -> str:
    """Return the kind of an action: `job` of `job.submit`."""
    return action.partition(".")[0]


def by_day(found: AuditCounts) -> list[dict[str, object]]:
    """Return a row for each day, also those without events, and kind; the rarest kinds as one."""
    common = [kind for kind, _ in _kinds(found.counts).most_common(MOST_KINDS)]
    each: Counter[tuple[date, str]] = Counter()
    for one in found.counts:
        kind = kind_of(one.action)
        each[one.day, kind if kind in common else OTHERS] += one.count
    kinds = [kind for kind in (*common, OTHERS) if any(name == kind for _, name in each)]
    return [
        {"day": day.isoformat(), "kind": kind, "events": each[day, kind], "order": order}
        for day in _days(found)
        for order, kind in enumerate(kinds)
    ]


def _kinds(counts: Sequence[AuditCount]) -> Counter[str]:
    kinds: Counter[str] = Counter()
    for one in counts:
        kinds[kind_of(one.action)] += one.count
    return kinds


def _days(found: AuditCounts) -> list[date]:
    first, last = found.since.date(), found.until.date()
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def events(found: AuditCounts, *, dark: bool) -> Chart:
    """Draw a bar for each day, of its events by kind."""
    rows = [row for row in by_day(found) if row["events"]]
    days = Counter[object]()
    for one in found.counts:
        days[one.day] += one.count
    kinds = list(dict.fromkeys(str(row["kind"]) for row in rows))
    colours = (_COLOURS_DARK if dark else _COLOURS)[: len(kinds)]
    ink = DARK_INK if dark else INK
    axis: dict[str, object] = {"labelColor": ink, "domainColor": ink, "tickColor": ink}
    body: dict[str, object] = {
        "mark": {"type": "bar"},
        "encoding": {
            "x": {
                "field": "day",
                "type": "ordinal",
                "title": None,
                # Said, and not found in the data: a day without events is a gap.
                "scale": {"domain": [day.isoformat() for day in _days(found)]},
                # A date's day of the month and month; every one of many would not be readable.
                "axis": {
                    **axis,
                    "labelAngle": 0,
                    "labelOverlap": True,
                    "labelExpr": "slice(datum.label, 5)",
                },
            },
            "y": {
                "field": "events",
                "type": "quantitative",
                "title": None,
                "axis": {**axis, "tickMinStep": 1, "grid": False},
                # A chart is drawn before its data come: then nothing else says how far.
                "scale": {"domain": [0, max(days.values(), default=1)]},
            },
            "color": {
                "field": "kind",
                "type": "nominal",
                "scale": {"domain": kinds, "range": list(colours)},
                "legend": {"orient": "top", "title": None, "columns": 4},
            },
            "order": {"field": "order", "type": "quantitative"},
            "tooltip": [{"field": each} for each in ("day", "kind", "events")],
        },
    }
    return Chart(spec_of(rows, _HEIGHT + LEGEND_PIXELS, body, dark=dark), _events_said(found))


def _events_said(found: AuditCounts) -> str:
    total = _kinds(found.counts)
    days = Counter[date]()
    for one in found.counts:
        days[one.day] += one.count
    if not days:
        return "No events."
    peak, most = max(days.items(), key=lambda each: (each[1], each[0]))
    kinds = ", ".join(f"{many} {kind}" for kind, many in total.most_common())
    whole = count(total.total(), "event")
    span = f"from {found.since:%Y-%m-%d} to {found.until:%Y-%m-%d}"
    return f"{whole} {span}, most on {peak} ({most}). By kind: {kinds}."


def outcomes(counts: Sequence[AuditCount]) -> Mapping[str, int]:
    """Return how many decisions came out how, in the order of a request's way."""
    found: Counter[str] = Counter()
    for one in counts:
        if one.action in OUTCOMES:
            found[OUTCOMES[one.action]] += one.count
    return {word: found[word] for word in OUTCOMES.values() if found[word]}


def decisions(counts: Sequence[AuditCount], *, dark: bool) -> Chart:
    """Draw a bar for each outcome of requests."""
    found = outcomes(counts)
    names = [f"{word}: {many}" for word, many in found.items()]
    rows: list[dict[str, object]] = [
        {"outcome": name, "requests": many}
        for name, many in zip(names, found.values(), strict=True)
    ]
    body: dict[str, object] = {
        "mark": {
            "type": "bar",
            "height": 26,
            "yOffset": 10,
            "color": (_COLOURS_DARK if dark else _COLOURS)[0],
        },
        "encoding": {
            "y": names_above("outcome", names, dark=dark),
            "x": {
                "field": "requests",
                "type": "quantitative",
                "axis": None,
                "scale": {"domain": [0, max(found.values(), default=1)], "nice": False},
            },
            "tooltip": [{"field": each} for each in ("outcome", "requests")],
        },
    }
    said = f"Decisions on requests: {', '.join(names) or 'none'}."
    return Chart(spec_of(rows, ROW_PIXELS * max(1, len(rows)), body, dark=dark), said)
