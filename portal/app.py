"""The portal's frame: who is looking, the pages, and what stands in for a page that fails.

Streamlit runs this file from the top at every click; `portal/gate/asgi.py` serves it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from portal.client.hub import HubProblem, HubUnreachable
from portal.config import PortalSettings
from portal.parts.door import SIGN_OUT, link_to
from portal.parts.problems import come_back, say, say_away, say_session_ended
from portal.session import is_dark, sign_in, visit
from portal.signin import person
from scheduler.wire.identity import Session

ICON = str(Path(__file__).parent / "static" / "icon.png")  # a name would be fetched from afar
_DEVELOPMENT = "development"


def _everybody(_: Session | None) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class View:
    """A page: its file in `views` and path, what it is called, and who sees it in the list.

    Who may do what, the hub decides; a page that is not listed only spares a refusal.
    """

    name: str
    title: str
    icon: str = ""
    listed: Callable[[Session | None], bool] = _everybody
    hidden: bool = False


VIEWS = (
    View("home", "Home", "home"),
    View("capacity", "Capacity", "dns"),
    View("submit", "Submit a job", "add_circle"),
    View("plan_a_run", "Plan a run", "calculate"),
    View("jobs", "My jobs", "list_alt"),
    View("usage", "Usage and budgets", "savings"),
    View("sharing", "Sharing", "handshake"),
    View("accounts", "Accounts", "account_tree"),
    View("projects", "Projects and members", "group"),
    View("requests", "Requests", "inbox"),
    View("approvals", "Approvals", "approval"),
    View("policy", "Policy", "policy"),
    View("reservations", "Reservations", "event"),
    View("operations", "Operations", "build"),
    View("audit", "Audit", "fact_check"),
    View("account", "Account", "person"),
    View("job", "Job", hidden=True),
    View("request", "Request", hidden=True),
)
"""All pages, in the order of the list; the first is where a visit begins."""


# On dark, the primary colour that carries white on a button is too faint as text: 3.4 to 1.
_CHOSEN_TAB = '<style>[role="tab"][aria-selected="true"] p {color: #9cc8f7}</style>'


def main() -> None:
    """Draw one page for one person."""
    _frame()
    settings = PortalSettings()
    found = person(settings)
    if found is None:
        st.title("Not signed in")
        say_session_ended()
        return
    problem = None
    try:
        sign_in(found, settings.hub_url)
    except HubProblem as refused:
        problem = refused
    # A flat list: sections make markup that screen readers stumble over.
    # Whole: Streamlit folds a long one, and what nobody sees nobody opens.
    page = st.navigation(_pages(visit().session), expanded=True)
    _who()
    try:
        if problem is not None:
            raise problem
        page.run()
    except HubUnreachable as away:
        say_away(away)
        come_back(visit().now)
    except HubProblem as refused:
        say(refused)


def _frame() -> None:
    st.set_page_config("Commonpool", page_icon=ICON, layout="wide")
    st.logo(ICON, size="large")
    if is_dark():
        st.html(_CHOSEN_TAB)


def _pages(session: Session | None) -> list[st.Page]:
    return [
        st.Page(
            f"views/{view.name}.py",
            title=view.title,
            icon=f":material/{view.icon}:" if view.icon else None,
            url_path=view.name,
            default=view is VIEWS[0],
            visibility="hidden" if view.hidden or not view.listed(session) else "visible",
        )
        for view in VIEWS
    ]


def _who() -> None:
    """Say in the sidebar who is signed in, as what, and how to end it."""
    here = visit()
    with st.sidebar:
        st.markdown(f"Signed in as **{here.person.name}**")
        if here.session is not None and here.session.roles:
            st.caption(_roles(here.session))
        if here.person.signed_in:
            link_to(SIGN_OUT, "Sign out")
        if here.session is not None and here.session.issuer == _DEVELOPMENT:
            st.warning(
                "Whoever opens this page can be any demo user. Not for real use.",
                title="Development sign-in",
                icon=":material/warning:",
            )


def _roles(session: Session) -> str:
    """Return roles as people say them; those that flow down are said once, where they begin."""
    said: list[str] = []
    seen: set[str] = set()
    for on in session.roles:
        new = [role.value for role in on.roles if role.value not in seen]
        if new:
            said.append(f"{' and '.join(new)} of {on.account}")
            seen.update(new)
    return "; ".join(said)


main()
