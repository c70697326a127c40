"""The agents' way to the hub: outward HTTP only, with time limits and told-apart failures.

`HubAway` means «try again»: unreachable, overloaded, or a fault of its own. `HubRefused`
means «someone must look»: a wrong token, an unknown site, a message it does not take.
Both are raised once per call; who calls decides how long to go on, with `Backoff`.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from secrets import SystemRandom
from typing import Protocol, TypeVar

import httpx
from pydantic import ValidationError

from agents.config import read_token
from scheduler.wire import reports as wire
from scheduler.wire.nodes import NodeReportReply
from scheduler.wire.replies import reply_of
from scheduler.wire.reports import NodeReport
from scheduler.wire.sites import LogAppended, SiteOrders, SiteSync

_CONNECT_SECONDS = 5
_ANSWER_SECONDS = 30
_TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504, 507})
_CONFLICT = 409

Answer = TypeVar("Answer", SiteOrders, LogAppended, NodeReportReply)


class HubAway(Exception):  # noqa: N818  # a state, told by its name
    """The hub cannot answer now; nothing is wrong with what was asked."""


@dataclass(eq=False)
class HubRefused(Exception):  # noqa: N818  # a state, told by its name
    """The hub says no, and would say so again."""

    status: int
    detail: str

    def __str__(self) -> str:
        """Return the hub's own words with the status."""
        return f"{self.status}: {self.detail}"


@dataclass(eq=False)
class LogGap(Exception):  # noqa: N818  # a state, told by its name
    """The hub has less of a log than was thought; it continues at `next_offset`."""

    next_offset: int


class Backoff:
    """Pauses that double up to a longest, each shortened at random so that agents spread."""

    def __init__(self, first: float = 0.2, longest: float = 15) -> None:
        self._first, self._longest = first, longest
        self._next = first
        self._random = SystemRandom()

    def reset(self) -> None:
        """Start over after a success."""
        self._next = self._first

    async def pause(self) -> None:
        """Wait, longer each time."""
        seconds, self._next = self._next, min(2 * self._next, self._longest)
        await asyncio.sleep(seconds * self._random.uniform(0.5, 1))


class Hub(Protocol):
    """What a site agent asks of a hub; the tests have one without a network."""

    async def sync(self, site: str, message: SiteSync) -> SiteOrders:
        """Tell what is, and get what should be."""
        ...

    async def append_log(self, site: str, run: str, offset: int, data: bytes) -> int:
        """Deliver a piece of a run's log; return where the next one starts."""
        ...

    def package(self, site: str, sha256: str) -> AsyncGenerator[bytes, None]:
        """Return a package's bytes, piece by piece."""
        ...


