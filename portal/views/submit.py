"""Submit a job: a template and a click, or a program of one's own, with what becomes of it."""

from dataclasses import replace
from datetime import timedelta
from typing import cast

import streamlit as st

from portal.catalogue import template, templates
from portal.client.hub import HubProblem, HubUnreachable
from portal.format import ago, plain
from portal.parts.approval import draw_approval
from portal.parts.drafts import discard, kept, load
from portal.parts.no_account import say_no_account
from portal.parts.submit_cards import draw_cards, draw_checks, draw_forms
from portal.parts.submit_form import Form, fields
from portal.parts.submit_start import (
    Start,
    blank,
    draft_of,
    from_draft,
    from_job,
    from_template,
)
from portal.session import Visit, is_dark, latest, visit
from portal.submission import Trouble, Wish, send, tried
from scheduler.core.model import Tier
from scheduler.wire.accounts import Me, PoolView
from scheduler.wire.dry_run import DryRunView
from scheduler.wire.jobs import JobView

PAGE = "submit"
OWN = "My own program"
CHECK_AGAIN = timedelta(seconds=20)


def page() -> None:
    """Draw the form, or go to the job that it just made."""
    made = st.session_state.pop("made", None)
    if made:
        st.switch_page("views/job.py", query_params={"id": made})
    st.title("Submit a job")
    here = visit()
    me = latest("me", here.hub.me)
    if not me.accounts:
        say_no_account(me.subject)
        return
    pools = latest("pools", here.hub.pools, quietly=True).pools
    tiers = tuple(sorted({pool.tier for pool in pools}, key=lambda tier: tier.rank))
    start = _start(me, tiers, here)
    _pick(start)
    _say_start(start, here)
    trouble: Trouble | None = st.session_state.pop("trouble", None)
    _draw(_form(me, pools, tiers, start, trouble), here)


