"""The fields of a job, filled in from a start; each has its trouble beneath it."""

from dataclasses import dataclass
from typing import NamedTuple

import streamlit as st

from portal.format import TIER_WORDS, plain
from portal.parts.submit_start import Start
from portal.submission import Trouble, Wish
from scheduler.core.model import PriorityClass, Tier
from scheduler.wire.accounts import Me
from scheduler.wire.jobs import LONGEST_NAME, MOST_H100E, MOST_MEMORY_GIB

PRIORITIES = {
    PriorityClass.STANDARD: "standard",
    PriorityClass.HIGH: "high: before standard ones of the same account",
    PriorityClass.DEBUG: "debug: short and soon",
    PriorityClass.URGENT: "urgent: before all others of the same account",
    PriorityClass.BACKGROUND: "background: costs nothing, recalled by anybody",
}


@dataclass(frozen=True, slots=True)
class Form:
    """What there is to choose from, what the fields start with, and which of them is at fault."""

    me: Me
    models: tuple[str, ...]
    tiers: tuple[Tier, ...]
    largest_node: int
    most_nodes: int
    start: Start
    trouble: Trouble | None = None

    def key(self, field: str) -> str:
        """Return the key of a field: forms that start with something else share no values."""
        return f"{field}-{self.start.key}"

    def beside(self, field: str) -> None:
        """Show the trouble under the field that it is about."""
        if self.trouble and self.trouble.field == field:
            st.error(plain(self.trouble.text), icon=":material/error:")


class More(NamedTuple):
    """What few jobs ask for, each as the form's field says it; empty and 0 ask for nothing."""

    job_name: str
    reservation: str
    memory_gib: int
    h100e: int
    software: str
    model_line: str
    training_flop: str


def fields(form: Form) -> Wish:
    """Draw all fields, and return what they hold."""
    entrypoint = _command(form)
    files = _files(form)
    nodes, gpus = _sizes(form)
    account, models, tiers = _places(form)
    label, priority = _classes(form)
    time_limit, name, preemptible = _details(form)
    more = _more(form)
    return Wish(
        entrypoint,
        account,
        nodes,
        gpus,
        gpu_models=tuple(models),
        tiers=tiers,
        all_tiers=bool(form.tiers) and tiers == (form.tiers[0], form.tiers[-1]),
        label=label,
        priority=priority,
        preemptible=preemptible,
        time_limit=time_limit,
        name=name,
        files=files,
        job_name=more.job_name,
        memory_gib=more.memory_gib,
        h100e=more.h100e,
        software=tuple(more.software.replace(",", " ").split()),
        reservation=more.reservation,
        template=form.start.wish.template,
        model_line=more.model_line,
        training_flop=more.training_flop,
    )


def _command(form: Form) -> str:
    entrypoint = st.text_area(
        "Command",
        form.start.wish.entrypoint,
        placeholder="python train.py --epochs 3",
        help="Runs on the first of the leased nodes, in the folder of your files.",
        key=form.key("entrypoint"),
    )
    form.beside("entrypoint")
    return entrypoint


def _files(form: Form) -> bytes | None:
    start = form.start
    if start.template:
        usual = f"`{start.template.file}` of the template"
    elif start.again:
        usual = f"those of {plain(start.again.submission_id)}"
    else:
        usual = "none"
    files = st.file_uploader(
        f"Working files, as a zip (may be left out: then {usual})",
        type="zip",
        key=form.key("files"),
        max_upload_size=20,
        help="At most 20 MB. It is unpacked, and your command runs in it. Larger ones:"
        " `ray job submit --working-dir`, up to 100 MiB.",
    )
    form.beside("files")
    return files.getvalue() if files else start.wish.files


def _sizes(form: Form) -> tuple[int, int]:
    left, right = st.columns(2)
    with left:
        nodes = st.number_input(
            "Nodes",
            1,
            4096,
            form.start.wish.nodes,
            help=f"They start together or not at all. The largest pool has {form.most_nodes:,}.",
            key=form.key("nodes"),
        )
        form.beside("nodes")
    with right:
        gpus = st.number_input(
            "GPUs on each node",
            1,
            64,
            form.start.wish.gpus_per_node,
            help=f"The largest nodes have {form.largest_node}.",
            key=form.key("gpus_per_node"),
        )
        form.beside("gpus_per_node")
    return nodes, gpus


def _places(form: Form) -> tuple[str, list[str], tuple[Tier, Tier]]:
    wish, accounts = form.start.wish, form.me.accounts
    left, right = st.columns(2)
    with left:
        usual = accounts.index(wish.account) if wish.account in accounts else 0
        account = st.selectbox("Account that pays", accounts, usual, key=form.key("account"))
        form.beside("account")
    with right:
        models = st.multiselect(
            "GPU models",
            form.models,
            [model for model in wish.gpu_models if model in form.models],
            placeholder="any",
            help="Any of these will do. None chosen: any model.",
            key=form.key("gpu_models"),
        )
        form.beside("gpu_models")
    tiers = _tiers(form)
    form.beside("tiers")
    return account or accounts[0], models, tiers


