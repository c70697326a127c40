"""Submit a job: what to run, on how much, under whose quota."""

from dataclasses import dataclass
from typing import NamedTuple

import streamlit as st

from portal.format import TIER_WORDS, plain
from portal.hub import HubProblem, HubUnreachable
from portal.session import Visit, latest, visit
from portal.submission import Trouble, Wish, send
from scheduler.core.model import PriorityClass, Tier
from scheduler.wire.accounts import Me, PoolView
from scheduler.wire.jobs import LONGEST_NAME, MOST_H100E, MOST_MEMORY_GIB, JobView

PRIORITIES = {
    PriorityClass.STANDARD: "standard",
    PriorityClass.HIGH: "high: before standard ones of the same account",
    PriorityClass.DEBUG: "debug: short and soon",
    PriorityClass.URGENT: "urgent: before all others of the same account",
    PriorityClass.BACKGROUND: "background: costs nothing, recalled by anybody",
}


@dataclass(frozen=True, slots=True)
class Choices:
    """What there is to choose from, and what the form starts with."""

    me: Me
    models: tuple[str, ...]
    tiers: tuple[Tier, ...]
    largest_node: int
    most_nodes: int
    start: JobView | None


class More(NamedTuple):
    """What few jobs ask for, each as the form's field says it; empty and 0 ask for nothing."""

    job_name: str
    reservation: str
    memory_gib: int
    h100e: int
    software: str


def page() -> None:
    """Draw the form, or go to the job that it just made."""
    made = st.session_state.pop("made", None)
    if made:
        st.switch_page("views/job.py", query_params={"id": made})
    st.title("Submit a job")
    here = visit()
    me = latest("me", here.hub.me)
    if not me.accounts:
        st.info(
            f"{plain(me.subject)} belongs to no account, so no quota could pay for a job. An"
            " administrator adds you to an account in the policy.",
            icon=":material/lock:",
        )
        return
    choices = _choices(me, latest("pools", here.hub.pools, quietly=True).pools, _template(here))
    trouble: Trouble | None = st.session_state.pop("trouble", None)
    if trouble and not trouble.field:
        st.error(plain(trouble.text), icon=":material/error:")
    elif trouble:
        st.error("Not submitted yet: see the field marked below.", icon=":material/error:")
    _form(choices, trouble, here)


def _template(here: Visit) -> JobView | None:
    """Return the job that the address names as a start; a foreign one is no start."""
    name = st.query_params.get("from")
    if not name:
        return None
    try:
        return here.hub.job(name)
    except HubProblem:
        return None


