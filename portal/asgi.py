"""The portal as an ASGI application: `uvicorn portal.asgi:app`, one process of its own."""

import contextlib
import gc
import importlib
from collections.abc import AsyncIterator
from pathlib import Path

import streamlit as st
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

SCRIPT = Path(__file__).parent / "app.py"
# What the first page would otherwise import while somebody waits for it.
HEAVY = (
    "numpy",
    "pandas.io.formats.style",
    "pyarrow",
    "httpx",
    "pydantic_settings",
    "streamlit.elements.arrow",
    "streamlit.elements.vega_charts",
    "portal.charts",
    "portal.session",
    "portal.problems",
)


@contextlib.asynccontextmanager
async def prewarmed(_: st.App) -> AsyncIterator[dict[str, object]]:
    """Import everything, then keep it out of the garbage collector's sight.

    Streamlit collects fully after every run of a page; with pandas and pyarrow in view
    that costs 0.9 s per click with 20 people, without them 0.05 s (measured).
    """
    for module in HEAVY:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()
    yield {}


async def alive(_: Request) -> PlainTextResponse:
    """Say that the portal's process answers; it says nothing about the hub."""
    return PlainTextResponse("ok\n")


app = st.App(SCRIPT, lifespan=prewarmed, routes=[Route("/livez", alive)])
