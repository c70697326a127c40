"""Ray's Jobs REST API as this agent uses it: time limits on every call, errors told apart.

Source: notes/ray.md §1.2 (surface), §4 (failures): a duplicate id is answered with a 500
and a sentence; a frozen GCS makes calls hang; the version answers although nothing works.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import websockets
from pydantic import BaseModel, ConfigDict, ValidationError

from agents.hub import Backoff
from agents.site.failures import BackendRejected, BackendUnavailable
from agents.site.json_text import JsonText

_CONNECT = 3
_READ = 15
_POST = 40
_DUPLICATE = "Please use a different submission_id"
_NO_AGENT = "No available agent"
_ANSWERED_TRIES = 5
_NOT_FOUND = 404
_REFUSED = frozenset({401, 403})
_BAD_REQUEST = range(400, 500)


class JobDetails(BaseModel):
    """The part of Ray's answer about a job that matters here."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    status: str
    job_id: str | None = None
    message: str | None = None
    error_type: str | None = None
    start_time: int | None = None
    end_time: int | None = None
    driver_node_id: str | None = None
    driver_exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class RayNode:
    """A node as the head sees it."""

    id: str
    alive: bool
    labels: Mapping[str, str]


def http_client() -> httpx.AsyncClient:
    """Return the client for all Ray heads of an agent; a proxy must never see their tokens."""
    return httpx.AsyncClient(
        timeout=httpx.Timeout(_READ, connect=_CONNECT),
        trust_env=False,
        limits=httpx.Limits(max_connections=64, keepalive_expiry=30),
    )


@dataclass(frozen=True, slots=True)
class RayHead:
    """One head's Jobs API."""

    http: httpx.AsyncClient
    address: str
    token: str | None = None

    async def version(self) -> str:
        """Return the head's Ray version."""
        return str((await self._json("GET", "/api/version"))["ray_version"])

    async def job(self, run: str) -> JobDetails | None:
        """Return a job, or None where the head has no such id."""
        answer = await self._call("GET", f"/api/jobs/{run}")
        if answer.status_code == _NOT_FOUND:
            return None
        return _details(answer)

    async def submit(self, request: Mapping[str, object]) -> bool:
        """Post a job; return False if the head has that id already.

        Raises:
            BackendUnavailable: it may or may not be there now.
            BackendRejected: the head does not take the request.
        """
        answer = await self._call("POST", "/api/jobs/", json=request, timeout=_timeout(_POST))
        if answer.is_success:
            return True
        if _DUPLICATE in answer.text:
            return False
        if answer.status_code in _BAD_REQUEST and answer.status_code not in _REFUSED:
            raise BackendRejected(f"Ray refused the job: {_last_line(answer.text)}")
        raise HeadFailed(_last_line(answer.text), site_fault=_is_site_fault(answer))

    async def stop(self, run: str) -> None:
        """Ask Ray to stop a job: SIGTERM to its tree, SIGKILL 3 s later."""
        await self._call("POST", f"/api/jobs/{run}/stop")

    async def delete(self, run: str) -> None:
        """Drop Ray's record of a finished job."""
        await self._call("DELETE", f"/api/jobs/{run}")

    async def nodes(self) -> tuple[RayNode, ...]:
        """Return all nodes, the dead ones too."""
        body = await self._json("GET", "/api/v0/nodes", params={"limit": 10_000, "detail": 0})
        rows = body["data"]["result"]["result"]
        return tuple(
            RayNode(str(r["node_id"]), r["state"] == "ALIVE", r.get("labels") or {}) for r in rows
        )

    async def deliver(self, name: str, content: AsyncGenerator[bytes, None], size: int) -> None:
        """Store a package under a name, unless the head has it."""
        path = f"/api/packages/gcs/{name}"
        if (await self._call("GET", path)).is_success:
            return
        headers = {"Content-Length": str(size)}
        answer = await self._call(
            "PUT", path, content=content, headers=headers, timeout=_timeout(_POST)
        )
        if not answer.is_success:
            raise BackendUnavailable(f"package {name}: {_last_line(answer.text)}")

    async def log(self, run: str) -> AsyncGenerator[bytes, None]:
        """Yield a job's whole log in pieces; also what makes a restarted head look at the job."""
        url = f"{self.address}/api/jobs/{run}/logs"
        try:
            async with self.http.stream("GET", url, headers=self._headers()) as answer:
                if answer.status_code == _NOT_FOUND:
                    return  # A job that the head does not know has no more log either.
                if not answer.is_success:
                    raise BackendUnavailable(f"log of {run}: {answer.status_code}")
                text = JsonText("logs")
                async for piece in answer.aiter_text():
                    if plain := text.feed(piece):
                        yield plain.encode(errors="replace")
        except httpx.HTTPError as error:
            raise BackendUnavailable(_described(error)) from error

    async def tail(self, run: str) -> AsyncGenerator[bytes, None]:
        """Yield a job's log from its start as it grows; ends when the job and its log ended.

        `compression=None`: with compression Ray's socket delivers nothing, and no error.
        """
        url = f"{self.address}/api/jobs/{run}/logs/tail".replace("http", "ws", 1)
        try:
            async with websockets.connect(
                url,
                compression=None,
                proxy=None,
                additional_headers=self._headers(),
                open_timeout=_CONNECT + _READ,
                max_size=8 * 1024 * 1024,
                max_queue=4,
                close_timeout=1,
            ) as socket:
                async for frame in socket:
                    yield frame.encode() if isinstance(frame, str) else frame
        except (websockets.WebSocketException, OSError, TimeoutError) as error:
            raise BackendUnavailable(f"tail of {run}: {error}") from error

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    async def _json(self, method: str, path: str, **how: Any) -> Any:  # noqa: ANN401  # what json gives
        answer = await self._call(method, path, **how)
        if not answer.is_success:
            raise BackendUnavailable(f"{path}: {answer.status_code} {_last_line(answer.text)}")
        return answer.json()

    async def _call(self, method: str, path: str, **how: Any) -> httpx.Response:  # noqa: ANN401  # httpx's own keywords, passed on
        headers = {**self._headers(), **how.pop("headers", {})}
        try:
            return await self.http.request(method, self.address + path, headers=headers, **how)
        except httpx.HTTPError as error:
            raise BackendUnavailable(f"{self.address}: {_described(error)}") from error


