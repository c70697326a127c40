"""How the machines are and who took them out of work, how planning goes, and what lies idle."""

import streamlit as st

from portal.parts.node import draw_one_node
from portal.parts.operations import draw_health, fleet
from portal.parts.operators import say_done
from portal.parts.planner import draw_planner, draw_waste
from portal.parts.problems import panel
from portal.session import visit

EVERY = "15s"


def page() -> None:
    """Draw the fleet's health, one node closely, the planner and the waste."""
    st.title("Operations")
    st.caption("What is wrong with the machines, who took them out of work, and when they return.")
    found = fleet(visit(), quietly=True)
    say_done()
    panel(draw_health, EVERY)()
    draw_one_node(found)
    st.header("The planner", divider="gray")
    panel(draw_planner, EVERY)()
    st.header("Unused GPU-hours", divider="gray")
    panel(draw_waste, None)()


page()
