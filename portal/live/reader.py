"""A job's log, asked of the hub for one person: piece by piece, as that person.

Whether they may read it is the hub's to say, at each piece anew. Reading along is no act of
theirs, so it does not keep their session alive.
"""

from dataclasses import dataclass
from urllib.parse import quote

import httpx
from pydantic import ValidationError

from portal.client.answers import problem_of
from scheduler.core.lifecycle import JobState
from scheduler.wire.jobs import LogPage
from scheduler.wire.replies import reply_of

PIECE_BYTES = 262_144
"""As much as one question brings, and the most of a log that the portal holds for a reader."""
_SPARE_SECONDS = 10.0  # for the answer itself, beyond the wait that was asked for
_CONNECT_SECONDS = 2.0
_SAYS_NO = frozenset({401, 403, 404})


class Away(Exception):  # noqa: N818  # a state, told by its name
    """The hub does not answer, or not with a log; it may later."""


class Denied(Exception):  # noqa: N818  # a state, told by its name
    """The hub says that this person may not read this log, or that nobody is signed in."""

    def __init__(self, status: int, why: str) -> None:
        """Keep the status, and the hub's own sentence."""
        super().__init__(why)
        self.status = status
        self.why = why


@dataclass(frozen=True, slots=True)
class LogReader:
    """Asks over `hub`, a client of its base address, with one person's `secret`."""

    hub: httpx.AsyncClient
    secret: str
    job: str

    async def page(
        self, offset: int, wait_seconds: int = 0, known: JobState | None = None
    ) -> LogPage:
        """Return the piece from `offset` in bytes; with `wait_seconds`, once there is news.

        Raises:
            Away: there is no hub that answers.
            Denied: 401, 403 or 404, as the hub says.
        """
        asked: dict[str, str | int] = {"offset": offset, "limit": PIECE_BYTES, "wait": wait_seconds}
        if known is not None:
            asked["known"] = known.value
        try:
            answer = await self.hub.get(
                f"/v1/jobs/{quote(self.job, safe='')}/log",
                params=asked,
                headers={"Authorization": f"Bearer {self.secret}", "X-CP-Passive": "1"},
                timeout=httpx.Timeout(wait_seconds + _SPARE_SECONDS, connect=_CONNECT_SECONDS),
            )
            if answer.is_success:
                return reply_of(LogPage, answer.content)
        except (httpx.TransportError, ValidationError) as error:
            raise Away from error
        if answer.status_code in _SAYS_NO:
            problem = problem_of(answer)
            raise Denied(answer.status_code, problem.detail or problem.title)
        raise Away
