"""The portal as an ASGI application: `uvicorn portal.gate.asgi:app`, one process of its own.

From outside to inside: what is the hub's is passed on to it, the gate lets in who is signed in,
and the pages are Streamlit's.
"""

import contextlib
import gc
import importlib
import pkgutil
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import streamlit as st
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.routing import Route

from portal.config import PortalSettings
from portal.gate.forward import Forward
from portal.gate.gate import Gate, Sessions, session_secret
from portal.gate.headers import SecurityHeaders
from portal.live.routes import LiveLogs
from scheduler.clock import SystemClock

SCRIPT = Path(__file__).parent.parent / "app.py"
# What the first page would otherwise import while somebody waits for it.
HEAVY = (
    "numpy",
    "pandas.io.formats.style",
    "pyarrow",
    "httpx",
    "pydantic_settings",
    "streamlit.elements.arrow",
    "streamlit.elements.vega_charts",
    "portal.session",
)
WHOLE = ("portal.charts", "portal.client", "portal.parts")


def modules_of(package: str) -> list[str]:
    """Return the names of a package's modules."""
    found = pkgutil.iter_modules(importlib.import_module(package).__path__)
    return [f"{package}.{module.name}" for module in found]


@contextlib.asynccontextmanager
async def prewarmed(_: st.App) -> AsyncIterator[dict[str, object]]:
    """Import everything, then keep it out of the garbage collector's sight.

    Streamlit collects fully after every run of a page; with pandas and pyarrow in view
    that costs 0.9 s per click with 20 people, without them 0.05 s (measured).
    """
    for module in (*HEAVY, *(name for package in WHOLE for name in modules_of(package))):
        importlib.import_module(module)
    gc.collect()
    gc.freeze()
    yield {}
    await _logs.aclose()
    await _hub.aclose()


async def alive(_: Request) -> PlainTextResponse:
    """Say that the portal's process answers; it says nothing about the hub."""
    return PlainTextResponse("ok\n")


async def home(request: Request) -> RedirectResponse:
    """Lead to Home, which is at `/`: the name of its page is what people type and link to."""
    query = request.url.query
    return RedirectResponse(f"/?{query}" if query else "/", 307)


# A stream of events may be silent for long; a hub that is not there is told at once.
_TIMEOUT = httpx.Timeout(None, connect=2.0)
_settings = PortalSettings()
_hub = httpx.AsyncClient(
    base_url=_settings.hub_url,
    timeout=_TIMEOUT,
    limits=httpx.Limits(max_connections=500),
    trust_env=False,
)
_logs = LiveLogs(_settings, SystemClock(), session_secret)
_sessions = Sessions(_hub, SystemClock()) if _settings.portal_token is None else None
app = st.App(
    SCRIPT,
    lifespan=prewarmed,
    routes=[Route("/livez", alive), Route("/home", home), *_logs.routes()],
    middleware=[
        Middleware(Forward, hub=_hub),
        Middleware(SecurityHeaders),
        Middleware(Gate, sessions=_sessions),
    ],
)
