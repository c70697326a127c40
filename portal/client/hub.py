"""The hub as the portal and the researcher's commands see it: one method per endpoint.

Answers are the wire's own messages. A refusal is a `HubProblem` with the hub's words in
it, a hub that cannot be reached a `HubUnreachable`; nothing else is raised on purpose.
Calls are short and blocking: a person waits behind each of them.
"""

from collections.abc import Iterator, Mapping
from threading import Event
from typing import TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from portal.client.answers import ANSWER_SECONDS, CONNECT_SECONDS, in_words, problem_of
from scheduler.core.lifecycle import JobState
from scheduler.wire.accounts import (
    AccountList,
    Me,
    NodePage,
    PolicyApplied,
    PoolList,
    Problem,
    TokenIssued,
    TokenList,
    TokenRequest,
)
from scheduler.wire.diagnostics import Diagnostics, PrioPage, QueuePage, RecallPage, ShareList
from scheduler.wire.identity import Session
from scheduler.wire.jobs import Explanation, JobPage, JobRequest, JobView, LogPage
from scheduler.wire.operating import (
    DrainRequest,
    MaintenanceList,
    MaintenanceRequest,
    NodeDetail,
    ResumeRequest,
    WastePage,
)
from scheduler.wire.replies import reply_of
from scheduler.wire.telemetry import TelemetryPage
from scheduler.wire.what_if import WhatIf, WhatIfRequest

WHAT_IF_SECONDS = 600.0
_WHAT_IF = "/v1/what-if"
LOG_PIECE_BYTES = 262_144

Answer = TypeVar("Answer", bound=BaseModel)


class HubProblem(Exception):  # noqa: N818  # the word of RFC 9457, as in the wire's `Problem`
    """The hub answered, and refused: its problem document, field by field."""

    def __init__(self, problem: Problem) -> None:
        """Keep the document's parts as attributes; its sentence is the exception's text."""
        self.status = problem.status
        self.title = problem.title
        self.detail = problem.detail
        self.field = problem.field
        self.value = problem.value
        self.limit = problem.limit
        self.next_step = problem.next_step
        self.errors = problem.errors
        self.request_id = problem.request_id
        super().__init__(self.sentence())

    def sentence(self) -> str:
        """Return one line: what is wrong, the limit, and what to do, as far as known."""
        parts = [self.detail or self.title]
        if self.limit:
            parts.append(f"limit: {self.limit}")
        if self.next_step:
            parts.append(self.next_step)
        return ". ".join(part.rstrip(".") for part in parts) + "."


def sentences(problem: HubProblem) -> str:
    """Return the same for a page: each part a sentence of its own."""
    limit = f"Limit: {problem.limit}" if problem.limit else ""
    said = (problem.detail or problem.title, limit, problem.next_step or "")
    return " ".join(f"{part[0].upper()}{part[1:].rstrip('.')}." for part in said if part)


class HubUnreachable(Exception):  # noqa: N818  # a state, told by its name
    """No usable answer came from `url`; `reason` is one short clause."""

    def __init__(self, url: str, reason: str) -> None:
        """Keep both parts as attributes, and one sentence of them as the text."""
        self.url = url
        self.reason = reason
        super().__init__(f"No answer from the hub at {url}: {reason}.")


def http_client() -> httpx.Client:
    """Return a client that many `Hub`s may share: it holds connections, never a token."""
    return httpx.Client(
        timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
        # A proxy of the environment must not come between a person and a hub on loopback.
        trust_env=False,
    )


