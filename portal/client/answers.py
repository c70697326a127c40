"""What a hub's answer means where it is none of the expected messages, or did not come at all."""

import httpx
from pydantic import ValidationError

from scheduler.wire.accounts import Problem
from scheduler.wire.replies import reply_of

CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 10.0


def problem_of(response: httpx.Response) -> Problem:
    """Return the problem document, or one made up from a plain answer (a proxy's, say)."""
    try:
        return reply_of(Problem, response.content)
    except ValidationError:
        detail = response.text.strip().splitlines()[:1]
        return Problem(
            title=response.reason_phrase or "Error",
            status=response.status_code,
            detail=detail[0][:300] if detail else f"the hub answered {response.status_code}",
        )


def in_words(error: Exception) -> str:
    """Return why no answer came, as one short clause."""
    if isinstance(error, httpx.ConnectTimeout):
        return f"no connection within {CONNECT_SECONDS:g} s"
    if isinstance(error, httpx.TimeoutException):
        return f"no answer within {ANSWER_SECONDS:g} s"
    if isinstance(error, httpx.ConnectError):
        return "nothing listens there, or the name is unknown"
    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
        return "that is not a http:// or https:// address"
    return "the connection broke"
