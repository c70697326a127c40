"""One request: what it asks for, what it would change, how it stands, and the viewer's word."""

import streamlit as st

from portal.client.hub import HubProblem
from portal.parts.request import draw_request

NOT_FOUND = 404


def page() -> None:
    """Draw the request that the address names."""
    name = st.query_params.get("id", "")
    st.title("Request")
    with st.container(horizontal=True):
        st.page_link("views/approvals.py", label="What awaits you", icon=":material/approval:")
        st.page_link("views/requests.py", label="All requests", icon=":material/inbox:")
    try:
        if name:
            draw_request(name)
            return
    except HubProblem as problem:
        if problem.status != NOT_FOUND:
            raise
    st.info("There is no such request that you may see.", icon=":material/search_off:")


page()
