"""What each tier has, who uses it, and what is free."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import streamlit as st

from portal import topview
from portal.charts.base import capacity, capacity_sentence, parts, pool_name
from portal.client.hub import HubProblem, HubUnreachable
from portal.format import TIER_WORDS, ago, count, plain
from portal.parts.drawn import markdown_table, picture
from portal.parts.problems import panel
from portal.session import Visit, is_dark, latest, visit
from scheduler.core.model import Tier
from scheduler.wire.accounts import PoolView
from scheduler.wire.telemetry import GpuTelemetry, NodeTelemetry, TelemetryPage

EVERY = "5s"
JUST_DRAWN = timedelta(seconds=5)
NODES_SHOWN, GPUS_SHOWN = 50, 64


def page() -> None:
    """Draw the page: all tiers, then one pool closely."""
    st.title("Capacity")
    panel(_all, EVERY)()
    name = _chosen()
    if name is not None:
        panel(_one_pool, EVERY)(name)


def _chosen() -> str | None:
    """Draw the choice of a pool; None where there is none, which the part above has told.

    No part that redraws itself holds it: that would close the list under the hand that chooses.
    """
    try:
        pools = latest("pools", visit().hub.pools, quietly=True, keep=JUST_DRAWN).pools
    except (HubUnreachable, HubProblem):
        return None
    if not pools:
        return None
    st.header("Look into a pool", divider=True)
    names = [pool.pool for pool in pools]
    return st.selectbox("Pool", names, key="pool", bind="query-params") or names[0]


def _all() -> None:
    pools = latest("pools", visit().hub.pools).pools
    if not pools:
        st.info(
            "There is no pool yet. An administrator loads a policy, which names them:"
            " `commonpool policy apply FILE`.",
            icon=":material/dns:",
        )
        return
    _say_simulated(pools)
    _numbers(pools)
    _tiers(pools)


def _tiers(pools: Sequence[PoolView]) -> None:
    tiers = [(tier, [pool for pool in pools if pool.tier is tier]) for tier in Tier]
    drawn, table = st.tabs(["Chart", "Table"])
    with drawn:
        first = True
        for tier, of_tier in tiers:
            if of_tier:
                st.subheader(f"{TIER_WORDS[tier]} tier")
                chart = capacity(of_tier, legend=first, dark=is_dark())
                picture(chart)
                first = False
    with table:
        _table([pool for _, of_tier in tiers for pool in of_tier])


def _numbers(pools: Sequence[PoolView]) -> None:
    total = sum(pool.capacity for pool in pools)
    free, down = (sum(parts(pool)[name] for pool in pools) for name in ("free", "down"))
    with st.container(horizontal=True):
        st.metric("GPUs free", f"{free:,}", border=True, width="content")
        st.metric("GPUs in use", f"{total - free - down:,}", border=True, width="content")
        st.metric(
            "GPUs down",
            f"{down:,}",
            border=True,
            width="content",
            help="The policy counts them, and no usable node reports them.",
        )


def _say_simulated(pools: Sequence[PoolView]) -> None:
    marked = [pool for pool in pools if pool.simulated]
    if not marked:
        return
    which = "All pools here are" if len(marked) == len(pools) else "Pools marked so are"
    st.warning(
        f"{which} simulated: jobs run, and GPUs are counted, but no GPU stands behind them.",
        title="SIMULATED",
        icon=":material/science:",
    )


def _table(pools: Sequence[PoolView]) -> None:
    markdown_table(
        [
            {
                "Tier": TIER_WORDS[pool.tier],
                "Pool": pool_name(pool),
                "Model": pool.gpu_model,
                "GPUs": pool.capacity,
                **{use.capitalize(): gpus for use, gpus in parts(pool).items()},
                "Owner": pool.owner,
                "Labels": ", ".join(pool.labels),
            }
            for pool in pools
        ],
        alt=capacity_sentence(pools),
    )


def _one_pool(name: str) -> None:
    pools = latest("pools", visit().hub.pools, quietly=True, keep=JUST_DRAWN).pools
    pool = next((one for one in pools if one.pool == name), None)
    if pool is None:
        st.info(f"The policy has no pool {plain(name)} any more.", icon=":material/dns:")
        return
    st.markdown(
        f"{TIER_WORDS[pool.tier]} tier, site {plain(pool.site)}, owned by **{plain(pool.owner)}**:"
        f" nodes of {pool.gpus_per_node} × {plain(pool.gpu_model)}, accredited for"  # noqa: RUF001
        f" {plain(', '.join(pool.labels))}."
        + (" **SIMULATED: no GPU stands behind it.**" if pool.simulated else "")
    )
    _quotas(pool)
    _nodes(pool, visit())


def _quotas(pool: PoolView) -> None:
    st.subheader("Quotas, in GPUs")
    if not pool.quotas:
        st.caption(f"No quotas: all of it is {plain(pool.owner)}'s.")
        return
    markdown_table(
        [
            {
                "Account": quota.account,
                "In use": quota.used,
                "Guaranteed": quota.nominal,
                "Lends while idle": quota.lend_max,
                "May borrow": quota.borrow_max,
            }
            for quota in pool.quotas
        ],
        alt=f"Quotas of {pool.pool} by account",
    )


def _nodes(pool: PoolView, here: Visit) -> None:
    st.subheader("Nodes")
    found = latest(
        f"telemetry {pool.pool}",
        lambda: here.hub.telemetry({"pool": pool.pool}, limit=NODES_SHOWN),
        quietly=True,
    )
    if not found.nodes:
        st.info(
            "No node of this pool has reported yet, so nothing can start here. Its site runs"
            " `commonpool node-agent`.",
            icon=":material/power_off:",
        )
        return
    markdown_table(
        [_node(node, here, found.at) for node in found.nodes],
        alt=f"Nodes of {pool.pool}, what is free on each, how busy, and why one is not usable",
    )
    if found.next:
        st.caption(f"The first {NODES_SHOWN} nodes. All: `commonpool top --pool {pool.pool}`.")
    _gpus(pool, found)


def _node(node: NodeTelemetry, here: Visit, at: datetime) -> dict[str, str]:
    state = "✓ usable" if node.usable else f"✗ not usable: {plain(node.why_unusable or 'unknown')}"
    free = sum(not gpu.held_by for gpu in node.gpus) if node.usable else 0
    sums = topview.sums(node.gpus, at)
    return {
        "Node": plain(node.node),
        "Free": f"{free} of {count(len(node.gpus), 'GPU')}",
        "SM activity": topview.percent(sums.sm_active),
        "Memory": topview.gib(sums.memory_used_mib),
        "Power": topview.watts(sums.power_watts),
        "Hottest": topview.celsius(sums.temperature_celsius),
        "State": state,
        "GPUs are": "SIMULATED" if node.simulated else "real",
        "Reported": ago(node.reported_at, here.now),
    }


def _gpus(pool: PoolView, found: TelemetryPage) -> None:
    """Draw each GPU that somebody has, or that something is wrong with."""
    shown = [
        _gpu(node, gpu, found.at)
        for node in found.nodes
        for gpu in node.gpus
        if gpu.held_by or gpu.foreign or not gpu.healthy
    ]
    if not shown:
        return
    st.subheader("GPUs in use, or not well")
    st.caption(
        "SM activity is the part of the time in which an SM had work. A dash was not measured, or"
        " is of a job whose label you are not cleared for."
    )
    markdown_table(
        shown[:GPUS_SHOWN],
        alt=f"GPUs of {pool.pool} in use or not well: who has them, and how busy they are",
    )
    if len(shown) > GPUS_SHOWN:
        st.caption(f"The first {GPUS_SHOWN} GPUs. All: `commonpool top --pool {pool.pool}`.")


def _gpu(node: NodeTelemetry, gpu: GpuTelemetry, at: datetime) -> dict[str, str]:
    word = topview.gpu_state(gpu)
    return {
        "GPU": plain(f"{node.node} / {gpu.index}"),
        "Who": plain(topview.who(gpu)) or topview.NOTHING,
        "SM activity": topview.percent(gpu.sm_active),
        "Memory": topview.gib(gpu.memory_used_mib),
        "Power": topview.watts(gpu.power_watts),
        "Temperature": topview.celsius(gpu.temperature_celsius),
        "Idle for": topview.idle(gpu, at) or topview.NOTHING,
        "Health": "✓ ok" if word == "ok" else f"✗ {plain(word)}",
    }


page()
