"""Plan a run: what a model takes, which tier it belongs to, and what the queue says to it (R16)."""

from dataclasses import dataclass, replace

import streamlit as st

from portal.charts.plan import flop_scale, tier_days
from portal.client.hub import HubUnreachable
from portal.dry_run_words import chance_word, done_word, price_word, start_word, tier_word
from portal.format import TIER_WORDS, count, plain
from portal.parts.drawn import markdown_table, picture
from portal.parts.problems import told
from portal.parts.submit_start import blank
from portal.plan_words import amount, days, power, short
from portal.session import Visit, is_dark, latest, visit
from portal.submission import Trouble, Wish, tried
from scheduler.core import compute_law as law
from scheduler.core import hardware
from scheduler.core.model import Tier
from scheduler.core.plan_sources import ALPHAS, THRESHOLDS
from scheduler.wire.accounts import PoolView
from scheduler.wire.dry_run import DryRunView

LONGEST_DAYS = 366
MARGIN = 1.25  # of the worst case: a limit that ends a run too soon costs all of it


@dataclass(frozen=True, slots=True)
class Plan:
    """What was filled in, and what follows of it. `tiers` are H100e of each tier's largest pool."""

    flop: float
    gpus: int
    model: str
    found: law.Estimate
    tiers: dict[Tier, float]

    @property
    def hours(self) -> law.Interval:
        """Return the hours that the chosen GPUs take."""
        factor = hardware.newest(hardware.TABLE)[self.model].factor / hardware.H100E
        return self.found.h100e_hours / (self.gpus * factor)


def page() -> None:
    """Draw the inputs, and beneath them what follows."""
    st.title("Plan a run")
    here = visit()
    with told():
        pools = latest("pools", here.hub.pools).pools
        plan = _inputs(pools)
        if plan is None:
            return
        _answer(plan)
        _scale(plan, here)
        _tiers(plan)
        _queue(plan, pools, here)
        _sources()


def _inputs(pools: tuple[PoolView, ...]) -> Plan | None:
    left, middle, right = st.columns(3)
    with left:
        parameters = st.text_input(
            "Parameters",
            "1.3B",
            key="params",
            bind="query-params",
            help="Of a mixture of experts, the active ones. 109M, 7B or 7e9.",
        )
    with middle:
        tokens = st.text_input(
            "Tokens", "26B", key="tokens", bind="query-params", help="Seen in all. 250B, 1T, 2e12."
        )
    with right:
        alpha = st.selectbox(
            "Kind of work",
            ALPHAS,
            format_func=lambda one: f"α = {one.value:g}: {one.name}",  # noqa: RUF001  # its name
            help="FLOP per parameter and token; the sources stand below.",
        )
    left, middle, right = st.columns(3)
    with left:
        # No slider: the number above its thumb is too faint on dark for WCAG's 4.5 to 1.
        mfu = st.number_input(
            "MFU, per cent",
            5,
            80,
            round(law.MFU * 100),
            help="The part of the GPU's dense rate that becomes progress (Chowdhery et al. 2022,"
            " appendix B). Reckoned with a quarter less and more, for it is known as a range.",
        )
    with middle:
        model = st.selectbox(
            "GPU",
            list(hardware.newest(hardware.TABLE)),
            format_func=_hardware_word,
            help="Dense rates without sparsity, from the makers' data sheets.",
        )
    with right:
        gpus = st.number_input("GPUs", 1, 100_000, 8, help="For the time, and for the queue.")
    try:
        flop = law.training_flop(amount(parameters), amount(tokens), alpha.value)
    except ValueError as error:
        st.error(plain(f"{error}."), icon=":material/error:")
        return None
    tiers = _tier_h100e(pools) or dict(law.TYPICAL_H100E)
    return Plan(flop, gpus, model, law.estimate(flop, law.mfu_around(mfu / 100), tiers), tiers)


def _hardware_word(model: str) -> str:
    row = hardware.newest(hardware.TABLE)[model]
    return f"{model}: {row.dense_tflops:,.0f} TFLOPS {row.precision.upper()}"


