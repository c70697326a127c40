"""`commonpool login` and what follows, against a hub whose answers a test writes down."""

import json
import stat

import pytest
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from typer.testing import CliRunner

from portal.commands import credentials
from portal.commands.credentials import Kept
from scheduler.main import app
from scheduler.wire.identity import Kind, Power, Session
from tests.portal.fake_hub import serving

DEVICE = {
    "device_code": "secret",
    "user_code": "BCDF-GHJK",
    "verification_uri": "http://hub.test/auth/device",
    "verification_uri_complete": "http://hub.test/auth/device?user_code=BCDF-GHJK",
    "expires_in": 600,
    "interval": 0,
}
GIVEN = {"access_token": "cp_pat_x", "expires_in": 60, "scope": "jobs", "user": "dana"}


class Hub:
    def __init__(self):
        self.device = DEVICE
        self.answers = [GIVEN]
        self.revoked = []
        self.revoking = 204
        self.app = FastAPI()
        self.app.post("/auth/device")(self.begin)
        self.app.post("/auth/token")(self.token)
        self.app.get("/v1/session")(self.session)
        self.app.delete("/v1/personal-tokens/{token}")(self.revoke)

    async def begin(self):
        return JSONResponse(self.device, 200 if "device_code" in self.device else 400)

    async def token(self):
        answer = self.answers.pop(0)
        return JSONResponse(answer, 400 if "error" in answer else 200)

    async def session(self, request: Request):
        if request.headers["authorization"] != "Bearer cp_pat_x":
            return JSONResponse({"title": "no", "status": 401, "detail": "not known"}, 401)
        said = Session(user="dana", kind=Kind.PERSONAL, id="id1", powers=(Power.JOBS,))
        return Response(said.model_dump_json(), media_type="application/json")

    async def revoke(self, token: str):
        self.revoked.append(token)
        return Response(status_code=self.revoking)


@pytest.fixture
def hub():
    return Hub()


@pytest.fixture
def run(hub, tmp_path, monkeypatch):
    """Return a function that runs a command in a home of its own, where no instance is."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in ("COMMONPOOL_HUB", "COMMONPOOL_TOKEN", "COMMONPOOL_TOKEN_FILE", "COMMONPOOL_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("portal.commands.identity._SLOWER_SECONDS", 0)
    with serving(hub.app) as url:

        def call(*words, to=url, status=0):
            at = ("--hub", to) if to else ()
            done = CliRunner().invoke(app, [*words, "--data", str(tmp_path / "none"), *at])
            assert done.exit_code == status, done.output
            return done.output

        yield call


def test_login_waits_for_the_browser_and_keeps_what_it_gets_for_its_owner_only(run, hub):
    hub.answers = [{"error": "authorization_pending"}, {"error": "slow_down"}, GIVEN]
    out = run("login")
    assert "compare the code: BCDF-GHJK" in out
    assert "as dana for jobs" in out
    assert "cp_pat_x" not in out
    file = credentials.file()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_later_commands_go_to_the_hub_of_the_last_login(run):
    run("login")
    assert "dana at http://127.0.0.1:" in run("whoami", to="")


@pytest.mark.parametrize(
    ("error", "said"),
    [("access_denied", "refused in the browser"), ("expired_token", "nobody answered in time")],
)
def test_a_refusal_keeps_nothing(run, hub, error, said):
    hub.answers = [{"error": error}]
    assert said in run("login", status=1)
    assert not credentials.file().exists()


def test_a_hub_where_nobody_can_sign_in_says_so(run, hub):
    hub.device = {"error": "unauthorized_client", "error_description": "it has no issuer"}
    assert "it has no issuer" in run("login", status=2)


def test_a_hub_that_is_away_is_named(run):
    assert "http://127.0.0.1:9" in run("login", to="http://127.0.0.1:9", status=1)


def test_logout_revokes_and_forgets(run, hub):
    run("login")
    assert "signed out" in run("logout")
    assert hub.revoked == ["id1"]
    assert "commonpool login" in run("whoami", status=2)
    assert "nobody is signed in" in run("logout")


def test_a_token_that_the_hub_does_not_revoke_is_forgotten_here(run, hub):
    run("login")
    hub.revoking = 404
    assert "did not revoke it" in run("logout")
    assert credentials.last_hub() is None


def test_logins_at_two_hubs_stand_beside_each_other(run):
    run("login")
    (first,) = json.loads(credentials.file().read_text())["hubs"]
    credentials.keep("https://other.example/", Kept("t", "iris", "id2", ""))
    assert credentials.last_hub() == "https://other.example"
    credentials.forget("https://other.example")
    assert credentials.last_hub() == first
    assert credentials.find(first).user == "dana"


@pytest.mark.parametrize("content", ["", "[]", "{", '{"hubs": {"http://h": {"token": 1}}}'])
def test_a_file_that_is_not_ours_counts_as_none(run, content):
    del run
    file = credentials.file()
    file.parent.mkdir(parents=True)
    file.write_text(content)
    assert credentials.find("http://h") is None