def _form(
    me: Me,
    pools: tuple[PoolView, ...],
    tiers: tuple[Tier, ...],
    start: Start,
    trouble: Trouble | None,
) -> Form:
    return Form(
        me=me,
        models=tuple(sorted({pool.gpu_model for pool in pools})),
        tiers=tiers,
        largest_node=max((pool.gpus_per_node for pool in pools), default=64),
        most_nodes=max((pool.capacity // pool.gpus_per_node for pool in pools), default=4096),
        start=start,
        trouble=trouble,
    )


def _start(me: Me, tiers: tuple[Tier, ...], here: Visit) -> Start:
    """Return what the address names: a template, an earlier job, else a draft, else nothing.

    It is kept for the session: a draft that is saved meanwhile must not empty the fields.
    """
    asked = (me.subject, st.query_params.get("tmpl", ""), st.query_params.get("from", ""))
    known: tuple[tuple[str, str, str], Start] | None = st.session_state.get("submit_start")
    if known is not None and known[0] == asked:
        return known[1]
    start = _new_start(me, tiers, here)
    st.session_state["submit_start"] = (asked, start)
    st.session_state.pop("checked", None)
    return start


def _new_start(me: Me, tiers: tuple[Tier, ...], here: Visit) -> Start:
    one = template(st.query_params.get("tmpl", ""))
    if one is not None:
        return from_template(one, me, tiers)
    name = st.query_params.get("from")
    if name:
        try:
            return from_job(here.hub.job(name), me, tiers)
        except HubProblem:
            return blank(me, tiers)  # a foreign one is no start
    usual = blank(me, tiers)
    draft = load(here.hub, PAGE)
    return (draft and from_draft(draft, usual.wish)) or usual


def _pick(start: Start) -> None:
    """Draw the templates; the chosen one is in the address."""
    names = [one.name for one in templates()]
    titles = {one.name: one.said.challenge for one in templates()} | {"": OWN}
    chosen = start.template.name if start.template else ""
    # Of the two, only the radio buttons have enough contrast in the dark theme (axe-core).
    draw = st.radio if is_dark() else st.pills
    more = {"horizontal": True} if is_dark() else {}
    picked = draw(  # type: ignore[operator]  # two widgets of like arguments
        "Start from",
        ["", *names],
        **({"index": ["", *names].index(chosen)} if is_dark() else {"default": chosen}),
        format_func=titles.__getitem__,
        key=f"tmpl-{chosen}-{is_dark()}",
        **more,
    )
    if picked is None or picked == chosen:
        return
    st.query_params.pop("from", None)
    st.query_params.pop("tmpl", None)
    if picked:
        st.query_params["tmpl"] = picked
    st.rerun()


def _say_start(start: Start, here: Visit) -> None:
    if start.template:
        said = start.template.said
        st.markdown(f"**{said.title}.** {plain(said.purpose)}")
        st.caption(
            f"About {said.expected_seconds} s once it runs · checkpoint: {plain(said.checkpoint)}"
        )
    elif start.again:
        st.caption(
            f"Filled in from {plain(start.again.submission_id)}, whose working files and"
            " environment go along, unless you upload others."
        )
    elif start.drafted_at:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(f"Your draft of {ago(start.drafted_at, here.now)}, without files.")
            if st.button("Discard the draft", icon=":material/delete:", type="tertiary"):
                discard(here.hub, PAGE)
                for name in ("submit_start", "checked", "drafted"):
                    st.session_state.pop(name, None)
                st.rerun()


def _draw(form: Form, here: Visit) -> None:
    checked = _checked(form, here)
    if isinstance(checked, Trouble):
        form = replace(form, trouble=form.trouble or checked)
    _say_trouble(form.trouble)
    if isinstance(checked, DryRunView):
        draw_approval(checked.approval)
    _fill_in(form, checked)
    known = st.session_state.get("checked")
    shown = known[0] if known else form.start.wish
    with st.expander("The same job from elsewhere", icon=":material/content_copy:"):
        draw_forms(shown, here)


@st.fragment
def _fill_in(form: Form, checked: DryRunView | Trouble | None) -> None:
    """Draw the form, and keep what is filled in as a draft from its first change on.

    A fragment: a change of a field costs this part, and the dry run only when it is asked for.
    """
    here = visit()
    wish, place, pressed = _inside(form, checked, here)
    known = st.session_state.get("checked")
    shown = known[0] if known else form.start.wish
    if isinstance(checked, DryRunView):
        with st.expander("What was checked", icon=":material/fact_check:"):
            draw_checks(checked, place, shown)
    if pressed == "check":
        _check(wish, here)
    elif pressed == "submit":
        _send(wish, _change(checked, place, wish, shown), form.start, here)
    else:
        _keep(form.start, wish, here)


def _keep(start: Start, wish: Wish, here: Visit) -> None:
    """Keep a draft where a field was changed since the last look: a tab may be closed any time."""
    said = draft_of(wish)
    before = st.session_state.get("drafted")
    st.session_state["drafted"] = (start.key, said)
    if before is not None and before[0] == start.key and before[1] != said:
        kept(here.hub, PAGE, said)


def _inside(
    form: Form, checked: DryRunView | Trouble | None, here: Visit
) -> tuple[Wish, int | None, str]:
    """Draw cards, buttons and fields; return what they hold, and what was pressed."""
    if not form.start.template:
        wish = fields(form)
        place = _chosen(checked, here)
        return wish, place, _buttons()
    place = _chosen(checked, here)
    pressed = _buttons()
    with st.expander("Adjust", expanded=form.trouble is not None, icon=":material/tune:"):
        return fields(form), place, pressed


def _chosen(checked: DryRunView | Trouble | None, here: Visit) -> int | None:
    return draw_cards(checked, here.now) if isinstance(checked, DryRunView) else None


def _buttons() -> str:
    """Draw both buttons; Submit is out of use from its click until the answer."""
    sending = st.session_state.get("sending", False)
    with st.container(horizontal=True):
        st.button(
            "Submit job",
            type="primary",
            key="submit-job",
            icon=":material/send:",
            disabled=sending,
            on_click=_begin,
        )
        check = st.button(
            "Save and check",
            key="save-and-check",
            icon=":material/fact_check:",
            help="Keeps a draft, and says where, when and for how much it would run.",
        )
    if st.session_state.pop("sending", False):
        return "submit"
    return "check" if check else ""


def _begin() -> None:
    st.session_state["sending"] = True


def _checked(form: Form, here: Visit) -> DryRunView | Trouble | None:
    """Return what would become of the job as it was last looked at; None for an empty form."""
    known = st.session_state.get("checked")
    wish = known[0] if known else form.start.wish
    if not wish.entrypoint.strip() and not known:
        return None
    if known and here.now - known[2] < CHECK_AGAIN:
        return cast("DryRunView | Trouble", known[1])
    expected = form.start.expected_seconds if wish.template else None
    try:
        found = tried(here.hub, wish, expected)
    except HubUnreachable:
        return None  # the page's other parts say so
    st.session_state["checked"] = (wish, found, here.now)
    return found


def _say_trouble(trouble: Trouble | None) -> None:
    if trouble and not trouble.field:
        st.error(plain(trouble.text), icon=":material/error:")
    elif trouble:
        st.error("Not submitted yet: see the field marked below.", icon=":material/error:")


def _change(
    checked: DryRunView | Trouble | None, place: int | None, wish: Wish, shown: Wish
) -> dict[str, object]:
    """Return what the chosen card changes; nothing, where the fields are others by now."""
    if not isinstance(checked, DryRunView) or place is None or wish != shown:
        return {}
    return checked.candidates[place].change


def _check(wish: Wish, here: Visit) -> None:
    kept(here.hub, PAGE, draft_of(wish))
    st.session_state["checked"] = (wish, None, here.now - 2 * CHECK_AGAIN)
    st.rerun()


def _send(wish: Wish, change: dict[str, object], start: Start, here: Visit) -> None:
    keys: dict[str, str] = st.session_state.setdefault("submit_keys", {})
    again = start.again.id if start.again else None
    try:
        answer: JobView | Trouble = send(here.hub, wish, keys, again=again, change=change)
    except HubUnreachable as away:
        answer = Trouble(
            "",
            f"No answer from the hub at {away.url}: {away.reason}. Press Submit again when it is"
            " back: the job is made once, however often it is sent.",
        )
    if isinstance(answer, Trouble):
        kept(here.hub, PAGE, draft_of(wish))
        st.session_state["trouble"] = answer
        st.session_state.pop("checked", None)
    else:
        discard(here.hub, PAGE)
        for name in ("submit_start", "checked", "drafted"):
            st.session_state.pop(name, None)
        st.session_state["made"] = answer.id
    st.rerun()


page()
