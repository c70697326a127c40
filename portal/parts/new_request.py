"""Forms for what may be asked for: one for each kind, checked by the hub's own messages."""

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import Any

import streamlit as st
from pydantic import TypeAdapter, ValidationError

from portal.client.hub import HubProblem
from portal.client.requests import Requests
from portal.format import plain
from portal.parts.problems import say
from portal.session import latest, visit
from scheduler.core.model import Sector
from scheduler.core.request_kinds import RequestKind
from scheduler.core.roles import Role
from scheduler.wire.requests import Change, NewRequest

KINDS = {
    RequestKind.BUDGET.value: ("a budget", ":material/savings:"),
    RequestKind.PROJECT.value: ("a project", ":material/folder_shared:"),
    RequestKind.MEMBERSHIP.value: ("members", ":material/group_add:"),
    RequestKind.RESERVATION.value: ("a reservation", ":material/event:"),
    RequestKind.AGREEMENT.value: ("an agreement", ":material/handshake:"),
    RequestKind.THRESHOLD.value: ("a threshold crossing", ":material/speed:"),
}
_CHANGE: TypeAdapter[Change] = TypeAdapter(Change)
_Fields = dict[str, Any]


def draw_form(kind: RequestKind) -> None:
    """Draw the form of a kind; a request that was stored opens."""
    label, _ = KINDS[kind.value]
    st.header(f"Ask for {label}")
    fill = _FORMS[kind]
    with st.form("new-request", border=True):
        asked = fill()
        reason = st.text_area("Why (approvers and auditors read it)", key="new-why", height=80)
        with st.container(horizontal=True):
            sent = st.form_submit_button("Send it to its approvers", type="primary", key="new-send")
            draft = st.form_submit_button("Keep it as a draft", key="new-draft")
    if sent or draft:
        _send({"kind": kind, **asked}, reason, draft=draft and not sent)


def _send(asked: _Fields, reason: str, *, draft: bool) -> None:
    try:
        change = _CHANGE.validate_python(asked)
        message = NewRequest(change=change, reason=reason, draft=draft)
    except ValidationError as error:
        for fault in error.errors():
            place = [str(part) for part in fault["loc"] if part not in KINDS]
            field = " ".join(place).replace("_", " ") or "the form"
            st.error(f"**{plain(field)}**: {plain(fault['msg'])}", icon=":material/edit:")
        return
    try:
        made = Requests(visit().hub).create(message)
    except HubProblem as problem:
        say(problem)
        return
    st.session_state["done"] = "Kept as a draft." if draft else "Sent: its approvers are told."
    st.switch_page("views/request.py", query_params={"id": made.id})


def _accounts() -> Sequence[str]:
    return [one.account for one in latest("accounts", visit().hub.accounts).accounts]


def _pools() -> Sequence[str]:
    return [one.pool for one in latest("pools", visit().hub.pools).pools]


def _account(label: str = "Account", usual: str | None = None) -> str | None:
    mine = latest("me", visit().hub.me, quietly=True).accounts
    names = _accounts()
    wanted = [name for name in (usual, *mine) if name in names]
    first = names.index(wanted[0]) if wanted else 0
    chosen: str | None = st.selectbox(label, names, index=first, key=f"new-{label}")
    return chosen


def _today() -> date:
    return visit().now.astimezone(visit().zone).date()


def _days(first: str, last: str, length: timedelta) -> _Fields:
    """Ask for two days; what lies between begins and ends at midnight UTC."""
    with st.container(horizontal=True):
        begins = _day("From (year-month-day)", _today(), "new-from")
        ends = _day("Until (year-month-day)", _today() + length, "new-until")
    return {first: begins, last: ends}


def _day(label: str, value: date, key: str) -> str:
    """Ask for a day as text: the parts of Streamlit's own field are too small to touch."""
    written: str = st.text_input(label, value=value.isoformat(), key=key)
    return f"{written.strip()}T00:00:00Z"


