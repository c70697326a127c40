"""Forms and addresses of the sign-in pages: small, strict, and never a way to elsewhere."""

import re
from collections.abc import Awaitable, Callable
from functools import wraps
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response

from scheduler.api import pages
from scheduler.errors import Refused

MAX_FORM_BYTES = 16_384
_MAX_FIELDS = 20
# A path of this site: one slash, then no second one, no backslash, nothing that a browser drops.
_OWN_PATH = re.compile(r"/(?![/\\])[!-\[\]-~]{0,500}")
_SIGN_IN_PATHS = re.compile(r"/auth/(?!(?:device|link)\b)")

Endpoint = Callable[[Request], Awaitable[Response]]


async def form_of(request: Request) -> dict[str, str]:
    """Return an urlencoded form's fields.

    Raises:
        Refused: 413 or 422, it is too large or no such form.
    """
    data = await request.body()
    if len(data) > MAX_FORM_BYTES:
        raise Refused("Too large", "The form is too large.", 413, limit=f"{MAX_FORM_BYTES} bytes")
    try:
        pairs = parse_qsl(data.decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    except ValueError as error:
        raise Refused("Not valid", "The form cannot be read.", 422) from error
    return {name: value.replace("\x00", "") for name, value in pairs}


def own_path(given: str | None) -> str:
    """Return a path of this site that may follow a sign-in; what is none becomes `/`."""
    path = given or "/"
    if not _OWN_PATH.fullmatch(path) or _SIGN_IN_PATHS.match(path):
        return "/"
    return path


def telling(back: tuple[str, str]) -> Callable[[Endpoint], Endpoint]:
    """Show a refusal as a page, since a person with a browser reads it; `back` is the way on."""

    def told(endpoint: Endpoint) -> Endpoint:
        @wraps(endpoint)
        async def telling(request: Request) -> Response:
            try:
                return await endpoint(request)
            except Refused as refused:
                return pages.refusal(refused, back)

        return telling

    return told


told = telling(pages.DOOR)