def _tier_h100e(pools: tuple[PoolView, ...]) -> dict[Tier, float]:
    """Return the H100e of each tier's largest pool: a gang has nodes of one pool (R5)."""
    newest = hardware.newest(hardware.TABLE)
    largest: dict[Tier, float] = {}
    for pool in pools:
        row = newest.get(pool.gpu_model)
        h100e = pool.capacity * (row.factor if row else hardware.H100E) / hardware.H100E
        largest[pool.tier] = max(largest.get(pool.tier, 0.0), h100e)
    return largest


def _answer(plan: Plan) -> None:
    hours, mine = plan.found.h100e_hours, plan.hours
    with st.container(horizontal=True):
        st.metric("FLOP", power(plan.flop), border=True, width="content")
        st.metric("H100e-hours", short(hours.expected), border=True, width="content")
        st.metric(
            f"On {count(plan.gpus, plan.model)}",
            days(mine.expected / 24),
            border=True,
            width="content",
        )
        proposed = plan.found.proposal.expected
        st.metric(
            "Tier to ask for",
            TIER_WORDS[proposed] if proposed else "none",
            border=True,
            width="content",
        )
    st.caption(
        f"{short(hours.best)} to {short(hours.worst)} H100e-hours and {days(mine.best / 24)} to"
        f" {days(mine.worst / 24)}, at {plan.found.mfu.best:.0%} to {plan.found.mfu.worst:.0%} MFU."
        f" {_advice(plan.found.proposal)}"
    )


def _advice(proposal: law.Proposal) -> str:
    within = f"within {law.PATIENCE_DAYS:g} days of its largest pool"
    if proposal.expected is None:
        return f"No tier does it {within}: fewer tokens, or a longer time."
    if proposal.worst is proposal.best:
        return f"{TIER_WORDS[proposal.expected]} is the smallest tier that does it {within}."
    worst = TIER_WORDS[proposal.worst] if proposal.worst else "none"
    return (
        f"{TIER_WORDS[proposal.expected]} is the smallest tier that does it {within};"
        f" in the worst case {worst}."
    )


def _scale(plan: Plan, here: Visit) -> None:
    st.subheader("Among models and thresholds")
    chart = flop_scale(plan.flop, here.now.date(), dark=is_dark())
    picture(chart)
    crossed = sorted(
        {row.flop for row in THRESHOLDS if row.holds(here.now.date()) and plan.flop >= row.flop}
    )
    if crossed:
        st.warning(
            "It is at or beyond "
            + ", ".join(power(flop) for flop in crossed)
            + " FLOP, to which texts in force attach duties: see the table. FLOP are added up per"
            " model line over jobs and sites (R17).",
            icon=":material/gavel:",
        )
    with st.expander("View as a table", icon=":material/table:"):
        rows = [
            {"What": row.model, "FLOP": power(row.flop), "In force": "", "Source": _of(row)}
            for row in law.PUBLISHED
        ]
        rows += [
            {
                "What": row.name,
                "FLOP": power(row.flop),
                "In force": f"from {row.since}" + (f" until {row.until}" if row.until else ""),
                "Source": row.source,
            }
            for row in THRESHOLDS
        ]
        rows.append({"What": "this run", "FLOP": power(plan.flop), "In force": "", "Source": ""})
        markdown_table(rows, alt="Models and thresholds by FLOP")


def _of(row: law.Published) -> str:
    return (
        f"{short(row.parameters)} parameters, {short(row.tokens)} tokens: α = {law.alpha(row):.2f}"  # noqa: RUF001
    )


def _tiers(plan: Plan) -> None:
    st.subheader("With all of a tier to itself")
    chart = tier_days(plan.found.tiers, law.PATIENCE_DAYS, dark=is_dark())
    picture(chart)
    with st.expander("View as a table", icon=":material/table:"):
        markdown_table(
            [
                {
                    "Tier": TIER_WORDS[row.tier],
                    "H100e": f"{row.h100e:,.0f}",
                    "Best": days(row.days.best),
                    "Expected": days(row.days.expected),
                    "Worst": days(row.days.worst),
                }
                for row in plan.found.tiers
            ],
            alt="Days per tier",
        )


