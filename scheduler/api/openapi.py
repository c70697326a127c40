"""The OpenAPI document: what FastAPI derives, and what it cannot know.

Bodies are read by `body.read`, and errors made by `problems`, so both are added here:
request messages with examples, and problem documents for every operation of `/v1`.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from scheduler.wire.accounts import Problem, TokenRequest
from scheduler.wire.drafts import DraftRequest, SubmitAgain
from scheduler.wire.dry_run import DryRunRequest
from scheduler.wire.identity import PersonalTokenRequest
from scheduler.wire.jobs import JobRequest
from scheduler.wire.operating import DrainRequest, MaintenanceRequest
from scheduler.wire.reports import NodeReports
from scheduler.wire.requests import NewRequest, RequestComment, RequestDecision, RequestEdit
from scheduler.wire.sites import SiteSync
from scheduler.wire.what_if import WhatIfRequest

_MESSAGES: tuple[type[BaseModel], ...] = (
    DraftRequest,
    DrainRequest,
    DryRunRequest,
    JobRequest,
    MaintenanceRequest,
    NewRequest,
    PersonalTokenRequest,
    Problem,
    RequestComment,
    RequestDecision,
    RequestEdit,
    SiteSync,
    SubmitAgain,
    TokenRequest,
    WhatIfRequest,
)
_REF = "#/components/schemas/{model}"
# What has no body, and may come too late.
_STEPS = ("/apply", "/send")
_OPEN = frozenset({"/healthz", "/readyz"})

ABOUT = """The hub of a Commonpool: allocates GPUs of many sites under one policy.

Errors are RFC 9457 problem documents that name field, value, limit and next step.
Send a token as `Authorization: Bearer`; lists are pages, `next` is the following `after`.
"""

_PROBLEMS = {
    "400": ("Not JSON, or the address cannot be read", "Not valid JSON"),
    "401": ("No token, or one that is unknown, revoked or expired", "Not authenticated"),
    "403": ("A token for something else", "Wrong scope"),
    "404": ("Not there, or not the caller's to see", "Not found"),
    "409": ("Contradicts what is stored", "Already used"),
    "413": ("The body is too large", "Too large"),
    "415": ("The body is of another media type", "Unsupported media type"),
    "422": ("A field is refused, with its limit", "Not valid"),
    "500": (
        "An error that the hub did not expect, with the id it is logged under",
        "Internal error",
    ),
    "503": ("Storage is unavailable, or there is no policy yet", "Storage unavailable"),
}


def accepts(
    message: type[BaseModel | msgspec.Struct], example: Mapping[str, Any], *, required: bool = True
) -> dict[str, Any]:
    """Return what a route's `openapi_extra` says about its JSON body."""
    schema = {"$ref": _REF.format(model=message.__name__)}
    found = accepts_media("application/json", schema, example)
    found["requestBody"]["required"] = required
    return found


def accepts_media(media: str, schema: Mapping[str, Any], example: object = None) -> dict[str, Any]:
    """Return what a route's `openapi_extra` says about a body of any media type."""
    content: dict[str, Any] = {"schema": dict(schema)}
    if example is not None:
        content["example"] = example
    return {"requestBody": {"required": True, "content": {media: content}}}


def answers(example: Mapping[str, Any], status: int = 200, said: str = "Done") -> dict[Any, Any]:
    """Return what a route's `responses` says about its success, with an example."""
    return {status: {"description": said, "content": {"application/json": {"example": example}}}}


def operation_id(route: APIRoute) -> str:
    """Return a short id: the endpoint's name, with its front door where there are two."""
    return f"ray_{route.name}" if route.path_format.startswith("/api") else route.name


def install(app: FastAPI) -> None:
    """Make the application serve this document at `/openapi.json`."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's documented way


def _document(app: FastAPI) -> dict[str, Any]:
    made = get_openapi(title=app.title, version=app.version, description=ABOUT, routes=app.routes)
    components = made.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    _, added = models_json_schema(
        [(message, "validation") for message in _MESSAGES], ref_template=_REF
    )
    schemas.update(added["$defs"])
    _, structs = msgspec.json.schema_components(
        [NodeReports], ref_template="#/components/schemas/{name}"
    )
    schemas.update(structs)
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    components["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "description": "A Commonpool token"},
        "password": {"type": "http", "scheme": "basic", "description": "The token as password"},
    }
    for path, operations in made["paths"].items():
        for operation in operations.values():
            _complete(path, operation)
    return made


def _complete(path: str, operation: dict[str, Any]) -> None:
    if path in _OPEN:
        return
    operation["security"] = [{"token": []}, {"password": []}]
    responses = operation.setdefault("responses", {})
    if path.startswith("/api"):
        # Ray's clients print errors as they come: one plain line.
        responses.pop("422", None)
        responses["default"] = {"description": "One line", "content": {"text/plain": {}}}
        return
    for status, (said, title) in _PROBLEMS.items():
        if _may_meet(status, path, operation):
            responses[status] = _problem(status, said, title)
        else:
            responses.pop(status, None)


def _may_meet(status: str, path: str, operation: Mapping[str, Any]) -> bool:
    has_body = "requestBody" in operation
    match status:
        case "404":
            # A policy is absent until the first one is applied.
            return "{" in path or path == "/v1/policy"
        case "409":
            return has_body or path.endswith(_STEPS)
        case "413" | "415":
            return has_body
        case "422":
            return has_body or bool(operation.get("parameters"))
        case _:
            return True


def _problem(status: str, said: str, title: str) -> dict[str, Any]:
    example = {
        "type": "about:blank",
        "title": title,
        "status": int(status),
        "detail": said + ".",
        "next_step": "What to do is said here.",
    }
    schema = {"$ref": _REF.format(model="Problem")}
    return {
        "description": said,
        "content": {"application/problem+json": {"schema": schema, "example": example}},
    }
