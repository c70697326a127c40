"""The portal's frame: who is looking, the pages, and what stands in for a page that fails.

Streamlit runs this file from the top at every click; `portal/asgi.py` serves it.
"""

from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from portal.config import PortalSettings
from portal.hub import HubProblem, HubUnreachable
from portal.problems import come_back, say, say_away
from portal.session import sign_in, visit
from portal.signin import Person, people

ICON = str(Path(__file__).parent / "static" / "icon.png")  # a name would be fetched from afar


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
    return [*shown, st.Page("views/job.py", title="Job", url_path="job", visibility="hidden")]


def _who(found: Sequence[Person], settings: PortalSettings) -> Person:
    """Return who looks; without anybody to be, say how to get somebody and stop."""
    if not found:
        _say_nobody(settings)
    if settings.portal_token is not None:
        return found[0]
    with st.sidebar:
        names = {person.name: person for person in found}
        chosen = st.selectbox("You are", list(names), key="as", bind="query-params")
        st.warning(
            "Whoever opens this page can be any demo user. Not for real use.",
            title="Embedded demo sign-in",
            icon=":material/warning:",
        )
    return names[chosen or found[0].name]


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