def _choices(me: Me, pools: tuple[PoolView, ...], start: JobView | None) -> Choices:
    return Choices(
        me=me,
        models=tuple(sorted({pool.gpu_model for pool in pools})),
        tiers=tuple(sorted({pool.tier for pool in pools}, key=lambda tier: tier.rank)),
        largest_node=max((pool.gpus_per_node for pool in pools), default=64),
        most_nodes=max((pool.capacity // pool.gpus_per_node for pool in pools), default=4096),
        start=start,
    )


def _form(choices: Choices, trouble: Trouble | None, here: Visit) -> None:
    start = choices.start
    if start:
        st.caption(
            f"Filled in from {plain(start.submission_id)}. Its working files and environment are"
            " not kept: add them again if it needs them."
        )
    # A key per template, or the fields would keep what was typed for another one.
    with st.form(f"job-{start.id if start else 'new'}", border=False):
        entrypoint = st.text_area(
            "Command",
            start.entrypoint if start else "",
            placeholder="python train.py --epochs 3",
            help="Runs on the first of the leased nodes, in the folder of your files.",
        )
        _beside("entrypoint", trouble)
        files = st.file_uploader(
            "Working files, as a zip (may be left out)",
            type="zip",
            max_upload_size=20,
            help="At most 20 MB. It is unpacked, and your command runs in it. Larger ones:"
            " `ray job submit --working-dir`, up to 100 MiB.",
        )
        _beside("files", trouble)
        sizes = _sizes(choices, trouble)
        account, models, tiers = _places(choices, trouble)
        label, priority = _classes(choices, trouble)
        time_limit, name, preemptible = _details(choices, trouble)
        more = _more(choices.start, trouble)
        if not st.form_submit_button("Submit job", type="primary", icon=":material/send:"):
            return
    _send(
        Wish(
            entrypoint,
            account,
            *sizes,
            gpu_models=tuple(models),
            tiers=tiers,
            all_tiers=bool(choices.tiers) and tiers == (choices.tiers[0], choices.tiers[-1]),
            label=label,
            priority=priority,
            preemptible=preemptible,
            time_limit=time_limit,
            name=name,
            files=files.getvalue() if files else None,
            job_name=more.job_name,
            memory_gib=more.memory_gib,
            h100e=more.h100e,
            software=tuple(more.software.replace(",", " ").split()),
            reservation=more.reservation,
        ),
        here,
    )


def _sizes(choices: Choices, trouble: Trouble | None) -> tuple[int, int]:
    left, right = st.columns(2)
    start = choices.start if choices.start and not choices.start.h100e else None
    with left:
        nodes = st.number_input(
            "Nodes",
            1,
            4096,
            start.nodes if start else 1,
            help=f"They start together or not at all. The largest pool has {choices.most_nodes:,}.",
        )
        _beside("nodes", trouble)
    with right:
        gpus = st.number_input(
            "GPUs on each node",
            1,
            64,
            start.gpus_per_node if start else 1,
            help=f"The largest nodes have {choices.largest_node}.",
        )
        _beside("gpus_per_node", trouble)
    return nodes, gpus


def _places(choices: Choices, trouble: Trouble | None) -> tuple[str, list[str], tuple[Tier, Tier]]:
    start, accounts = choices.start, choices.me.accounts
    left, right = st.columns(2)
    with left:
        account = st.selectbox(
            "Account that pays",
            accounts,
            accounts.index(start.account) if start and start.account in accounts else 0,
        )
        _beside("account", trouble)
    with right:
        models = st.multiselect(
            "GPU models",
            choices.models,
            [model for model in start.gpu_models if model in choices.models] if start else [],
            placeholder="any",
            help="Any of these will do. None chosen: any model.",
        )
        _beside("gpu_models", trouble)
    tiers = _tiers(choices)
    _beside("tiers", trouble)
    return account or accounts[0], models, tiers


def _tiers(choices: Choices) -> tuple[Tier, Tier]:
    there = choices.tiers or (Tier.TEAM, Tier.NATIONAL)
    wanted = choices.start.tier if choices.start else (there[0], there[-1])
    low, high = (
        there.index(tier) if tier in there else usual
        for tier, usual in zip(wanted, (0, len(there) - 1), strict=True)
    )
    left, right = st.columns(2)
    lowest = left.selectbox(
        "Lowest tier",
        there,
        low,
        format_func=TIER_WORDS.__getitem__,
        help="It starts on its own tier where it can, and spills over to the next.",
    )
    highest = right.selectbox("Highest tier", there, high, format_func=TIER_WORDS.__getitem__)
    return lowest or there[0], highest or there[-1]


def _classes(choices: Choices, trouble: Trouble | None) -> tuple[str, PriorityClass]:
    start, labels = choices.start, choices.me.labels or ("public",)
    left, right = st.columns(2)
    with left:
        usual = start.label if start else "public"
        label = st.selectbox(
            "Label of its data",
            labels,
            labels.index(usual) if usual in labels else 0,
            help="Only pools accredited for the label may run it. These are the ones you may"
            " handle.",
        )
        _beside("label", trouble)
    with right:
        priorities = list(PRIORITIES)
        priority = st.selectbox(
            "Priority",
            priorities,
            priorities.index(start.priority) if start else 0,
            format_func=PRIORITIES.__getitem__,
        )
        _beside("priority", trouble)
    return label or "public", priority or PriorityClass.STANDARD


def _details(choices: Choices, trouble: Trouble | None) -> tuple[str, str, bool]:
    start = choices.start
    left, right = st.columns(2)
    with left:
        time_limit = st.text_input(
            "Time limit",
            f"{start.time_limit_seconds}s" if start else "",
            placeholder="30m, 2h, 7d; empty: the tier's default",
            help="The run is ended after it. A shorter limit often starts sooner.",
        )
        _beside("time_limit", trouble)
    with right:
        name = st.text_input(
            "Submission id (may be left out)",
            placeholder="digits-2",
            help="What the job is listed under; unique among your jobs.",
        )
        _beside("name", trouble)
    preemptible = st.checkbox(
        "May be recalled",
        start.preemptible if start else True,
        help="It may then borrow idle GPUs; their owner can take them back with notice, and the"
        " job waits again. Without it, the job starts only within its account's own quota.",
    )
    _beside("preemptible", trouble)
    return time_limit, name, preemptible


def _more(start: JobView | None, trouble: Trouble | None) -> More:
    """Draw what few jobs need, folded away unless something in it is set or at fault."""
    usual = _usual(start)
    at_fault = trouble is not None and trouble.field in More._fields
    with st.expander("More options", expanded=at_fault or any(usual)):
        left, right = st.columns(2)
        with left:
            name = st.text_input(
                "Name",
                usual.job_name,
                max_chars=LONGEST_NAME,
                placeholder="digits",
                help="What this kind of job is called. Run times are foreseen from earlier jobs of"
                " the same name, so any number may share it.",
            )
            _beside("job_name", trouble)
        with right:
            reservation = st.text_input(
                "Reservation",
                usual.reservation,
                max_chars=120,
                placeholder="none",
                help="The id of an advance reservation of your account: the job runs only in it.",
            )
            _beside("reservation", trouble)
        return More(name, reservation, *_hardware(usual, trouble))


def _usual(start: JobView | None) -> More:
    if start is None:
        return More("", "", 0, 0, "")
    software = ", ".join(start.software)
    return More(start.name, start.reservation or "", start.memory_gib, start.h100e, software)


def _hardware(usual: More, trouble: Trouble | None) -> tuple[int, int, str]:
    left, right = st.columns(2)
    with left:
        memory = st.number_input(
            "Memory of each GPU, in GiB",
            0,
            MOST_MEMORY_GIB,
            usual.memory_gib,
            help="The least that each GPU must have. 0: any.",
        )
        _beside("memory_gib", trouble)
    with right:
        h100e = st.number_input(
            "H100-equivalents",
            0,
            MOST_H100E,
            usual.h100e,
            help="In place of nodes and GPUs on each node, which are then left at 1: as many GPUs"
            " of a pool's own model as that needs. 0: as nodes and GPUs say.",
        )
        _beside("h100e", trouble)
    software = st.text_input(
        "Software",
        usual.software,
        placeholder="cuda-12.4, pytorch",
        help="What a pool must offer, by the names in the policy, with commas between them.",
    )
    _beside("software", trouble)
    return memory, h100e, software


def _send(wish: Wish, here: Visit) -> None:
    keys: dict[str, str] = st.session_state.setdefault("submit_keys", {})
    try:
        answer = send(here.hub, wish, keys)
    except HubUnreachable as away:
        answer = Trouble(
            "",
            f"No answer from the hub at {away.url}: {away.reason}. Press Submit again when it is"
            " back: the job is made once, however often it is sent.",
        )
    if isinstance(answer, Trouble):
        st.session_state["trouble"] = answer
    else:
        st.session_state["made"] = answer.id
    st.rerun()


def _beside(field: str, trouble: Trouble | None) -> None:
    """Show the trouble under the field that it is about."""
    if trouble and trouble.field == field:
        st.error(plain(trouble.text), icon=":material/error:")


page()
