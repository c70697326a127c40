"""Dashboards and panels as values, and as the JSON that Grafana reads."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_WIDE, _HIGH = 24, 8


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel: lines over time, or a `stat` that shows now. `legend` names lines by labels."""

    title: str
    expr: str
    legend: str = ""
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 12
    about: str = ""


@dataclass(frozen=True, slots=True)
class Variable:
    """What a reader chooses: a label's values."""

    name: str
    query: str
    many: bool = True


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One file."""

    uid: str
    title: str
    panels: Sequence[Panel]
    variables: Sequence[Variable] = ()


def now(title: str, expr: str, unit: str = "short", about: str = "") -> Panel:
    """Return a number that stands for itself, six to a row."""
    return Panel(title, expr, unit=unit, kind="stat", width=4, about=about)


def rendered(dashboard: Dashboard) -> str:
    """Return a dashboard as Grafana reads it."""
    return json.dumps(
        {
            "uid": dashboard.uid,
            "title": dashboard.title,
            "tags": ["commonpool"],
            "schemaVersion": 39,
            "version": 1,
            "editable": False,
            "graphTooltip": 1,
            "refresh": "30s",
            "time": {"from": "now-6h", "to": "now"},
            "timezone": "utc",
            "templating": {"list": [_datasource(), *map(_variable, dashboard.variables)]},
            "annotations": {"list": []},
            "panels": list(_placed(dashboard.panels)),
        },
        indent=1,
    )


def _datasource() -> dict[str, Any]:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource"} | {
        "query": "prometheus"
    }


def _variable(variable: Variable) -> dict[str, Any]:
    return {
        "name": variable.name,
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": variable.query, "refId": variable.name},
        "refresh": 2,
        "sort": 1,
        "multi": variable.many,
        "includeAll": variable.many,
        "allValue": ".*" if variable.many else None,
    }


def _placed(panels: Sequence[Panel]) -> Iterator[dict[str, Any]]:
    x = y = row = 0
    for number, panel in enumerate(panels, 1):
        high = _HIGH // 2 if panel.kind == "stat" else _HIGH
        if x + panel.width > _WIDE:
            x, y, row = 0, y + row, 0
        yield _panel(number, panel, {"x": x, "y": y, "w": panel.width, "h": high})
        x, row = x + panel.width, max(row, high)


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    target = {
        "refId": "A",
        "datasource": _SOURCE,
        "expr": panel.expr,
        "legendFormat": panel.legend or "__auto",
        "instant": panel.kind == "stat",
        "range": panel.kind != "stat",
        "exemplar": "cycle_seconds_bucket" in panel.expr,
    }
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "options": {},
        "targets": [target],
    }
