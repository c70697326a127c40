"""What is said to somebody who belongs to no account, the same on every page: whom to ask."""

from collections.abc import Sequence

import streamlit as st

from portal.client.projects import projects
from portal.format import plain
from portal.session import latest, visit
from scheduler.core.roles import Role
from scheduler.wire.projects import ProjectView


def say_no_account(user: str) -> None:
    """Say that no account pays for a job, who leads which project, and where to ask."""
    found = latest("projects", lambda: projects(visit().hub), quietly=True).projects
    st.info(whom_to_ask(user, found), icon=":material/lock:")
    st.page_link("views/projects.py", label="Projects and members", icon=":material/group:")


def whom_to_ask(user: str, found: Sequence[ProjectView]) -> str:
    """Return the sentence: a lead asks for somebody else's membership as for their own."""
    begun = f"{plain(user)} belongs to no account, so no quota could pay for a job."
    led = [one.account for one in found if one.holds_queue and Role.LEAD in one.yours]
    if led:
        return (
            f"{begun} To lead is not to belong: as a lead of {plain(', '.join(led))}, ask to be"
            " made a member on Projects and members; an approver decides on it."
        )
    queues = [one for one in found if one.holds_queue and _leads(one)]
    named = "; ".join(f"{one.account}: {', '.join(_leads(one))}" for one in queues)
    if not named:
        return f"{begun} No project has a lead yet: an operator gives that role by a request."
    return f"{begun} A project's lead asks for you to be made a member. Leads of {plain(named)}."


def _leads(one: ProjectView) -> list[str]:
    return [person.user for person in one.people if Role.LEAD in person.roles]
