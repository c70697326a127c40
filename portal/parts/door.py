"""Links that leave the pages: to sign in, and to sign out. They open in the same window."""

import streamlit as st

# Streamlit's own links to an address open a new window, and a page cannot send a browser away.
_link = st.components.v2.component(
    "door",
    css="""a { color: var(--st-link-color); font: inherit; font-family: var(--st-font); }
    a:focus-visible { outline: 3px solid var(--st-primary-color); outline-offset: 2px; }""",
    js="""export default ({data, parentElement}) => {
        const link = parentElement.querySelector('a') ?? document.createElement('a')
        link.textContent = data.text
        link.href = data.address
        link.target = '_self'
        parentElement.append(link)
    }""",
)
SIGN_IN = "/auth/start"
SIGN_OUT = "/auth/sign-out"


def link_to(address: str, text: str) -> None:
    """Draw a link to a page of the hub's."""
    _link(data={"address": address, "text": text}, key=f"door {address}")
