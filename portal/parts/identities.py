"""How the person signs in: issuers that know them, one more to link, one to unlink."""

import streamlit as st

from portal.client.identity import my_identities, unlink_identity
from portal.format import Look, ago, plain
from portal.parts.account import HERE, row, then_close
from portal.parts.door import link_to
from portal.session import Visit, latest, visit
from scheduler.wire.identity import IdentityView

LINK = "/auth/link"
LINKED = Look("Linked", ":material/link:", "green")
NAMED = Look("Yours", ":material/badge:", "green")
TAKEN_NO_MORE = Look("Not taken any more", ":material/link_off:", "gray")


def draw_identities(here: Visit) -> None:
    """Draw the identities by which the person signs in; nothing for who came with a token alone."""
    found = latest("my identities", lambda: my_identities(here.hub), quietly=True)
    if not found.identities and not found.may_link:
        return
    st.header("How you sign in", divider="gray")
    st.caption(
        "Each of these signs you in as the same user, for its own institution: what you may do in"
        " a session is what that institution gave you."
    )
    usable = [one for one in found.identities if one.usable]
    for one in found.identities:
        _identity(one, here, alone=one.usable and len(usable) == 1)
    if found.may_link:
        titles = " or ".join(found.may_link)
        st.markdown(
            f"Does {plain(titles)} know you too? Sign in there once, and either signs you in here."
        )
        link_to(LINK, "Link another identity")


def _identity(one: IdentityView, here: Visit, *, alone: bool) -> None:
    said = [
        f"{one.sector.value}, {one.institution}",
        f"last sign-in {ago(one.verified_at, here.now)}",
        f"linked {ago(one.linked_at, here.now)}" if one.linked_at else "",
    ]
    with row(one.title, _look(one), said):
        if not alone and st.button(
            "Unlink…", icon=":material/link_off:", key=f"unlink-{one.issuer}"
        ):
            _confirm_unlink(one)


def _look(one: IdentityView) -> Look:
    if not one.usable:
        return TAKEN_NO_MORE
    if one.current:
        return HERE
    return LINKED if one.linked_at else NAMED


@st.dialog("Unlink this identity?")
def _confirm_unlink(one: IdentityView) -> None:
    here = " You are signed in by it now, so this session ends too." if one.current else ""
    st.markdown(
        f"**{plain(one.title)}** signs you in here no more. Sessions that it began end, and so do"
        f" the personal tokens that were made in them.{here} Jobs are not affected."
    )
    with st.container(horizontal=True):
        if st.button("Yes, unlink it", type="primary", key="unlink-yes"):
            then_close(lambda: unlink_identity(visit().hub, one))
        if st.button("Keep it", key="unlink-no"):
            st.rerun()
