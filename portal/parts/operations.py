"""The parts of the operations page: nodes out of work, faults, foreign use, agents by pool."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import streamlit as st

from portal.client.hub import Hub
from portal.format import ago, count, moment, plain
from portal.parts.drawn import markdown_table
from portal.session import Visit, latest, visit
from scheduler.wire.operating import CordonView
from scheduler.wire.telemetry import GpuTelemetry, NodeTelemetry

PAGE_NODES, MOST_PAGES = 500, 2
ASKED_ABOUT = 20  # each is a question of its own to the hub
SHOWN = 50
NOTHING = "–"  # noqa: RUF001  # a dash for nothing
CORDON_WORDS = {"cordon": "cordoned", "drain": "draining", "reboot": "must be rebooted"}


@dataclass(frozen=True, slots=True)
class Fleet:
    """Nodes as they were `at`; `whole` is false where there are more than are looked at."""

    at: datetime
    nodes: tuple[NodeTelemetry, ...]
    whole: bool


def fleet(here: Visit, *, quietly: bool = False) -> Fleet:
    """Return all nodes with their GPUs, as far as a page looks at so many.

    Raises:
        HubUnreachable: the hub is away, and this was never answered before.
    """
    return latest("fleet", lambda: _read(here.hub), quietly=quietly)


def _read(hub: Hub) -> Fleet:
    page = hub.telemetry(limit=PAGE_NODES)
    nodes = page.nodes
    for _ in range(MOST_PAGES - 1):
        if page.next is None:
            break
        page = hub.telemetry(after=page.next, limit=PAGE_NODES)
        nodes += page.nodes
    return Fleet(page.at, nodes, whole=page.next is None)


def draw_health() -> None:
    """Draw how the fleet is: numbers, nodes out of work, faults, and who uses GPUs unasked."""
    here = visit()
    found = fleet(here)
    if not found.nodes:
        st.info(
            "No node has reported yet, so nothing can start. Each machine with GPUs runs"
            " `commonpool node-agent`.",
            icon=":material/power_off:",
        )
        return
    _numbers(found.nodes)
    if not found.whole:
        st.caption(f"The first {len(found.nodes):,} nodes by name. All: `commonpool top`.")
    out = [node for node in found.nodes if not node.usable]
    faults = list(_faults(found.nodes))
    if not out and not faults:
        st.info("Every node takes work, and no GPU has a fault.", icon=":material/done_all:")
    _out_of_work(out, here)
    _table("Faults", "GPUs and agents with faults, and why", faults)
    _table(
        "Foreign use",
        "Processes on GPUs that were not leased to them",
        list(_foreign(found.nodes)),
        "Processes on GPUs that were not leased to them. The run is told to operators.",
    )
    _table("Agents, by pool", "What each pool's agents report", list(_agents(found, here)))


def _numbers(nodes: Sequence[NodeTelemetry]) -> None:
    gpus = [gpu for node in nodes for gpu in node.gpus]
    working = sum(node.usable for node in nodes)
    with st.container(horizontal=True):
        for label, number in (
            ("Nodes that take work", f"{working:,} of {len(nodes):,}"),
            ("Nodes that do not", f"{len(nodes) - working:,}"),
            ("GPUs with a fault", f"{sum(not gpu.healthy for gpu in gpus):,}"),
            ("GPUs used unasked", f"{sum(bool(gpu.foreign) for gpu in gpus):,}"),
        ):
            st.metric(label, number, border=True, width="content")


def _table(
    title: str, alt: str, rows: Sequence[dict[str, str]], caption: str = "", most: int = SHOWN
) -> None:
    if not rows:
        return
    st.subheader(title)
    if caption:
        st.caption(caption)
    markdown_table(rows[:most], alt=alt)
    if len(rows) > most:
        st.caption(f"The first {most} of {len(rows):,}. All: `commonpool top`.")


def _out_of_work(nodes: Sequence[NodeTelemetry], here: Visit) -> None:
    rows = [
        _out(node, _cordon(node.node, here) if number < ASKED_ABOUT else None, here)
        for number, node in enumerate(nodes[:SHOWN])
    ]
    _table(
        "Nodes that take no work",
        "Nodes that take no work: how it is with them, why, since when, and until when",
        rows,
        "Nothing starts on them. Their runs have been told where they are to leave.",
    )
    if len(nodes) > SHOWN:
        st.caption(f"The first {SHOWN} of {len(nodes):,}. All: `commonpool node list`.")


def _cordon(node: str, here: Visit) -> CordonView | None:
    return latest(f"node {node}", lambda: here.hub.node(node), quietly=True).cordon


def _out(node: NodeTelemetry, cordon: CordonView | None, here: Visit) -> dict[str, str]:
    since = node.reported_at if cordon is None else cordon.at
    said = "" if cordon is None else f" (by {plain(cordon.by)})"
    return {
        "Node": plain(node.node),
        "Pool": plain(node.pool),
        "How it is": f"✗ {state_of(node, cordon)}",
        "Why": plain((cordon.why if cordon else node.why_unusable) or "not told") + said,
        "Since": f"{ago(since, here.now)} ({moment(since, here.now, here.zone)})",
        "Comes back after": plain(returns(cordon)),
    }


def state_of(node: NodeTelemetry, cordon: CordonView | None) -> str:
    """Return how it is with a node, in words."""
    if cordon is None:
        return "takes work" if node.usable else "not usable"
    held = sum(bool(gpu.held_by) for gpu in node.gpus)
    if cordon.action == "drain" and not held:
        return "drained"
    word = CORDON_WORDS.get(cordon.action, cordon.action)
    return f"{word}, {count(held, 'GPU')} still held" if held else word


def returns(cordon: CordonView | None) -> str:
    """Return after what a node works again."""
    return "a report that says it is well" if cordon is None else cordon.returns.replace("`", "")


def _faults(nodes: Sequence[NodeTelemetry]) -> Iterator[dict[str, str]]:
    """Yield faults, GPUs of a node that have the same one together."""
    for node in nodes:
        sick: dict[str, list[GpuTelemetry]] = {}
        for gpu in node.gpus:
            if not gpu.healthy:
                sick.setdefault(gpu.why_unhealthy or "unknown", []).append(gpu)
        for why, gpus in sick.items():
            which = ", ".join(str(gpu.index) for gpu in gpus)
            yield _fault(node, f"{'GPU' if len(gpus) == 1 else 'GPUs'} {which}", why)
        if node.sampler != "ok":
            yield _fault(node, "agent", f"reads its GPUs no more: {node.sampler}")


def _fault(node: NodeTelemetry, what: str, why: str) -> dict[str, str]:
    return {
        "Node": plain(node.node),
        "Pool": plain(node.pool),
        "What": what,
        "Fault": f"✗ {plain(why)}",
    }


def _foreign(nodes: Sequence[NodeTelemetry]) -> Iterator[dict[str, str]]:
    for node in nodes:
        for gpu in node.gpus:
            for one in gpu.foreign:
                yield {
                    "Node": plain(node.node),
                    "GPU": str(gpu.index),
                    "Processes": str(one.processes),
                    "Of run": plain(one.run or "") or NOTHING,
                    "Leased to": plain(", ".join(each.account for each in gpu.held_by)) or NOTHING,
                }


def _agents(found: Fleet, here: Visit) -> Iterator[dict[str, str]]:
    for pool in sorted({node.pool for node in found.nodes}):
        mine = [node for node in found.nodes if node.pool == pool]
        gpus = [gpu for node in mine for gpu in node.gpus]
        yield {
            "Pool": plain(pool),
            "Site": plain(mine[0].site),
            "Nodes": str(len(mine)),
            "Take work": str(sum(node.usable for node in mine)),
            "GPUs held": f"{sum(bool(gpu.held_by) for gpu in gpus)} of {len(gpus)}",
            "Latest report": ago(max(node.reported_at for node in mine), here.now),
            "Oldest report": ago(min(node.reported_at for node in mine), here.now),
            "GPUs are": "SIMULATED" if any(node.simulated for node in mine) else "real",
        }