class HttpHub:
    """The hub behind its URL. The token file is read at each call: it may be replaced."""

    def __init__(self, url: str, token_file: Path) -> None:
        self._token_file = token_file
        self._http = httpx.AsyncClient(
            base_url=url,
            timeout=httpx.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS),
            trust_env=not _is_local(url),  # A proxy never leads to this machine.
            limits=httpx.Limits(max_connections=32, keepalive_expiry=60),
        )

    async def sync(self, site: str, message: SiteSync) -> SiteOrders:
        """Tell what is, and get what should be; blocks up to `wait_seconds` if that is the same.

        Raises:
            HubAway: try again.
            HubRefused: someone must look.
        """
        answer = await self._send(
            "POST",
            f"/v1/sites/{site}/sync",
            # As reports are: an older hub takes what says nothing in a field that it does not know.
            content=message.model_dump_json(exclude_defaults=True),
            headers={"Content-Type": "application/json"},
            timeout=httpx.Timeout(message.wait_seconds + _ANSWER_SECONDS, connect=_CONNECT_SECONDS),
        )
        return _parsed(SiteOrders, answer)

    async def report(self, reports: Sequence[NodeReport]) -> NodeReportReply:
        """Deliver node reports.

        Raises:
            HubAway: try again.
            HubRefused: someone must look.
        """
        answer = await self._send(
            "POST",
            "/v1/nodes/report",
            content=wire.encode(reports),
            headers={"Content-Type": "application/json"},
        )
        return _parsed(NodeReportReply, answer)

    async def report_site(self, reports: Sequence[NodeReport]) -> NodeReportReply:
        """Deliver what a site's nodes said, packed; what is refused is named in the reply.

        Raises:
            HubAway: try again.
            HubRefused: someone must look.
        """
        # Only gateways need it; an agent of one machine has no use for packing.
        import zstandard  # noqa: PLC0415

        answer = await self._send(
            "POST",
            "/v1/nodes/reports",
            content=zstandard.compress(wire.encode(reports)),
            headers={"Content-Type": "application/json", "Content-Encoding": "zstd"},
        )
        return _parsed(NodeReportReply, answer)

    async def append_log(self, site: str, run: str, offset: int, data: bytes) -> int:
        """Deliver a piece of a run's log; the same piece twice does no harm.

        Raises:
            LogGap: the hub has less than `offset`.
            HubAway: try again.
            HubRefused: someone must look.
        """
        answer = await self._send(
            "POST",
            f"/v1/sites/{site}/runs/{run}/log",
            params={"offset": offset},
            content=data,
            headers={"Content-Type": "application/octet-stream"},
        )
        return _parsed(LogAppended, answer).next_offset

    async def package(self, site: str, sha256: str) -> AsyncGenerator[bytes, None]:
        """Yield a package's bytes.

        Raises:
            HubAway: try again.
            HubRefused: the hub has no such package for this site.
        """
        path = f"/v1/sites/{site}/packages/{sha256}"
        try:
            async with self._http.stream("GET", path, headers=self._headers()) as answer:
                if answer.is_error:
                    await answer.aread()
                _raise_for(answer)
                async for piece in answer.aiter_bytes():
                    yield piece
        except httpx.HTTPError as error:
            raise HubAway(_described(error)) from error

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {read_token(self._token_file)}"}

    async def _send(self, method: str, path: str, **how: object) -> httpx.Response:
        headers = how.pop("headers")
        headers = {**self._headers(), **(headers if isinstance(headers, dict) else {})}
        try:
            answer = await self._http.request(method, path, headers=headers, **how)  # type: ignore[arg-type]  # httpx's own keywords, passed on
        except httpx.HTTPError as error:
            raise HubAway(_described(error)) from error
        _raise_for(answer)
        return answer


def _raise_for(answer: httpx.Response) -> None:
    if answer.is_success:
        return
    detail = _detail(answer)
    if answer.status_code in _TRY_AGAIN:
        raise HubAway(f"{answer.status_code}: {detail}")
    if answer.status_code == _CONFLICT and (offset := _next_offset(answer)) is not None:
        raise LogGap(offset)
    raise HubRefused(answer.status_code, detail)


def _problem(answer: httpx.Response) -> dict[str, object]:
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _detail(answer: httpx.Response) -> str:
    problem = _problem(answer)
    said = [problem.get(key) for key in ("detail", "next_step")]
    return "; ".join(str(part) for part in said if part) or answer.text[:200]


def _next_offset(answer: httpx.Response) -> int | None:
    """Find the offset in the problem document: its own member, or the `limit`."""
    problem = _problem(answer)
    for key in ("next_offset", "limit"):
        value = str(problem.get(key, ""))
        if value.isdecimal():
            return int(value)
    return None


def _parsed(kind: type[Answer], answer: httpx.Response) -> Answer:
    try:
        return reply_of(kind, answer.content)
    except ValidationError as error:
        raise HubRefused(
            answer.status_code, f"an answer this agent cannot read: {error}"
        ) from error


def _described(error: httpx.HTTPError) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _is_local(url: str) -> bool:
    host = httpx.URL(url).host
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
