"""The difference between two simulations, drawn: a PNG, and an HTML page without a network."""

import io
import warnings
from html import escape
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scheduler.sim.compare import (
    Bars,
    Lines,
    Simulated,
    utilisation_over_time,
    waits_by_size,
    waits_by_tenant,
)
from scheduler.sim.outputs import CHARTS, chart_file, write_whole
from scheduler.sim.tables import compared, difference, duration

_FIRST, _SECOND = "#4063d8", "#d8632b"
_HALF = 0.4
_NOTHING_DRAWN = 1e-9
_ROOM_FOR_LABELS = 0.12  # of the axis, beyond the longest bar

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif }}
body {{ max-width: 72rem; margin: 2rem auto; padding: 0 1rem }}
table {{ border-collapse: collapse }} td, th {{ padding: .2rem 1rem; text-align: right }}
tr > :first-child {{ text-align: left }} tbody tr:nth-child(odd) {{ background: #8881 }}
svg {{ width: 100%; height: auto }}
</style>
<h1>{title}</h1>
{drawing}
<table><thead><tr><th></th><th>{first}</th><th>{second}</th><th>difference</th></tr></thead>
<tbody>
{rows}
</tbody></table>
</html>
"""


def draw(first: Simulated, second: Simulated, stem: Path) -> tuple[Path, Path]:
    """Write `stem`.png and `stem`.html and return both; the same input gives the same bytes."""
    png, page = (chart_file(stem, end) for end in CHARTS)
    picture, svg = io.BytesIO(), io.StringIO()
    # Ids in an SVG are random unless they are salted, and text stays text, for readers.
    # A name with dollars in it is a name, not a formula.
    with (
        rc_context(
            {"svg.hashsalt": "commonpool", "svg.fonttype": "none", "text.parse_math": False}
        ),
        warnings.catch_warnings(),
    ):
        # A name may have letters that the font lacks: boxes in the PNG, and itself in the page.
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        figure = _figure(first, second)
        figure.savefig(picture, format="png", dpi=120, metadata={"Software": None})
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    drawing = svg.getvalue()
    write_whole(png, picture.getvalue())
    write_whole(page, _page(first, second, drawing[drawing.index("<svg") :]))
    return png, page


def _figure(first: Simulated, second: Simulated) -> Figure:
    tenants = waits_by_tenant(first, second)
    figure = Figure(figsize=(11, 10 + 0.2 * len(tenants.labels)), layout="constrained")
    sizes, over_time, by_tenant = figure.subplots(
        3, 1, height_ratios=(3, 4, 3 + 0.2 * len(tenants.labels))
    )
    names = (first.name, second.name)
    _waits_by_size(sizes, waits_by_size(first, second), names)
    _utilisation(over_time, utilisation_over_time(first, second), names)
    _waits_by_tenant(by_tenant, tenants, names)
    return figure


def _waits_by_size(axes: Axes, bars: Bars, names: tuple[str, str]) -> None:
    places, (unit, size) = range(len(bars.labels)), _unit(bars)
    both = ((bars.first, _FIRST, -_HALF / 2), (bars.second, _SECOND, _HALF / 2))
    for name, (values, colour, shift) in zip(names, both, strict=True):
        at = [place + shift for place in places]
        drawn = axes.bar(at, [v / size for v in values], _HALF, color=colour, label=name)
        axes.bar_label(drawn, [duration(value) for value in values], fontsize=8)
    axes.set_xticks(list(places), bars.labels)
    axes.set(title="Mean wait by size of job", xlabel="GPUs per job", ylabel=unit)
    axes.margins(y=_ROOM_FOR_LABELS)
    axes.legend()


def _unit(bars: Bars) -> tuple[str, int]:
    """Return the unit of an axis, and its seconds: the one that most bars are labelled in."""
    longest = max((*bars.first, *bars.second), default=0.0)
    return ("days", 86400) if longest >= 2 * 86400 else ("hours", 3600)


def _utilisation(axes: Axes, lines: Lines, names: tuple[str, str]) -> None:
    # The first is broad and the second narrow: where both agree, both are seen.
    for values, colour, name, width in (
        (lines.first, _FIRST, names[0], 4),
        (lines.second, _SECOND, names[1], 1.2),
    ):
        axes.step(lines.days, values, where="post", color=colour, label=name, linewidth=width)
    for colour, above in ((_FIRST, False), (_SECOND, True)):
        pairs = zip(lines.first, lines.second, strict=True)
        where = [(b > a) is above and abs(b - a) > _NOTHING_DRAWN for a, b in pairs]
        axes.fill_between(
            lines.days, lines.first, lines.second, where, step="post", color=colour, alpha=0.25
        )
    axes.set(title="GPUs in use", xlabel="days", ylabel="part of all", ylim=(0, 1.05))
    axes.legend()


def _waits_by_tenant(axes: Axes, bars: Bars, names: tuple[str, str]) -> None:
    places, (unit, size) = range(len(bars.labels)), _unit(bars)
    both = ((bars.first, _FIRST, -_HALF / 2), (bars.second, _SECOND, _HALF / 2))
    for name, (values, colour, shift) in zip(names, both, strict=True):
        at = [place + shift for place in places]
        drawn = axes.barh(at, [v / size for v in values], _HALF, color=colour, label=name)
        axes.bar_label(drawn, [duration(value) for value in values], fontsize=8, padding=2)
    axes.set_yticks(list(places), bars.labels)
    axes.invert_yaxis()
    axes.set(title="Mean wait by tenant, the largest first", xlabel=unit)
    axes.margins(x=_ROOM_FOR_LABELS)
    axes.legend()


def _page(first: Simulated, second: Simulated, drawing: str) -> str:
    rows = [
        f"<tr><td>{escape(name)}</td><td>{shown(before)}</td><td>{shown(after)}</td>"
        f"<td>{difference(before, after, shown)}</td></tr>"
        for name, before, after, shown in compared(first.report, second.report)
    ]
    return _PAGE.format(
        title=escape(f"{first.name} and {second.name}"),
        first=escape(first.name),
        second=escape(second.name),
        drawing=drawing,
        rows="\n".join(rows),
    )
