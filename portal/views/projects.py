"""Projects and their members: who leads, who belongs, who decides, and until when it is paid."""

import streamlit as st
from pydantic import ValidationError

from portal.client.projects import change_member, membership, projects
from portal.format import plain
from portal.parts.no_account import whom_to_ask
from portal.parts.operators import tried
from portal.parts.problems import panel
from portal.session import latest, visit
from scheduler.core.roles import Role
from scheduler.wire.projects import ProjectList, ProjectView

EVERY = "15s"


def page() -> None:
    """Draw what project is looked at, and who is what on it."""
    st.title("Projects and members")
    found = latest("projects", lambda: projects(visit().hub))
    if not found.projects:
        st.info("The policy has no account yet.", icon=":material/folder_shared:")
        return
    # Those that hold queues first: only they have members.
    ordered = sorted(found.projects, key=lambda one: not one.holds_queue)
    mine = [one.account for one in ordered if one.yours]
    if not any(Role.RESEARCHER in one.yours for one in found.projects):
        st.info(whom_to_ask(visit().person.name, found.projects), icon=":material/lock:")
    names = [*mine, *(one.account for one in ordered if one.account not in mine)]
    chosen: str | None = st.selectbox("Project", names, key="project", bind="query-params")
    panel(_project, EVERY)(chosen or names[0])
    _change(_named(found, chosen or names[0]))


def _named(found: ProjectList, name: str) -> ProjectView:
    return next(one for one in found.projects if one.account == name)


def _project(name: str) -> None:
    one = _named(latest("projects", lambda: projects(visit().hub)), name)
    said = [f"{one.sector.value} sector", f"below {one.parent}" if one.parent else "the root"]
    said += [f"institution {one.institution}"] if one.institution else []
    st.caption(plain(" · ".join(said)))
    if one.people:
        rows = [
            {"Name": plain(person.user), "Roles": ", ".join(role.value for role in person.roles)}
            for person in one.people
        ]
        st.table(rows, hide_index=True, alt=f"People of {one.account} and their roles")
    else:
        st.info("Nobody has a role here yet.", icon=":material/group_off:")
    for budget in one.budgets:
        st.markdown(
            f"Budget **{plain(budget.id)}**: {budget.h100e_hours:,} H100e-hours until"
            f" {budget.valid_to:%Y-%m-%d}"
        )
    with st.container(horizontal=True):
        st.page_link("views/usage.py", label="What is left of budgets", icon=":material/savings:")
        st.page_link(
            "views/requests.py",
            label="Pending requests for members",
            icon=":material/inbox:",
            query_params={"of-kind": "membership", "of-state": "open"},
        )


def _change(one: ProjectView) -> None:
    """Draw the form that asks for a member more or less, or say who may ask."""
    st.header("Add or remove a member")
    deciders = ", ".join(one.approvers) or "nobody yet: the account has no approver"
    if not one.may_ask:
        st.info(
            f"Leads and members of {plain(one.institution or one.account)} ask for it;"
            f" approvers decide: {plain(deciders)}.",
            icon=":material/lock:",
        )
        return
    roles = [role for role in Role if one.holds_queue or role is not Role.RESEARCHER]
    st.caption(f"It is in force once its approvers have agreed: {plain(deciders)}.")
    with st.form("member", border=True):
        name = st.text_input("Name", key="member-name")
        role = st.selectbox("Role", [role.value for role in roles], key="member-role")
        what = st.radio("What", ["add", "remove"], key="member-what", horizontal=True)
        reason = st.text_area("Why (approvers and auditors read it)", key="member-why", height=80)
        sent = st.form_submit_button("Ask for it", type="primary", key="member-send")
    if sent:
        _send(one.account, Role(role or Role.RESEARCHER), {what or "add": name.strip()}, reason)


def _send(account: str, role: Role, who: dict[str, str], reason: str) -> None:
    if not any(who.values()) or not reason.strip():
        st.error("Say who, and why.", icon=":material/edit:")
        return
    try:
        change = membership(account, role, who.get("add", ""), who.get("remove", ""))
    except ValidationError:
        st.error("A name is small letters, digits, “.”, “_” and “-”.", icon=":material/edit:")
        return
    if tried(lambda: change_member(visit().hub, change, reason)):
        st.success("Sent: its approvers are told. It is on the page Requests.")


page()
