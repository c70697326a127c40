"""Who the portal lets in: its gate, the way to the hub beside it, and what stays closed."""

import re
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr
from starlette.responses import PlainTextResponse
from typer.testing import CliRunner

from portal.commands.serve import app as portal_command
from portal.config import PortalSettings
from portal.gate.forward import Forward
from portal.gate.gate import COOKIE, KEEP_SECONDS, KEEP_WHILE_AWAY_SECONDS, Gate, Sessions
from portal.gate.headers import SecurityHeaders, content_security_policy
from portal.signin import person
from scheduler.wire.identity import Kind, Session

PORTAL = Path(__file__).parents[2] / "portal"


class HandClock:
    at = 0.0

    def monotonic(self):
        return self.at


class Hub:
    """Answers `/v1/session` for the people whose sessions it knows, and echoes the rest."""

    def __init__(self):
        self.known = {"cp_session_dana": "dana", "cp_session_alex": "alex"}
        self.away = False
        self.seen = []

    def answer(self, request):
        self.seen.append(request)
        if self.away:
            raise httpx.ConnectError("down")
        user = self.known.get(request.headers.get("authorization", "").removeprefix("Bearer "))
        if request.url.path != "/v1/session":
            headers = [("set-cookie", "a=1"), ("set-cookie", "b=2"), ("x-hub", "yes")]
            return httpx.Response(303, headers=headers, stream=httpx.ByteStream(b"gone"))
        if user is None:
            return httpx.Response(401, json={"title": "Session ended", "status": 401})
        body = Session(user=user, kind=Kind.SESSION, id=f"id-{user}").model_dump_json()
        return httpx.Response(200, text=body)

    def client(self):
        return httpx.AsyncClient(
            transport=httpx.MockTransport(self.answer), base_url="http://hub.test:8265"
        )