def _tiers(form: Form) -> tuple[Tier, Tier]:
    there = form.tiers or (Tier.TEAM, Tier.NATIONAL)
    low, high = (
        there.index(tier) if tier in there else usual
        for tier, usual in zip(form.start.wish.tiers, (0, len(there) - 1), strict=True)
    )
    left, right = st.columns(2)
    lowest = left.selectbox(
        "Lowest tier",
        there,
        low,
        format_func=TIER_WORDS.__getitem__,
        help="It starts on its own tier where it can, and spills over to the next.",
        key=form.key("lowest"),
    )
    highest = right.selectbox(
        "Highest tier", there, high, format_func=TIER_WORDS.__getitem__, key=form.key("highest")
    )
    return lowest or there[0], highest or there[-1]


def _classes(form: Form) -> tuple[str, PriorityClass]:
    wish, labels = form.start.wish, form.me.labels or ("public",)
    left, right = st.columns(2)
    with left:
        label = st.selectbox(
            "Label of its data",
            labels,
            labels.index(wish.label) if wish.label in labels else 0,
            help="Only pools accredited for the label may run it. These are the ones you may"
            " handle.",
            key=form.key("label"),
        )
        form.beside("label")
    with right:
        priorities = list(PRIORITIES)
        priority = st.selectbox(
            "Priority",
            priorities,
            priorities.index(wish.priority),
            format_func=PRIORITIES.__getitem__,
            key=form.key("priority"),
        )
        form.beside("priority")
    return label or "public", priority or PriorityClass.STANDARD


def _details(form: Form) -> tuple[str, str, bool]:
    wish = form.start.wish
    left, right = st.columns(2)
    with left:
        time_limit = st.text_input(
            "Time limit",
            wish.time_limit,
            placeholder="30m, 2h, 7d; empty: the tier's default",
            help="The run is ended after it. A shorter limit often starts sooner.",
            key=form.key("time_limit"),
        )
        form.beside("time_limit")
    with right:
        name = st.text_input(
            "Submission id (may be left out)",
            wish.name,
            placeholder="digits-2",
            help="What the job is listed under; unique among your jobs.",
            key=form.key("name"),
        )
        form.beside("name")
    preemptible = st.checkbox(
        "May be recalled",
        wish.preemptible,
        help="It may then borrow idle GPUs; their owner can take them back with notice, and the"
        " job waits again. Without it, the job starts only within its account's own quota.",
        key=form.key("preemptible"),
    )
    form.beside("preemptible")
    return time_limit, name, preemptible


def _more(form: Form) -> More:
    """Draw what few jobs need, folded away unless something in it is set or at fault."""
    wish = form.start.wish
    usual = More(
        wish.job_name,
        wish.reservation,
        wish.memory_gib,
        wish.h100e,
        ", ".join(wish.software),
        wish.model_line,
        wish.training_flop,
    )
    at_fault = form.trouble is not None and form.trouble.field in More._fields
    if form.start.template:  # these fields are folded away already, with all the others
        return _rest(form, usual)
    with st.expander("More options", expanded=at_fault or any(usual)):
        return _rest(form, usual)


def _rest(form: Form, usual: More) -> More:
    left, right = st.columns(2)
    with left:
        name = st.text_input(
            "Name",
            usual.job_name,
            max_chars=LONGEST_NAME,
            placeholder="digits",
            help="What this kind of job is called. Run times are foreseen from earlier jobs of"
            " the same name, so any number may share it.",
            key=form.key("job_name"),
        )
        form.beside("job_name")
    with right:
        reservation = st.text_input(
            "Reservation",
            usual.reservation,
            max_chars=120,
            placeholder="none",
            help="The id of an advance reservation of your account: the job runs only in it.",
            key=form.key("reservation"),
        )
        form.beside("reservation")
    return More(name, reservation, *_hardware(form, usual), *_training(form, usual))


def _hardware(form: Form, usual: More) -> tuple[int, int, str]:
    left, right = st.columns(2)
    with left:
        memory = st.number_input(
            "Memory of each GPU, in GiB",
            0,
            MOST_MEMORY_GIB,
            usual.memory_gib,
            help="The least that each GPU must have. 0: any.",
            key=form.key("memory_gib"),
        )
        form.beside("memory_gib")
    with right:
        h100e = st.number_input(
            "H100-equivalents",
            0,
            MOST_H100E,
            usual.h100e,
            help="In place of nodes and GPUs on each node, which are then left at 1: as many GPUs"
            " of a pool's own model as that needs. 0: as nodes and GPUs say.",
            key=form.key("h100e"),
        )
        form.beside("h100e")
    software = st.text_input(
        "Software",
        usual.software,
        placeholder="cuda-12.4, pytorch",
        help="What a pool must offer, by the names in the policy, with commas between them.",
        key=form.key("software"),
    )
    form.beside("software")
    return memory, h100e, software


def _training(form: Form, usual: More) -> tuple[str, str]:
    left, right = st.columns(2)
    with left:
        line = st.text_input(
            "Model line",
            usual.model_line,
            max_chars=63,
            placeholder="vision-7b",
            help="The line of models that it trains, fine-tuning included: its jobs' FLOP are"
            " added up, and some thresholds need approvers.",
        )
        form.beside("model_line")
    with right:
        flop = st.text_input(
            "FLOP that it adds to the line",
            usual.training_flop,
            placeholder="1.2e22",
            help="6 x parameters x tokens, as Plan a run works out. Empty: what its GPUs can do"
            " within the time limit counts.",
        )
        form.beside("training_flop")
    return line, flop
