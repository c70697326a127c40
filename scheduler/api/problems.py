"""Errors as readers see them: RFC 9457 problem documents, or one plain line under `/api`.

Everything that goes wrong becomes a `Refused` first, so that each answer names the
field, the value, the limit and the next step in the same words.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, Response
from starlette.websockets import WebSocket

from scheduler.errors import Fault, NotLeader, Refused, StorageUnavailable
from scheduler.wire.accounts import Problem, ProblemFault
from scheduler.wire.replies import UPGRADE_FIRST
from scheduler.wire.sites import SiteSync

PLAIN_PREFIX = "/api"
RETRY_AFTER_SECONDS = 5
MAX_VALUE = 200
MAX_FAULTS = 50

Renderer = Callable[[Refused, Mapping[str, str]], Response]


def install(app: FastAPI) -> None:
    """Register a handler for every kind of error that an endpoint may meet."""
    for kind in (
        Refused,
        StorageUnavailable,
        NotLeader,
        RequestValidationError,
        ValidationError,
        HTTPException,
    ):
        app.add_exception_handler(kind, _handle)  # type: ignore[arg-type]  # requests and sockets


async def _handle(conn: HTTPConnection, error: Exception) -> Response | None:
    response = error_response(conn.scope["path"], error)
    if isinstance(conn, WebSocket):
        await conn.send_denial_response(response)
        return None
    return response


def error_response(path: str, error: Exception, request_id: str | None = None) -> Response:
    """Return the answer to a request for `path` that ended in `error`."""
    refused = as_refused(error)
    headers = _headers(error, refused)
    if path == PLAIN_PREFIX or path.startswith(PLAIN_PREFIX + "/"):
        return plain_line(refused, headers, request_id)
    return problem(refused, headers, request_id)


def as_refused(error: Exception) -> Refused:
    """Return any error in the words that callers are told; what is unexpected says nothing."""
    match error:
        case Refused():
            return error
        case StorageUnavailable():
            return _storage_unavailable(error)
        case NotLeader():
            return Refused("Not the leader", str(error), status=503, next_step="Try again.")
        case RequestValidationError():
            return validation_refused(error.errors())
        case HTTPException():
            return _http_refused(error)
        case _:
            return Refused(
                title="Internal error",
                detail="The hub met an error that it did not expect.",
                status=500,
                next_step="Look before you try again; tell the operator this request id.",
            )


def problem(
    refused: Refused, headers: Mapping[str, str] | None = None, request_id: str | None = None
) -> Response:
    """Return an RFC 9457 document."""
    document = Problem(
        title=refused.title,
        status=refused.status,
        detail=printable(refused.detail, 2_000),
        field=refused.field and printable(refused.field),
        value=None if refused.value is None else printable(refused.value),
        limit=refused.limit,
        next_step=refused.next_step,
        errors=tuple(
            ProblemFault(field=printable(f.field), reason=printable(f.reason, 500), line=f.line)
            for f in refused.faults[:MAX_FAULTS]
        ),
        next_offset=refused.next_offset,
        request_id=request_id,
    )
    return Response(
        document.model_dump_json(exclude_defaults=True, by_alias=True),
        status_code=refused.status,
        headers=dict(headers or {}),
        media_type="application/problem+json",
    )


def plain_line(
    refused: Refused, headers: Mapping[str, str] | None = None, request_id: str | None = None
) -> Response:
    """Return the one line that Ray's client prints as it stands."""
    line = printable(refused.sentence(), 2_000)
    if request_id:
        line = f"{line} (request {request_id})"
    return PlainTextResponse(
        f"commonpool: {line}", status_code=refused.status, headers=dict(headers or {})
    )


def printable(text: str, most: int = MAX_VALUE) -> str:
    """Return text that is safe to show: control characters escaped, at most `most` of it."""
    cut = text if len(text) <= most else text[: most - 1] + "…"
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in cut)