def _queue(plan: Plan, pools: tuple[PoolView, ...], here: Visit) -> None:
    st.subheader("What the queue says to it")
    me = latest("me", here.hub.me, quietly=True)
    if not me.accounts:
        st.info("You belong to no account, so nothing can be planned for you.")
        return
    tiers = tuple(sorted(plan.tiers, key=lambda tier: tier.rank))
    wish = _wish(plan, pools, blank(me, tiers).wish)
    if isinstance(wish, str):
        st.info(plain(wish), icon=":material/info:")
        return
    expected = max(1, round(plan.hours.expected * 3600))
    try:
        # Of these very inputs: another run's answer would be none.
        asked = f"dry run of {wish} for {expected}"
        found = latest(asked, lambda: tried(here.hub, wish, expected), quietly=True)
    except HubUnreachable:
        st.info("The hub does not answer; what it would say stands here when it does.")
        return
    if isinstance(found, Trouble):
        st.info(f"As it stands it would be refused. {plain(found.text)}", icon=":material/block:")
        return
    _foreseen(found, plan, pools, here)


def _wish(plan: Plan, pools: tuple[PoolView, ...], usual: Wish) -> Wish | str:
    """Return the job of this run, or why there can be none."""
    of_model = [pool for pool in pools if pool.gpu_model == plan.model]
    if not of_model:
        return f"No pool has {plan.model} GPUs: choose another GPU for what the queue says."
    per_node = max(pool.gpus_per_node for pool in of_model)
    nodes, rest = divmod(plan.gpus, per_node)
    limit = plan.hours.worst * MARGIN
    if limit > LONGEST_DAYS * 24:
        return f"It would run for {days(limit / 24)}: a job lasts a year at most. Use more GPUs."
    return replace(
        usual,
        entrypoint="python train.py",
        nodes=nodes + bool(rest) if nodes else 1,
        gpus_per_node=per_node if nodes else plan.gpus,
        gpu_models=(plan.model,),
        time_limit=f"{max(60, round(limit * 3600))}s",
    )


def _foreseen(found: DryRunView, plan: Plan, pools: tuple[PoolView, ...], here: Visit) -> None:
    rows = [
        {
            "Where": tier_word(one),
            "GPUs": _part(one.gpus, one.pool, pools) if one.gpus else "",
            "Starts": start_word(one, here.now),
            "Done": done_word(one, here.now),
            "H100e-hours": price_word(one),
            "Chance of recall": chance_word(one),
        }
        for one in found.candidates
    ]
    markdown_table(rows, alt="What would become of the run, by tier")
    first = found.candidates[0]
    # Why not: of what was asked for, or of the tiers on which it never starts.
    unseen = [one for one in found.candidates if one.start is None] or [first]
    said = [verdict.sentence for one in unseen for verdict in one.verdicts[:1]]
    said += [first.quota.sentence] if first.quota else []
    st.caption(
        f"Planned as a job of {count(plan.gpus, 'GPU')} behind all that waits now, at most"
        f" {days(plan.hours.worst * MARGIN / 24)} long; nothing was submitted. "
        + plain(" ".join(said))
    )


def _part(gpus: int, name: str | None, pools: tuple[PoolView, ...]) -> str:
    """Return how much of its pool the run would hold."""
    pool = next((pool for pool in pools if pool.pool == name), None)
    return f"{gpus:,}" if pool is None else f"{gpus:,} of {pool.capacity:,}"


def _sources() -> None:
    with st.expander("Where these numbers come from", icon=":material/menu_book:"):
        rows = [{"Input": f"α = {one.value:g}, {one.name}", "Source": one.source} for one in ALPHAS]  # noqa: RUF001
        rows += [
            {"Input": _hardware_word(model), "Source": row.source}
            for model, row in hardware.newest(hardware.TABLE).items()
        ]
        mfu = "A. Chowdhery et al., PaLM, 2022, appendix B; 30 to 50 % where no run of yours says"
        rows.append({"Input": "MFU", "Source": mfu})
        markdown_table(rows, alt="Inputs and their sources")


page()
