"""What was done, by whom, for whom and why; whether the chain holds; and a copy to take away."""

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta

import streamlit as st

from portal.about import link_to
from portal.client.audit import AuditLog
from portal.format import ago, count, moment, plain
from portal.parts.audit_charts import draw_charts
from portal.parts.drawn import markdown_table
from portal.parts.problems import told
from portal.session import Visit, latest, visit
from scheduler.wire.audit import AuditRow, AuditVerdict

SHOWN = 50
SINCE = {"any time": None, "the last hour": 1, "the last day": 24, "the last week": 168}
ACTIONS = {
    "anything": None,
    "jobs": "job.",
    "nodes": "node.",
    "maintenance": "maintenance.",
    "policy": "policy.",
    "requests": "request.",
    "tokens": "token.",
    "sign-ins": "session.",
    "packages": "package.",
    "planning cycles": "plan.",
    "readings of this log": "audit.",
}


def page() -> None:
    """Draw the filters, which the address keeps, the rows, and the chain."""
    st.title("Audit")
    st.caption(
        "Every change by a person, an administrator's command or the planner is a row that seals"
        " the one before it. Reading is a row too."
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        actor = st.text_input("Who", key="actor", bind="query-params", width=180)
        about = st.text_input(
            "What",
            key="object",
            bind="query-params",
            width=240,
            help="job:ID, run:ID, node:NAME, request:ID, policy:REVISION, token:ID",
        )
        did = st.selectbox("Did", list(ACTIONS), key="action", bind="query-params", width=200)
        since = st.selectbox("Since", list(SINCE), key="since", bind="query-params", width=170)
    hours = SINCE[since or "any time"]
    here = visit()
    asked = {
        "actor": actor or None,
        "object": about or None,
        "action": ACTIONS[did or "anything"],
        "since": None if hours is None else (here.now - timedelta(hours=hours)).isoformat(),
    }
    key = f"audit {asked['actor']} {asked['object']} {asked['action']} {since}"
    above = st.container()
    _rows(key, asked, here)  # First: where these cannot be had, one reason is enough.
    with above:
        draw_charts(key, asked, hours, here)
    _chain(here)


def _rows(key: str, asked: Mapping[str, str | None], here: Visit) -> None:
    # The key is without the moment of asking, or every click would be a question of its own.
    if st.session_state.get("audit-key") != key:
        st.session_state["audit-key"], st.session_state["audit-before"] = key, []
    pages: list[int] = st.session_state["audit-before"]
    before = pages[-1] if pages else None
    found = latest(f"{key} {before}", lambda: AuditLog(here.hub).rows(asked, before, SHOWN))
    if not found.rows:
        st.info("No row matches.", icon=":material/filter_alt_off:")
    else:
        markdown_table(
            [_line(row, here) for row in found.rows],
            alt="Rows of the audit log, newest first: when, who, what was done to what, and why",
        )
    with st.container(horizontal=True):
        if pages and st.button("Newest rows", icon=":material/first_page:"):
            st.session_state["audit-before"] = []
            st.rerun()
        if found.next and st.button("Older rows", icon=":material/chevron_right:"):
            st.session_state["audit-before"] = [*pages, found.next]
            st.rerun()
    if found.rows:
        _one(found.rows, here)


def _line(row: AuditRow, here: Visit) -> dict[str, str]:
    who = f"{row.actor} for {row.on_behalf_of}" if row.on_behalf_of else row.actor
    return {
        "Row": str(row.sequence),
        "When": f"{ago(row.at, here.now)} ({moment(row.at, here.now, here.zone)})",
        "Who": plain(who),
        "Did": row.action,
        "To": link_to(row.object, plain(row.object)),
        "Why": plain(row.reason) or "–",  # noqa: RUF001  # a dash for nothing
    }


def _one(rows: Sequence[AuditRow], here: Visit) -> None:
    st.subheader("One row closely")
    numbers = [row.sequence for row in rows]
    chosen = st.selectbox("Row", numbers, key="audit-row", width=160)
    row = next((one for one in rows if one.sequence == chosen), rows[0])
    words = {
        "When": f"{row.at:%Y-%m-%d %H:%M:%S.%f} UTC, {ago(row.at, here.now)}",
        "Who": row.actor,
        "On behalf of": row.on_behalf_of,
        "Token, session or cycle": row.session,
        "Came by": row.source,
        "Did": row.action,
        "To": row.object,
        "Why": row.reason,
        "Decision": row.decision,
    }
    markdown_table(
        [
            {
                "Field": name,
                "Value": link_to(row.object, plain(said)) if name == "To" else plain(said),
            }
            for name, said in words.items()
            if said
        ],
        alt=f"All that row {row.sequence} says",
    )
    values = {"Before": _text(row.before), "After": _text(row.after)}
    values["Its hash, after that of the row before"] = f"{row.previous}\n{row.hash}"
    for name, said in values.items():
        if said:
            st.markdown(f"**{name}**")
            st.code(said, language=None, wrap_lines=True)


def _text(value: object) -> str:
    if value is None:
        return ""
    return json.dumps(value, ensure_ascii=False, indent=2)[:5_000]


def _chain(here: Visit) -> None:
    st.header("The chain", divider=True)
    log = AuditLog(here.hub)
    with st.container(horizontal=True):
        verifies = st.button("Verify all rows", icon=":material/verified:", key="verify")
        st.download_button(
            "Download all rows",
            data=log.export,
            file_name="commonpool-audit.jsonl",
            mime="application/x-ndjson",
            on_click="ignore",
            icon=":material/download:",
        )
        st.download_button(
            "Download a checkpoint",
            data=lambda: log.checkpoint().model_dump_json(indent=2),
            file_name="commonpool-audit-checkpoint.json",
            mime="application/json",
            on_click="ignore",
            icon=":material/bookmark_added:",
        )
    st.caption(
        "Keep a checkpoint where nobody who has the database can write: with it, `commonpool audit"
        " verify --checkpoint FILE` tells also of a log that was written anew as a whole."
    )
    if verifies:
        with told(), st.spinner("The hub follows the chain"):
            _say(log.verify())


def _say(verdict: AuditVerdict) -> None:
    if verdict.fault is None:
        st.success(
            f"The chain holds: {count(verdict.rows, 'row')}, the last is {verdict.last}"
            f" with hash {verdict.hash[:16]}…",
            icon=":material/verified:",
        )
        return
    fault = verdict.fault
    st.error(
        f"{plain(fault.sentence[:1].upper() + fault.sentence[1:])}. It held for"
        f" {count(verdict.rows, 'row')} before. Keep the database as it is, and compare it with"
        " your checkpoints and backups.",
        title=f"The chain is broken at row {fault.sequence}: {fault.wrong}",
        icon=":material/gpp_bad:",
    )


page()