def validation_refused(errors: Sequence[Any], known: type[BaseModel] | None = None) -> Refused:
    """Return pydantic's findings as one refusal; the first is the headline.

    `known` is the message that was expected: a field it does not have gets a suggestion.
    """
    faults = tuple(Fault(_field(error), _reason(error)) for error in errors)
    first, headline = errors[0], faults[0]
    malformed = first["type"] == "json_invalid"
    return Refused(
        title="Not valid JSON" if malformed else "Not valid",
        detail=f"{headline.field}: {headline.reason}" if headline.field else headline.reason,
        status=400 if malformed else 422,
        field=headline.field or None,
        value=_shown(first),
        limit=_limit(first),
        next_step=_next_step(first, known),
        faults=faults if len(faults) > 1 else (),
    )


_PLACES = {"body", "query", "path", "header", "cookie"}


def _field(error: Mapping[str, Any]) -> str:
    steps = [step for step in error["loc"] if step not in _PLACES]
    return ".".join(str(step) for step in steps)


def _reason(error: Mapping[str, Any]) -> str:
    if error["type"] == "extra_forbidden":
        return "there is no such field"
    if error["type"] == "union_tag_not_found":
        return f"a field {error['ctx']['discriminator']} must say which it is"
    if error["type"] == "union_tag_invalid":
        kind, known = error["ctx"]["tag"], error["ctx"]["expected_tags"]
        return f"{error['ctx']['discriminator']} is '{kind}', which is none of {known}"
    message = str(error["msg"])
    return message[:1].lower() + message[1:]


def _shown(error: Mapping[str, Any]) -> str | None:
    given = error.get("input")
    if error["type"] in {"missing", "json_invalid"} or isinstance(given, dict | list | bytes):
        return None
    return str(given)


_BOUNDS = {
    "ge": "at least {}",
    "gt": "more than {}",
    "le": "at most {}",
    "lt": "less than {}",
    "min_length": "at least {} long",
    "max_length": "at most {} long",
    "pattern": "matches {}",
    "expected": "one of {}",
}


def _limit(error: Mapping[str, Any]) -> str | None:
    bounds = error.get("ctx") or {}
    return next((text.format(bounds[key]) for key, text in _BOUNDS.items() if key in bounds), None)


def _next_step(error: Mapping[str, Any], known: type[BaseModel] | None) -> str | None:
    match error["type"]:
        case "json_invalid":
            return "Send one JSON object in UTF-8."
        case "missing":
            return f"Add {_field(error)}."
        case "extra_forbidden" if known is SiteSync:
            return f"Leave it out. {UPGRADE_FIRST}"
        case "extra_forbidden" if known is not None and len(error["loc"]) == 1:
            near = difflib.get_close_matches(str(error["loc"][0]), known.model_fields, n=1)
            names = ", ".join(sorted(known.model_fields))
            return f"Did you mean {near[0]}?" if near else f"Leave it out; known: {names}."
        case "extra_forbidden":
            return "Leave it out."
        case _:
            return None


def _storage_unavailable(error: StorageUnavailable) -> Refused:
    reason = str(error) or "the hub's storage refuses service"
    if "nothing was stored" not in reason:
        reason += "; nothing was stored"
    return Refused(
        title="Storage unavailable",
        detail=f"{reason[:1].upper()}{reason[1:]}.",
        status=503,
        next_step=f"Try again in {RETRY_AFTER_SECONDS} s; if it stays, tell the operator.",
    )


def _http_refused(error: HTTPException) -> Refused:
    phrase = HTTPStatus(error.status_code).phrase
    match error.status_code:
        case 404:
            return Refused(phrase, "There is nothing at this path.", status=404, next_step=_SEE)
        case 405:
            allowed = (error.headers or {}).get("Allow")
            return Refused(
                phrase,
                "This path does not answer to that method.",
                status=405,
                limit=f"Allowed: {allowed}" if allowed else None,
                next_step=_SEE,
            )
        case _:
            return Refused(phrase, str(error.detail), status=error.status_code)


_SEE = "See /openapi.json for what there is."


def _headers(error: Exception, refused: Refused) -> dict[str, str]:
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    if refused.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="commonpool"'
    if refused.status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return headers
