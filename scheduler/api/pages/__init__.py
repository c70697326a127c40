"""The few pages that the hub draws itself: signing in and out. No script, one style, no image."""

import hashlib
from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse, Response

from scheduler.errors import Refused

_STYLE = files("scheduler.api.pages").joinpath("style.css").read_text(encoding="utf-8")
_HASH = b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()


def page(
    name: str,
    title: str,
    *,
    status: int = 200,
    form_to: tuple[str, ...] = (),
    **values: object,
) -> Response:
    """Return a page; `form_to` are origins that its form may lead to besides our own."""
    shown = _environment().get_template(f"{name}.html")
    # The style is ours, and its hash is what the policy below lets through.
    body = shown.render(title=title, style=Markup(_STYLE), **values)  # noqa: S704
    return HTMLResponse(body, status_code=status, headers=dict(_headers(form_to)))


DOOR = ("/auth/start", "Back to sign-in")


def refusal(refused: Refused, back: tuple[str, str] = DOOR) -> Response:
    """Return a refusal as people read it, with the way back: where to, and what it says."""
    return page(
        "message",
        refused.title,
        status=refused.status,
        detail=refused.detail,
        next_step=refused.next_step,
        link=back[0],
        link_text=back[1],
    )


def _headers(form_to: tuple[str, ...]) -> Mapping[str, str]:
    targets = " ".join(("'self'", *form_to))
    return {
        "Content-Security-Policy": (
            f"default-src 'none'; style-src 'sha256-{_HASH}'; form-action {targets}; "
            "frame-ancestors 'none'; base-uri 'none'"
        ),
        "X-Content-Type-Options": "nosniff",
        # Not no-referrer: with it a form's Origin would be null, and we ask for it.
        "Referrer-Policy": "same-origin",
        "Cache-Control": "no-store",
    }


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("scheduler.api", "pages"), autoescape=True, undefined=StrictUndefined
    )