def _words(label: str, key: str, help_text: str = "Names, with commas") -> tuple[str, ...]:
    text: str = st.text_input(label, key=key, help=help_text)
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _budget() -> _Fields:
    account = _account()
    hours = st.number_input("H100e-hours", min_value=1, value=1_000, step=100, key="new-hours")
    name = st.text_input("Name of the budget", value=f"{account}-{_today():%Y}", key="new-id")
    period = _days("valid_from", "valid_to", timedelta(days=365))
    return {"account": account, "h100e_hours": int(hours), "id": name, **period}


def _project() -> _Fields:
    parent = _account("Below")
    name = st.text_input("Name", key="new-name", help="Lower-case letters, digits and -")
    members = _words("Members", "new-members")
    leads = _words("Leads", "new-leads")
    pool = st.selectbox("Pool with a guaranteed part", ["none", *_pools()], key="new-pool")
    nominal = st.number_input("Guaranteed GPUs there", min_value=0, value=0, key="new-nominal")
    quotas = () if pool == "none" else ({"pool": pool, "nominal": int(nominal)},)
    return {
        "parent": parent,
        "name": name,
        "members": members,
        "leads": leads,
        "quotas": quotas,
    }


def _membership() -> _Fields:
    account = _account()
    role = st.selectbox("Role", [role.value for role in Role], key="new-role")
    return {
        "account": account,
        "role": role,
        "add": _words("Who gets it", "new-add", "Names; who is new becomes a user"),
        "remove": _words("Who loses it", "new-remove"),
    }


def _reservation() -> _Fields:
    account = _account()
    pool = st.selectbox("Pool", _pools(), key="new-pool")
    nodes = st.number_input("Nodes", min_value=1, value=1, key="new-nodes")
    name = st.text_input("Name of the reservation", key="new-id")
    period = _days("starts_at", "ends_at", timedelta(days=1))
    return {"account": account, "pool": pool, "node_count": int(nodes), "id": name, **period}


def _agreement() -> _Fields:
    lender = _account("Lender")
    sectors = [f"sector {sector.value}" for sector in Sector]
    borrower = st.selectbox("Borrower", [*_accounts(), *sectors], key="new-borrower") or ""
    pools = st.multiselect("Pools", _pools(), key="new-pools")
    cap = st.number_input("GPUs at once, at most", min_value=1, value=8, key="new-cap")
    notice = st.text_input("Notice of a recall", value="10m", key="new-notice", help="e.g. 10m")
    name = st.text_input("Name of the agreement", key="new-id")
    period = _days("valid_from", "valid_to", timedelta(days=365))
    is_sector = borrower.startswith("sector ")
    return {
        "lender": lender,
        "borrower_sector": borrower.removeprefix("sector ") if is_sector else None,
        "borrower_account": None if is_sector else borrower,
        "pools": tuple(pools),
        "cap": int(cap),
        "recall_notice": notice or None,
        "id": name,
        **period,
    }


def _threshold() -> _Fields:
    said = st.query_params  # a job's page and the form of a job fill these in
    account = _account(usual=said.get("account"))
    line = st.text_input(
        "Model line", said.get("line", ""), key="new-line", help="One name for all its runs"
    )
    threshold = st.text_input("Threshold", said.get("threshold", "1e26 FLOP"), key="new-threshold")
    flop = st.text_input(
        "FLOP of the line in all, with these runs", said.get("flop", "1e26"), key="new-flop"
    )
    job = st.text_input(
        "Only for the job",
        said.get("job", ""),
        key="new-job",
        placeholder="all jobs of the line",
        help="A job's id; empty: all jobs of the line, of the account and those below it",
    )
    period = _days("valid_from", "valid_to", timedelta(days=365))
    st.caption(
        "Two approvers from different institutions decide on it, unless the policy says else."
    )
    return {
        "account": account,
        "model_line": line,
        "threshold": threshold,
        "flop": flop,
        "job": job.strip() or None,
        **period,
    }


_FORMS: dict[RequestKind, Callable[[], _Fields]] = {
    RequestKind.BUDGET: _budget,
    RequestKind.PROJECT: _project,
    RequestKind.MEMBERSHIP: _membership,
    RequestKind.RESERVATION: _reservation,
    RequestKind.AGREEMENT: _agreement,
    RequestKind.THRESHOLD: _threshold,
}