class HeadFailed(BackendUnavailable):
    """The head answered a submission with an error of its own; perhaps with a bad request.

    `site_fault`: surely not the request's fault.
    """

    def __init__(self, message: str, *, site_fault: bool) -> None:
        super().__init__(message)
        self.site_fault = site_fault


async def submit_or_adopt(head: RayHead, request: Mapping[str, object]) -> None:
    """Post a job until the head certainly has it once, always under the same id.

    Goes on for as long as the head does not answer; who calls sets the limit.

    Raises:
        BackendRejected: the head's answer to this request stays an error.
    """
    run = str(request["submission_id"])
    backoff = Backoff(longest=5)
    answered = 0
    while True:
        try:
            await head.submit(request)
        except BackendUnavailable as error:
            answered += isinstance(error, HeadFailed) and not error.site_fault
            if await _arrived(head, run):
                return
            if answered >= _ANSWERED_TRIES:
                raise BackendRejected(f"Ray could not take the job: {error}") from error
            await backoff.pause()
        else:
            return


async def _arrived(head: RayHead, run: str) -> bool:
    """Wait until the head says whether it has a job."""
    backoff = Backoff(longest=5)
    while True:
        try:
            return await head.job(run) is not None
        except BackendUnavailable:
            await backoff.pause()


async def ends(head: RayHead, run: str, seconds: float) -> JobDetails | None:
    """Return a job's details once it is terminal, or None if that takes too long."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                details = await _details_or_none(head, run)
                if details and details.status in ("SUCCEEDED", "FAILED", "STOPPED"):
                    return details
                await asyncio.sleep(0.2)
    except TimeoutError:
        return None


async def _details_or_none(head: RayHead, run: str) -> JobDetails | None:
    try:
        return await head.job(run)
    except BackendUnavailable:
        return None


def _details(answer: httpx.Response) -> JobDetails:
    if not answer.is_success:
        raise BackendUnavailable(f"{answer.status_code}: {_last_line(answer.text)}")
    try:
        return JobDetails.model_validate_json(answer.content)
    except ValidationError as error:
        raise BackendUnavailable(f"an answer that is no job: {error}") from error


def _is_site_fault(answer: httpx.Response) -> bool:
    return answer.status_code in _REFUSED or _NO_AGENT in answer.text


def _timeout(seconds: float) -> httpx.Timeout:
    return httpx.Timeout(seconds, connect=_CONNECT)


def _last_line(text: str) -> str:
    """Return what an error says, without the traceback and the paths in front of it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:500] if lines else "no explanation"


def _described(error: httpx.HTTPError) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
