"""The outermost layer of the API: how much may be sent, and what is said when all else fails.

Plain ASGI, because it is passed by every request, and because Starlette's own last
resort answers a 500 and then raises again, for a traceback per error in the log.
"""

import re
import secrets

import structlog
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scheduler.api.problems import error_response
from scheduler.clock import Clock
from scheduler.config import HubSettings
from scheduler.errors import Refused
from scheduler.metrics import REQUEST_SECONDS

log = structlog.get_logger()

MIB = 1024 * 1024
DEFAULT_BODY = 2 * MIB
LOG_BODY = 4 * MIB
AGENT_BODY = 32 * MIB
NODES_BODY = 8 * MIB

_METHODS = frozenset({"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"})
_LOG_PATH = re.compile(r"/v1/sites/[^/]+/runs/[^/]+/log")


class Frame:
    """Wraps the application: body limits, text no database takes, unexpected errors."""

    def __init__(self, app: ASGIApp, settings: HubSettings, clock: Clock) -> None:
        self._app = app
        self._package_bytes = settings.max_package_bytes
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 0
        began = self._clock.monotonic()

        async def sending(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._serve(scope, receive, sending)
        finally:
            # The route's own words: paths with ids in them would be a series each.
            route = getattr(scope.get("route"), "path", "none")
            REQUEST_SECONDS.labels(_method(scope), route, status).observe(
                self._clock.monotonic() - began
            )

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            _check_address(scope)
            limited = _limited(receive, self._body_limit(scope["path"]), scope)
            await self._app(scope, limited, sending)
        except ClientDisconnect:
            return
        except Refused as refusal:
            await error_response(scope["path"], refusal)(scope, receive, send)
        except Exception as error:
            request_id = secrets.token_hex(8)
            log.exception("request_failed", request_id=request_id, path=scope["path"])
            if started:
                raise
            await error_response(scope["path"], error, request_id)(scope, receive, send)

    def _body_limit(self, path: str) -> int:
        if path.startswith("/api/packages/"):
            return self._package_bytes
        if _LOG_PATH.fullmatch(path):
            return LOG_BODY
        # A site speaks for all its runs, a reporter for all its nodes, in one message.
        if path.startswith("/v1/sites/"):
            return AGENT_BODY
        if path.startswith("/v1/nodes/"):
            return NODES_BODY
        return DEFAULT_BODY


def _method(scope: Scope) -> str:
    # Anyone may send any word for a method, and each would be a series of its own.
    method: str = scope["method"]
    return method if method in _METHODS else "other"


def too_large(limit: int) -> Refused:
    """Return the refusal of a body above `limit` bytes."""
    amount = f"{limit // MIB} MiB" if limit % MIB == 0 else f"{limit} bytes"
    return Refused(
        title="Too large",
        detail=f"The body is larger than {amount}.",
        status=413,
        field="body",
        limit=amount,
        next_step="Send less at once.",
    )


def _limited(receive: Receive, limit: int, scope: Scope) -> Receive:
    announced = Headers(scope=scope).get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        raise too_large(limit)
    taken = 0

    async def receiving() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > limit:
            raise too_large(limit)
        return message

    return receiving


def _check_address(scope: Scope) -> None:
    """Refuse NUL before it reaches a query: no name holds one, and PostgreSQL takes none."""
    in_path = "\x00" in scope["path"]
    if in_path or b"%00" in scope["query_string"]:
        raise Refused(
            title="Not valid",
            detail="The address holds NUL, which is not a character.",
            status=400,
            field="path" if in_path else "query",
            limit="Unicode text without NUL",
            next_step="Remove %00.",
        )
