"""Where the portal shows what a row of the audit log is about."""

import re
from urllib.parse import quote

_RUN = re.compile(r"cp-(?P<job>.+)-\d+")


def address_of(thing: str) -> str:
    """Return the page of an object such as `job:ID`; empty where there is none.

    What has no page of its own, a token or a cycle, is shown by all that the log says of it.
    """
    kind, _, name = thing.partition(":")
    if not name:
        return ""
    at = quote(name, safe="")
    run = _RUN.fullmatch(name) if kind == "run" else None
    if run is not None:
        kind, at = "job", quote(run["job"], safe="")
    pages = {
        "job": f"/job?id={at}",
        "request": f"/request?id={at}",
        "policy": "/policy",
        "node": f"/operations?node={at}",
        "maintenance": "/reservations",
        "account": "/accounts",
    }
    return pages.get(kind, f"/audit?object={quote(thing, safe='')}")


def link_to(thing: str, said: str) -> str:
    """Return Markdown that leads there; `said` must be escaped already."""
    address = address_of(thing)
    return f"[{said}]({address})" if address else said