async def pages(scope, receive, send):
    """Stand for Streamlit: say with which identity headers a request came in."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        return
    ours = sorted(pair for pair in scope["headers"] if pair[0].startswith(b"x-cp-"))
    text = " ".join(f"{name.decode()}={value.decode()}" for name, value in ours)
    await PlainTextResponse(text or "nobody")(scope, receive, send)


@pytest.fixture
def hub():
    return Hub()


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def gate(hub, clock):
    return Gate(pages, Sessions(hub.client(), clock))


async def ask(app, path="/jobs", session=None, method="GET", **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    if session is not None:
        headers["cookie"] = f"other=1; {COOKIE}={session}"
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://portal.test") as http:
        return await http.request(method, path, headers=headers)


async def test_a_session_gets_in_with_the_hubs_word_on_who_it_is(gate):
    answer = await ask(gate, session="cp_session_dana")
    assert answer.text == "x-cp-session=id-dana x-cp-sub=dana"


@pytest.mark.parametrize("forged", ["x_cp_sub", "X_CP_Sub", "x_cp_session", "x_cp_anything"])
async def test_headers_that_name_somebody_are_dropped_where_a_client_sent_them(gate, forged):
    answer = await ask(gate, session="cp_session_dana", **{forged: "ops"})
    assert "ops" not in answer.text
    answer = await ask(gate, "/livez", **{forged: "ops"})
    assert answer.text == "nobody"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 303),
        ("/job", 303),
        ("/media/abc.csv", 401),
        ("/_stcore/metrics", 401),
        ("/_stcore/agent/x", 401),
        ("/_stcore/upload_file/a/b", 401),
        ("/component/x/index.html", 401),
        ("/livez", 200),
        ("/static/js/index.js", 200),
        ("/_stcore/health", 200),
    ],
)
@pytest.mark.parametrize("session", [None, "cp_session_unknown", "dana", "cp_session_"])
async def test_all_but_the_public_is_closed_to_the_anonymous(gate, path, status, session):
    assert (await ask(gate, path, session)).status_code == status


async def test_whoever_is_not_signed_in_comes_back_to_the_page_they_wanted(gate):
    answer = await ask(gate, "/job?id=j1&tab=Log")
    assert answer.headers["location"] == "/auth/start?next=/job%3Fid%3Dj1%26tab%3DLog"


async def test_only_what_a_browser_opens_is_sent_to_the_door(gate):
    assert (await ask(gate, "/jobs", method="POST")).status_code == 401


async def test_the_hub_is_asked_once_in_a_while_and_quietly(gate, hub, clock):
    for _ in range(3):
        await ask(gate, session="cp_session_dana")
    assert len(hub.seen) == 1
    assert hub.seen[0].headers["x-cp-passive"] == "1"
    del hub.known["cp_session_dana"]
    clock.at = KEEP_SECONDS + 1
    assert (await ask(gate, session="cp_session_dana")).status_code == 303


async def test_while_the_hub_is_away_who_was_known_stays_and_others_are_told(gate, hub, clock):
    await ask(gate, session="cp_session_dana")
    hub.away = True
    clock.at = KEEP_SECONDS + 1
    assert (await ask(gate, session="cp_session_dana")).text.endswith("x-cp-sub=dana")
    stranger = await ask(gate, session="cp_session_alex")
    assert stranger.status_code == 503
    assert "No answer from the hub" in stranger.text
    clock.at = KEEP_WHILE_AWAY_SECONDS + 1
    assert (await ask(gate, session="cp_session_dana")).status_code == 503
    assert (await ask(gate, "/livez")).status_code == 200


async def connect(app, session):
    """Open a socket; return what the application answers."""
    sent = []
    cookie = [(b"cookie", f"{COOKIE}={session}".encode())] if session else []
    scope = {
        "type": "websocket",
        "path": "/_stcore/stream",
        "query_string": b"",
        "headers": [*cookie, (b"x-cp-sub", b"ops")],
    }

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message)

    await app(scope, receive, send)
    return sent


@pytest.mark.parametrize("session", [None, "cp_session_unknown"])
async def test_an_anonymous_socket_is_closed_before_it_opens(gate, session):
    assert await connect(gate, session) == [{"type": "websocket.close", "code": 4401}]


async def test_a_socket_of_somebody_who_is_signed_in_opens(gate):
    assert await connect(gate, "cp_session_dana") == [{"type": "websocket.accept"}]


async def test_one_persons_portal_lets_in_without_a_session_but_believes_no_header(hub):
    answer = await ask(Gate(pages, None), x_cp_sub="ops")
    assert answer.text == "nobody"
    assert hub.seen == []


async def test_what_is_the_hubs_is_passed_on_with_cookies_and_without_forged_names(hub):
    forward = Forward(pages, hub.client())
    answer = await ask(
        forward,
        "/auth/start?next=/a%2Fb",
        session="cp_session_dana",
        x_cp_sub="ops",
        x_cp_proxy_secret="guess",  # noqa: S106
        x_cp_client_verify="SUCCESS",
        x_cp_passive="1",
    )
    assert (answer.status_code, answer.headers["x-hub"]) == (303, "yes")
    assert answer.headers.get_list("set-cookie") == ["a=1", "b=2"]
    (seen,) = hub.seen
    assert str(seen.url) == "http://hub.test:8265/auth/start?next=/a%2Fb"
    assert seen.headers["host"] == "portal.test"
    assert "cp_session_dana" in seen.headers["cookie"]
    ours = [name for name in seen.headers if name.startswith("x-cp-")]
    assert ours == ["x-cp-passive"]


@pytest.mark.parametrize("path", ["/jobs", "/v1", "/authority", "/apis/x", "/_stcore/health"])
async def test_pages_are_not_passed_on(hub, path):
    assert (await ask(Forward(pages, hub.client()), path)).text == "nobody"
    assert hub.seen == []


async def test_a_hub_that_is_away_is_said_to_be(hub):
    hub.away = True
    answer = await ask(Forward(pages, hub.client()), "/v1/me")
    assert answer.status_code == 502
    assert "No answer from the hub" in answer.text


async def test_every_page_says_where_scripts_may_come_from():
    answer = await ask(SecurityHeaders(pages))
    csp = answer.headers["content-security-policy"]
    assert re.search(r"script-src 'self' 'sha256-[A-Za-z0-9+/]{43}=' ", csp)
    assert "'unsafe-eval'" not in csp
    assert "script-src 'self' 'unsafe-inline'" not in csp
    assert "frame-ancestors 'none'" in content_security_policy()


def test_with_one_token_nobody_signs_in():
    found = person(PortalSettings(portal_token=SecretStr("cp_user_x")))
    assert (found.name, found.signed_in) == ("you", False)
    assert "cp_user_x" not in repr(found)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.7", "::", "portal.example"])  # noqa: S104
def test_one_persons_portal_is_not_served_to_other_machines(monkeypatch, host):
    monkeypatch.setenv("COMMONPOOL_PORTAL_TOKEN", "cp_user_x")
    result = CliRunner().invoke(portal_command, ["--host", host])
    assert result.exit_code == 2
    assert "other machines" in result.output


def test_everything_that_is_cached_says_for_whom():
    """A cache that is everybody's, with one person's data in it, showed Bob Alice's (notes §5)."""
    found = []
    for file in PORTAL.rglob("*.py"):
        lines = file.read_text().splitlines()
        for number, line in enumerate(lines, 1):
            if "@st.cache" in line and not ('scope="session"' in line or "process-wide:" in line):
                found.append(f"{file.relative_to(PORTAL.parent)}:{number}: {line.strip()}")
    assert found == [], 'say scope="session", or in a comment why it is "process-wide: …"'