class Hub:
    """One person's view of one hub. Safe to share between threads."""

    def __init__(
        self, url: str, token: str, client: httpx.Client | None = None, *, passive: bool = False
    ) -> None:
        """Speak to `url` (scheme, host, port) with `token`, over `client` or a new one.

        `passive`: what only reads is no act of the person, and keeps no session alive.
        """
        self.url = url.rstrip("/")
        self._client = client or http_client()
        self._headers = {"Authorization": f"Bearer {token}"}
        self._passive = passive

    def close(self) -> None:
        """Close the connections, where no one else shares them."""
        self._client.close()

    def me(self) -> Me:
        """Return whom the token speaks for."""
        return self._read(Me, "/v1/me")

    def session(self) -> Session:
        """Return who the caller is, with roles, and until when."""
        return self._read(Session, "/v1/session")

    def submit(self, request: JobRequest, idempotency_key: str | None = None) -> JobView:
        """Submit a job; the same key gives the same job back, however often it is sent."""
        response = self._send(
            "POST",
            "/v1/jobs",
            headers={"Idempotency-Key": idempotency_key} if idempotency_key else {},
            json=request.model_dump(mode="json", exclude_unset=True),
        )
        return self._parse(JobView, response)

    def jobs(  # each narrows the list
        self,
        state: JobState | None = None,
        account: str | None = None,
        after: str | None = None,
        limit: int = 50,
        scope: str | None = None,
    ) -> JobPage:
        """Return a page of jobs, newest first: one's own, or by `scope` of `accounts` one leads."""
        asked = {"state": state, "account": account, "after": after, "limit": limit, "scope": scope}
        return self._read(JobPage, "/v1/jobs", asked)

    def job(self, job: str) -> JobView:
        """Return a job by its id or submission id."""
        return self._read(JobView, _job_path(job))

    def cancel(self, job: str, reason: str = "") -> JobView:
        """Ask for the job's end, saying why; one that has ended stays as it is."""
        path = _job_path(job, "/cancel") + (f"?reason={quote(reason, safe='')}" if reason else "")
        return self._parse(JobView, self._send("POST", path))

    def recall(self, job: str) -> JobView:
        """Take an idle job's lease back from the background work on it."""
        return self._parse(JobView, self._send("POST", _job_path(job, "/recall")))

    def explanation(self, job: str) -> Explanation:
        """Return why the job is where it is, pool by pool, and its history."""
        return self._read(Explanation, _job_path(job, "/explanation"))

    def log(self, job: str, offset: int = 0, limit: int = LOG_PIECE_BYTES) -> LogPage:
        """Return a piece of the job's log from `offset`, in bytes over all attempts."""
        return self._read(LogPage, _job_path(job, "/log"), {"offset": offset, "limit": limit})

    def follow_log(self, job: str, offset: int = 0, pause_seconds: float = 1.0) -> Iterator[str]:
        """Yield the log's pieces as they come, until it is complete.

        Raises:
            HubUnreachable: the hub is away; ask again from where the log stood.
        """
        waiting = Event()  # never set: a pause that Ctrl-C interrupts
        while True:
            page = self.log(job, offset)
            offset = page.next_offset
            if page.text:
                yield page.text
            elif page.complete:
                return
            else:
                waiting.wait(pause_seconds)

    def pools(self) -> PoolList:
        """Return every pool with what is used and free, and each account's quota."""
        return self._read(PoolList, "/v1/pools")

    def nodes(
        self, pool: str | None = None, after: str | None = None, limit: int = 100
    ) -> NodePage:
        """Return a page of nodes, of one pool or of all."""
        return self._read(NodePage, "/v1/nodes", {"pool": pool, "after": after, "limit": limit})

    def telemetry(
        self,
        asked: Mapping[str, str | None] | None = None,
        after: str | None = None,
        limit: int = 500,
    ) -> TelemetryPage:
        """Return a page of nodes with their GPUs, narrowed by tier, site, pool or account."""
        return self._read(
            TelemetryPage, "/v1/telemetry", {**(asked or {}), "after": after, "limit": limit}
        )

    def node(self, node: str) -> NodeDetail:
        """Return a node, why it takes no work, and what happened to it."""
        return self._read(NodeDetail, _node_path(node))

    def drain(self, node: str, asked: DrainRequest) -> NodeDetail:
        """Take a node out of work (admin scope)."""
        content = asked.model_dump(mode="json", exclude_none=True)
        return self._parse(NodeDetail, self._send("POST", _node_path(node, "/drain"), json=content))

    def resume(self, node: str, reason: str = "") -> NodeDetail:
        """Let a node work again (admin scope)."""
        return self.tell(NodeDetail, _node_path(node, "/resume"), ResumeRequest(reason=reason))

    def plan_maintenance(self, asked: MaintenanceRequest) -> MaintenanceList:
        """Keep nodes free for a time (admin scope)."""
        response = self._send("POST", "/v1/maintenance", json=asked.model_dump(mode="json"))
        return self._parse(MaintenanceList, response)

    def cancel_maintenance(self, name: str) -> None:
        """Undo planned maintenance (admin scope)."""
        self._send("DELETE", f"/v1/maintenance/{quote(name, safe='')}")

    def waste(self, days: int) -> WastePage:
        """Return what accounts were leased against what their GPUs did with it."""
        return self._read(WastePage, "/v1/waste", {"days": days})

    def accounts(self) -> AccountList:
        """Return the tree of accounts with weights and decayed usage."""
        return self._read(AccountList, "/v1/accounts")

    def queue(self, after: str | None = None, limit: int = 100) -> QueuePage:
        """Return a page of the caller's waiting jobs with planned and expected starts."""
        return self._read(QueuePage, "/v1/queue", {"after": after, "limit": limit})

    def shares(self) -> ShareList:
        """Return the tree of accounts by share."""
        return self._read(ShareList, "/v1/shares")

    def prio(self, after: str | None = None, limit: int = 100) -> PrioPage:
        """Return a page of waiting jobs with what orders them, the next to be tried first."""
        return self._read(PrioPage, "/v1/prio", {"after": after, "limit": limit})

    def diagnostics(self) -> Diagnostics:
        """Return how planning goes (admin scope)."""
        return self._read(Diagnostics, "/v1/diagnostics")

    def recalls(self, days: int) -> RecallPage:
        """Return how long owners waited for what they had lent, over the last days."""
        return self._read(RecallPage, "/v1/recalls", {"days": days})

    def what_if(self, request: WhatIfRequest) -> WhatIf:
        """Play the hub's recent past with and without changes; takes a while (admin scope)."""
        asked = request.model_dump(mode="json", exclude_unset=True)
        return self._parse(WhatIf, self._send("POST", _WHAT_IF, json=asked))

    def policy(self) -> str:
        """Return the policy in force, as its YAML text."""
        return self._send("GET", "/v1/policy").text

    def apply_policy(self, document: str, reason: str = "") -> PolicyApplied:
        """Replace the policy, alone (admin scope); one in force is replaced with a reason."""
        response = self._send(
            "PUT",
            "/v1/policy",
            headers={"Content-Type": "text/yaml"},
            params={"reason": reason} if reason else {},
            content=document.encode(),
        )
        return self._parse(PolicyApplied, response)

    def issue_token(self, request: TokenRequest) -> TokenIssued:
        """Make a token; it is shown this once (admin scope)."""
        response = self._send("POST", "/v1/tokens", json=request.model_dump(mode="json"))
        return self._parse(TokenIssued, response)

    def tokens(self) -> TokenList:
        """Return all tokens, without their secrets (admin scope)."""
        return self._read(TokenList, "/v1/tokens")

    def revoke_token(self, token_id: str) -> None:
        """End a token now (admin scope)."""
        self._send("DELETE", f"/v1/tokens/{quote(token_id, safe='')}")

    def exchange(
        self,
        kind: type[Answer],
        method: str,
        path: str,
        json: object | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a message to any endpoint, and return its answer as a message of that kind."""
        return self._parse(kind, self._send(method, path, json=json, headers=headers))

    def call(self, method: str, path: str) -> None:
        """Send a request to any endpoint whose answer says nothing more."""
        self._send(method, path)

    def has_package(self, name: str) -> bool:
        """Return whether the caller already uploaded the package of that name."""
        try:
            self._send("GET", f"/api/packages/gcs/{quote(name, safe='')}")
        except HubProblem as problem:
            if problem.status == httpx.codes.NOT_FOUND:
                return False
            raise
        return True

    def put_package(self, name: str, data: bytes) -> str:
        """Upload a zip and return the URI for `runtime_env["working_dir"]`."""
        self._send("PUT", f"/api/packages/gcs/{quote(name, safe='')}", content=data)
        return f"gcs://{name}"

    def ask(
        self, kind: type[Answer], path: str, asked: Mapping[str, str | int | None] | None = None
    ) -> Answer:
        """Return the answer at a path, for those who know endpoints of their own."""
        return self._read(kind, path, asked)

    def tell(
        self,
        kind: type[Answer],
        path: str,
        message: BaseModel | None = None,
        method: str = "POST",
    ) -> Answer:
        """Send a message to a path and return the answer."""
        said = None if message is None else message.model_dump(mode="json", exclude_unset=True)
        return self._parse(kind, self._send(method, path, json=said))

    def tell_text(self, kind: type[Answer], path: str, text: str) -> Answer:
        """Send YAML to a path and return the answer."""
        yaml = {"Content-Type": "text/yaml"}
        return self._parse(kind, self._send("POST", path, headers=yaml, content=text.encode()))

    def fetch(self, path: str, asked: Mapping[str, str | int | None] | None = None) -> bytes:
        """Return what is at a path as it comes."""
        params = {key: value for key, value in (asked or {}).items() if value is not None}
        return self._send("GET", path, params=params).content

    def _read(
        self, kind: type[Answer], path: str, asked: Mapping[str, str | int | None] | None = None
    ) -> Answer:
        params = {key: value for key, value in (asked or {}).items() if value is not None}
        return self._parse(kind, self._send("GET", path, params=params))

    def _send(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str | int] | None = None,
        json: object | None = None,
        content: bytes | None = None,
    ) -> httpx.Response:
        seconds = WHAT_IF_SECONDS if path == _WHAT_IF else ANSWER_SECONDS
        try:
            response = self._client.request(
                method,
                self.url + path,
                headers={**self._headers, **self._quietly(method), **(headers or {})},
                params=params,
                json=json,
                content=content,
                timeout=httpx.Timeout(seconds, connect=CONNECT_SECONDS),
            )
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise HubUnreachable(self.url, in_words(error)) from error
        if response.is_success:
            return response
        raise HubProblem(problem_of(response))

    def _quietly(self, method: str) -> dict[str, str]:
        return {"X-CP-Passive": "1"} if self._passive and method == "GET" else {}

    def _parse(self, kind: type[Answer], response: httpx.Response) -> Answer:
        try:
            return reply_of(kind, response.content)
        except ValidationError as error:
            reason = "it answers, but not as a Commonpool hub of this version does"
            raise HubUnreachable(self.url, reason) from error


def _node_path(node: str, rest: str = "") -> str:
    return f"/v1/nodes/{quote(node, safe='')}{rest}"


def _job_path(job: str, rest: str = "") -> str:
    return f"/v1/jobs/{quote(job, safe='')}{rest}"
