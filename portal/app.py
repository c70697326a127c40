"""The portal's frame: who is looking, the pages, and what stands in for a page that fails.

Streamlit runs this file from the top at every click; `portal/asgi.py` serves it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import streamlit as st

from portal.config import PortalSettings
from portal.hub import HubProblem, HubUnreachable
from portal.problems import come_back, say, say_away
from portal.session import sign_in, visit
from portal.signin import Person, people

ICON = str(Path(__file__).parent / "static" / "icon.png")  # a name would be fetched from afar
COOKIE = "commonpool_demo_person"
# Streamlit sets no cookies by itself. It holds a name: the tokens stay in the server.
_remember = st.components.v2.component(
    "remember",
    js="""export default ({data}) => {
        document.cookie = `${data}; path=/; SameSite=Strict; max-age=2592000`
    }""",
)


def main() -> None:
    """Draw one page for one person."""
    st.set_page_config("Commonpool", page_icon=ICON, layout="wide")
    st.logo(ICON, size="large")
    settings = PortalSettings()
    # A flat list: sections make markup that screen readers stumble over.
    page = st.navigation(_pages())
    person = _who(people(settings), settings)
    sign_in(person, settings.hub_url)
    try:
        page.run()
    except HubUnreachable as away:
        say_away(away)
        come_back(visit().now)
    except HubProblem as problem:
        say(problem)


def _pages() -> list[st.Page]:
    views = [
        ("capacity", "Capacity", "dns"),
        ("submit", "Submit a job", "add_circle"),
        ("jobs", "My jobs", "list_alt"),
        ("accounts", "Accounts", "account_tree"),
        ("requests", "Requests", "inbox"),
        ("approvals", "Approvals", "approval"),
        ("policy", "Policy", "policy"),
        ("audit", "Audit", "fact_check"),
    ]
    shown = [
        st.Page(
            f"views/{name}.py",
            title=title,
            icon=f":material/{icon}:",
            url_path=name,
            default=name == "capacity",
        )
        for name, title, icon in views
    ]
    hidden = [
        st.Page(f"views/{name}.py", title=name.title(), url_path=name, visibility="hidden")
        for name in ("job", "request")
    ]
    return [*shown, *hidden]


def _who(found: Sequence[Person], settings: PortalSettings) -> Person:
    """Return who looks; without anybody to be, say how to get somebody and stop."""
    if not found:
        _say_nobody(settings)
    if settings.portal_token is not None:
        return found[0]
    names = {person.name: person for person in found}
    if st.session_state.get("as") not in names:
        st.session_state["as"] = _usual(names)
    with st.sidebar:
        chosen = st.selectbox("You are", list(names), key="as", on_change=_forget_address)
        st.warning(
            "Whoever opens this page can be any demo user. Not for real use.",
            title="Embedded demo sign-in",
            icon=":material/warning:",
        )
        _remember(data=f"{COOKIE}={chosen}", key="remember")
    return names[chosen or found[0].name]


def _usual(names: Mapping[str, Person]) -> str:
    """Return who looks where nobody was chosen just now.

    That is who looked before (changing pages by program forgets what was chosen), whom the
    address names, who looked last in this browser, or anybody.
    """
    before: Person | None = st.session_state.get("person")
    said = (
        before.name if before else "",
        st.query_params.get("as", ""),
        st.context.cookies.get(COOKIE, ""),
    )
    return next((name for name in said if name in names), next(iter(names)))


def _forget_address() -> None:
    """Drop the address's person: the chosen one counts, also after a reload."""
    st.query_params.pop("as", None)


def _say_nobody(settings: PortalSettings) -> None:
    st.title("Nobody to sign in as")
    place = settings.portal_tokens
    missing = (
        f"There is no user's token in `{place}` (a file `<name>.token` each)."
        if place
        else "`COMMONPOOL_PORTAL_TOKENS` names no folder of tokens."
    )
    st.info(
        f"{missing} `commonpool up` starts the portal with its three demo users. By hand:"
        " `commonpool portal --hub URL --tokens FOLDER`.",
        icon=":material/person_off:",
    )
    st.stop()


main()
