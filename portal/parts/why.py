"""Why a job waits, when it should start, who is ahead, and what would start it sooner."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from urllib.parse import quote
from uuid import uuid4

import streamlit as st

from portal.client.hub import HubProblem
from portal.format import JOB_LOOKS, ahead, count, moment, plain, span
from portal.parts.problems import say
from portal.session import Visit, visit
from scheduler.core.lifecycle import JobState
from scheduler.core.model import Sector
from scheduler.wire.explanations import AheadView, SoonerView
from scheduler.wire.jobs import Explanation, JobView

SECTORS = {
    Sector.DOD: "DoD",
    Sector.ACADEMIC: "academic",
    Sector.INDUSTRY: "industry",
    Sector.ALLIED: "allied",
}


def draw_start(job: JobView, why: Explanation, here: Visit) -> None:
    """Draw its place, the planned or likely start, and by when it has almost surely started."""
    with st.container(horizontal=True):
        place = "being planned" if job.position is None else f"{job.position}"
        st.metric(f"Place in the queue of {job.account}", place, border=True, width="content")
        start = ahead(job.starts_at, here.now) if job.starts_at else "not known yet"
        exact = moment(job.starts_at, here.now, here.zone) if job.starts_at else None
        st.metric("Planned start", start, border=True, width="content", help=exact)
        if why.eta is not None:
            latest = ahead(why.eta.high, here.now) if why.eta.high else "open"
            st.metric(
                "Almost surely",
                latest,
                border=True,
                width="content",
                help="The end of an interval that holds in four cases of five; how often it did"
                " is counted.",
            )
    if why.eta is not None:
        rough = "" if why.eta.informed else " No run times of earlier jobs are known: rough."
        st.caption(plain(why.eta.sentence) + rough)


def draw_ahead(job: JobView, why: Explanation) -> None:
    """Draw who goes first: of others only how many, by sector."""
    lines = ahead_lines(why.ahead, job.account)
    if not lines:
        return
    st.subheader("Who is ahead")
    st.markdown("\n".join(f"- {plain(line)}" for line in lines))


def ahead_lines(found: Sequence[AheadView], account: str) -> list[str]:
    """Return who is ahead in sentences: the own account's jobs, then counts per sector."""
    own = [one for one in found if one.account == account]
    lines = [f"{count(one.jobs, 'job')} of your own account: {one.why}" for one in own]
    sectors = Counter[str]()
    for one in found:
        if one.account != account:
            name = SECTORS[one.sector] if one.sector else "other"
            sectors[name] += one.jobs
    reasons = {one.why for one in found if one.account != account}
    reason = reasons.pop() if len(reasons) == 1 else ""
    why = f": {_OF_MANY.get(reason, reason)}" if reason else ""
    return lines + [
        f"{count(jobs, 'job')} of {name} accounts{why}" for name, jobs in sorted(sectors.items())
    ]


# The hub says it of one account; here it is said of many.
_OF_MANY = {"it has used less per weight": "they have used less for their weight"}


def draw_sooner(job: JobView, why: Explanation) -> None:
    """Draw the changes that the planner found, each a click away."""
    st.subheader("Start sooner")
    if not why.sooner:
        st.caption(plain(why.note) or "No change was found that starts it sooner.")
        return
    for one in why.sooner:
        with st.container(horizontal=True, vertical_alignment="center"):
            if one.change and st.button(
                _label(one), key=f"sooner-{one.knob}", icon=":material/fast_forward:"
            ):
                submit_again(job, one.change, replace=True)
            st.text(one.sentence)
    st.caption(
        "Each was tried on a copy of the queue by the planner. A click submits the job with the"
        " change and ends this one; its age is not carried over, so the new one queues as"
        f" submitted now. {plain(why.note)}"
    )


_KNOBS = {
    "preemptible": "Accept recall",
    "gpu_models": "Use {after}",
    "tier": "Use {after}",
    "time_limit": "Limit to {after}",
    "nodes": "Take {after} of {before} nodes",
    "gpus_per_node": "Take {after} of {before} GPUs",
    "background": "Run in the background",
}


def _label(one: SoonerView) -> str:
    """Return what a click does, in few words."""
    words = _KNOBS.get(one.knob, "Change {knob}")
    seconds = one.change.get("time_limit_seconds")
    after = span(timedelta(seconds=seconds)) if isinstance(seconds, int) else one.after
    return words.format(after=after, before=one.before, knob=one.knob)


def submit_again(job: JobView, change: dict[str, object], *, replace: bool = False) -> None:
    """Submit a job once more and go to it; a click that is repeated makes no second job."""
    keys: dict[str, str] = st.session_state.setdefault("again_keys", {})
    what = f"{job.id} {sorted(change.items())} {replace}"
    key = keys.setdefault(what, str(uuid4()))
    message = {"change": change, "replace": replace}
    path = f"/v1/jobs/{quote(job.id, safe='')}/again"
    try:
        new = visit().hub.exchange(
            JobView, "POST", path, json=message, headers={"Idempotency-Key": key}
        )
    except HubProblem as problem:
        say(problem)
        return
    keys.pop(what)
    st.switch_page("views/job.py", query_params={"id": new.id})


def draw_timeline(job: JobView, here: Visit) -> None:
    """Draw the states that it went through, and those that are to come."""
    steps = timeline(job)
    said = [
        f"{icon} {word}" + (f" {moment(at, here.now, here.zone)}" if at else "")
        for icon, word, at in steps
    ]
    st.markdown("  →  ".join(said))


def timeline(job: JobView) -> list[tuple[str, str, datetime | None]]:
    """Return icon, word and time of each step; a time of None is yet to come."""
    run = job.runs[-1] if job.runs else None
    done, next_ = ":material/check_circle:", ":material/radio_button_unchecked:"
    found: list[tuple[str, str, datetime | None]] = [(done, "Submitted", job.submitted_at)]
    leased = run.leased_at if run else None
    started = run.started_at if run else None
    recalls = len(job.runs) - 1
    again = f" (attempt {len(job.runs)})" if recalls > 0 else ""
    waits = job.state is JobState.PENDING
    # A job that waits again has been through all that before: what comes is what is of interest.
    found.append(_step(f"GPUs leased{again}", None if waits else leased, done, next_))
    found.append(_step("Running", None if waits else started, done, next_))
    if job.state.is_terminal:
        look = JOB_LOOKS[job.state]
        reached = [step for step in found if step[2] is not None]
        return [*reached, (look.icon, look.word, job.ended_at)]
    return [*found, (next_, "Ended", None)]


def _step(
    word: str, at: datetime | None, done: str, to_come: str
) -> tuple[str, str, datetime | None]:
    return (done if at else to_come, word, at)
