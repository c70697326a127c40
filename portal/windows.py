"""What keeps nodes for somebody, or for nobody: reservations and maintenance of policy and people.

The policy's stand in its text, which everybody may read; what operators planned beside it, the
hub lists. Pure, but for what is remembered of the text.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time

import streamlit as st
import yaml

from scheduler.wire.operating import MaintenanceWindow

RESERVED, MAINTENANCE = "reserved", "maintenance"


@dataclass(frozen=True, slots=True)
class Window:
    """Nodes of a pool from one time to another. `planned`: by an operator, who may cancel it."""

    name: str
    pool: str
    what: str
    whose: str
    nodes: str
    starts_at: datetime
    ends_at: datetime
    reason: str
    planned: bool = False


def of_operators(windows: Sequence[MaintenanceWindow]) -> Iterator[Window]:
    """Yield the maintenance that operators planned."""
    for one in windows:
        yield Window(
            name=one.name,
            pool=one.pool,
            what=MAINTENANCE,
            whose="",
            nodes=", ".join(one.nodes),
            starts_at=one.starts_at,
            ends_at=one.ends_at,
            reason=one.reason,
            planned=True,
        )


@st.cache_data(show_spinner=False, max_entries=4)  # process-wide: of a text that all may read
def of_policy(text: str) -> list[Window]:
    """Return the reservations and the maintenance that a policy's text has."""
    document = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    if not isinstance(document, Mapping):
        return []
    return [
        _window(one, what)
        for section, what in (("reservations", RESERVED), ("maintenance", MAINTENANCE))
        for one in document.get(section) or ()
    ]


def _window(one: Mapping[str, object], what: str) -> Window:
    named = one.get("nodes")
    count = one.get("node_count")
    nodes = ", ".join(str(node) for node in named) if isinstance(named, list) else ""
    return Window(
        name=str(one.get("id", "")),
        pool=str(one.get("pool", "")),
        what=what,
        whose=str(one.get("account", "")),
        nodes=nodes or (f"{count} of its nodes" if count else "all of its nodes"),
        starts_at=_instant(one.get("starts_at")),
        ends_at=_instant(one.get("ends_at")),
        reason=str(one.get("reason", "")),
    )


def _instant(said: object) -> datetime:
    """Return a time of the policy: without a zone it is UTC, and a day is its midnight."""
    if isinstance(said, str):
        said = datetime.fromisoformat(said)
    if isinstance(said, datetime):
        return said.astimezone(UTC) if said.tzinfo else said.replace(tzinfo=UTC)
    if isinstance(said, date):
        return datetime.combine(said, time(), UTC)
    raise ValueError(f"{said!r} is no time")
