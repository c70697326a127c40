"""Projects and their members: who leads, who belongs, who decides, and until when it is paid."""

import streamlit as st
from pydantic import ValidationError

from portal.client.projects import change_member, membership, projects
from portal.format import plain
from portal.parts.drawn import markdown_table
from portal.parts.no_account import whom_to_ask
from portal.parts.operators import tried
from portal.parts.problems import panel
from portal.parts.project_figures import draw_figures, draw_overview, figures
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
    if mine:
        panel(_overview, EVERY)()
    names = [*mine, *(one.account for one in ordered if one.account not in mine)]
    chosen: str | None = st.selectbox("Project", names, key="project", bind="query-params")
    panel(_project, EVERY)(chosen or names[0])
    _change(_named(found, chosen or names[0]))


def _overview() -> None:
    here = visit()
    found = latest("projects", lambda: projects(here.hub), quietly=True)
    yours = [one for one in found.projects if one.yours]
    draw_overview(yours, figures(found.projects, here))


def _named(found: ProjectList, name: str) -> ProjectView:
    return next(one for one in found.projects if one.account == name)


def _project(name: str) -> None:
    here = visit()
    found = latest("projects", lambda: projects(here.hub))
    one = _named(found, name)
    said = [f"{one.sector.value} sector", f"below {one.parent}" if one.parent else "the root"]
    said += [f"institution {one.institution}"] if one.institution else []
    st.caption(plain(" · ".join(said)))
    if one.people:
        rows = [
            {"Name": plain(person.user), "Roles": ", ".join(role.value for role in person.roles)}
            for person in one.people
        ]
        markdown_table(rows, alt=f"People of {one.account} and their roles")
    else:
        st.info("Nobody has a role here yet.", icon=":material/group_off:")
    draw_figures(one, figures(found.projects, here))


def _change(one: ProjectView) -> None:
    """Draw the form that asks for a member more or less, or say who may ask."""
    st.header("Add or remove a member")
    me = visit().person.name
    others = [name for name in one.approvers if name != me]
    deciders = ", ".join(others) or "nobody yet: the account has no approver"
    if not one.may_ask:
        st.info(
            f"Leads and members of {plain(one.institution or one.account)} ask for it;"
            f" approvers decide: {plain(deciders)}.",
            icon=":material/lock:",
        )
        return
    roles = [role for role in Role if one.holds_queue or role is not Role.RESEARCHER]
    if me in one.approvers and not others:
        st.warning(
            f"You are the only approver of {plain(one.account)}, and nobody approves their own"
            " request: what you ask for here waits until the policy names another approver.",
            title="You cannot approve it yourself",
            icon=":material/how_to_reg:",
        )
    else:
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
