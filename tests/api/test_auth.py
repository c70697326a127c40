"""Nobody gets in without a token for it; whoever is kept out is told why."""

import base64
from datetime import timedelta

import pytest
from fastapi.routing import APIRoute
from starlette.routing import Route, WebSocketRoute

from scheduler.wire.accounts import Scope
from tests.waiting import eventually

# Nobody is known here yet: each has tests of its own (test_sign_in, test_linking, …).
SIGN_IN = {
    "/auth/start",
    "/auth/callback",
    "/auth/institution",
    "/auth/link",
    "/auth/sign-out",
    "/auth/signed-out",
    "/auth/cac",
    "/auth/device",
    "/auth/device/answer",
    "/auth/token",
    "/auth/development/authorize",
}
OPEN = {"/healthz", "/readyz", "/openapi.json"} | SIGN_IN

# Which scopes a path takes besides admin's. A new path must be added here, or the test fails.
SCOPES = {
    "/v1/me": set(Scope),
    "/v1/session": set(Scope),
    "/v1/sessions": {Scope.USER},
    "/v1/sessions/{session}": {Scope.USER},
    "/v1/identities": {Scope.USER},
    "/v1/identities/{user}": set(),
    "/v1/identities/{user}/{issuer}": {Scope.USER},
    "/v1/personal-tokens": {Scope.USER},
    "/v1/personal-tokens/{token_id}": {Scope.USER},
    "/v1/jobs": {Scope.USER},
    "/v1/jobs/dry-run": {Scope.USER},
    "/v1/jobs/{job}": {Scope.USER},
    "/v1/jobs/{job}/cancel": {Scope.USER},
    "/v1/jobs/{job}/again": {Scope.USER},
    "/v1/drafts/{page}": {Scope.USER},
    "/v1/jobs/{job}/recall": {Scope.USER},
    "/v1/jobs/{job}/explanation": {Scope.USER},
    "/v1/jobs/{job}/log": {Scope.USER},
    "/v1/jobs/{job}/utilisation": {Scope.USER},
    "/v1/jobs/{job}/cost": {Scope.USER},
    "/v1/overview": {Scope.USER},
    "/v1/pools": {Scope.USER},
    "/v1/nodes": {Scope.USER},
    "/v1/accounts": {Scope.USER},
    "/v1/projects": {Scope.USER},
    "/v1/policy": {Scope.USER},
    "/v1/shares": {Scope.USER},
    "/v1/recalls": {Scope.USER},
    "/v1/ledger": {Scope.USER},
    "/v1/usage": {Scope.USER},
    "/v1/sector-use": {Scope.USER},
    "/v1/ledger/pairs": {Scope.USER},
    "/v1/ledger/entries.csv": {Scope.USER},
    "/v1/ledger/entries.parquet": {Scope.USER},
    "/v1/prio": {Scope.USER},
    "/v1/queue": {Scope.USER},
    "/v1/diagnostics": set(),
    "/v1/policy/revisions": {Scope.USER},
    "/v1/policy/revisions/{revision}": {Scope.USER},
    "/v1/policy/check": {Scope.USER},
    "/v1/policy/diff": {Scope.USER},
    "/v1/audit": set(),
    "/v1/requests": {Scope.USER},
    "/v1/requests/{request_id}": {Scope.USER},
    "/v1/requests/{request_id}/impact": {Scope.USER},
    "/v1/requests/{request_id}/precedents": {Scope.USER},
    "/v1/requests/{request_id}/send": {Scope.USER},
    "/v1/requests/{request_id}/decide": {Scope.USER},
    "/v1/requests/{request_id}/apply": {Scope.USER},
    "/v1/requests/{request_id}/withdraw": {Scope.USER},
    "/v1/requests/{request_id}/comment": {Scope.USER},
    "/v1/audit/counts": set(),
    "/v1/audit/checkpoint": set(),
    "/v1/audit/verify": set(),
    "/v1/audit/export": set(),
    "/v1/what-if": set(),
    "/v1/tokens": set(),
    "/v1/tokens/{token_id}": set(),
    "/v1/nodes/report": {Scope.NODE},
    "/v1/nodes/{node}": {Scope.USER},
    "/v1/nodes/{node}/drain": set(),
    "/v1/nodes/{node}/resume": set(),
    "/v1/maintenance": {Scope.USER},
    "/v1/waste": {Scope.USER},
    "/v1/telemetry": {Scope.USER, Scope.METRICS},
    "/v1/maintenance/{name}": set(),
    "/v1/nodes/reports": {Scope.NODE},
    "/v1/sites/{site}/sync": {Scope.SITE},
    "/v1/sites/{site}/runs/{run}/log": {Scope.SITE},
    "/v1/sites/{site}/packages/{sha256}": {Scope.SITE},
    "/metrics": {Scope.METRICS},
    "/v1/prometheus/targets": {Scope.METRICS},
    "/api/version": {Scope.USER},
    "/api/packages/{protocol}/{name}": {Scope.USER},
    "/api/jobs/": {Scope.USER},
    "/api/jobs/{job}": {Scope.USER},
    "/api/jobs/{job}/logs": {Scope.USER},
    "/api/jobs/{job}/stop": {Scope.USER},
}
# The same path lets fewer in by another method.
STRICTER = {
    ("PUT", "/v1/policy"): set(),
    ("POST", "/v1/maintenance"): set(),
    ("DELETE", "/v1/session"): {Scope.USER},
}


def guarded(app):
    """Return every (method, path) of the application that is not open."""
    found = []
    for route in routes(app.routes):
        if isinstance(route, WebSocketRoute) or route.path in OPEN:
            continue
        assert isinstance(route, APIRoute | Route), f"what is {route}?"
        found += [(method, route.path) for method in sorted(route.methods - {"HEAD"})]
    return found


def routes(found):
    """Return routes, those of included routers too."""
    for route in found:
        inner = getattr(getattr(route, "original_router", None), "routes", None)
        if inner is None:
            yield route
        else:
            yield from routes(inner)


def filled(path):
    names = {"{site}": "national", "{token_id}": "t", "{run}": "cp-j-1", "{sha256}": "0" * 64}
    names |= {"{session}": "s", "{user}": "u", "{issuer}": "i", "{node}": "n"}
    names |= {"{revision}": "1", "{request_id}": "r1"}
    names |= {"{job}": "j", "{protocol}": "gcs", "{name}": "_ray_pkg_00.zip"}
    for name, value in names.items():
        path = path.replace(name, value)
    return path


async def test_every_path_is_in_the_table(small):
    assert {path for _, path in guarded(small.app)} == set(SCOPES)


async def test_every_path_refuses_a_caller_without_a_token(small):
    for method, path in guarded(small.app):
        answer = await small.http.request(method, filled(path))
        assert answer.status_code == 401, (method, path)
        assert answer.headers["www-authenticate"].startswith("Bearer"), (method, path)


async def test_every_path_refuses_every_wrong_scope(small):
    for method, path in guarded(small.app):
        allowed = STRICTER.get((method, path), SCOPES[path]) | {Scope.ADMIN}
        for scope in Scope:
            who = {Scope.USER: "dana", Scope.ADMIN: "admin"}.get(scope, f"national-{scope}")
            answer = await small.call(who, method, filled(path))
            refused = answer.status_code == 403
            assert refused == (scope not in allowed), (method, path, scope, answer.text)


async def test_a_wrong_scope_is_told_which_one_it_takes(small):
    answer = await small.call("national-node", "GET", "/v1/jobs")
    assert answer.json() == {
        "title": "Wrong scope",
        "status": 403,
        "detail": "This needs a token of scope user; yours is of scope node.",
        "field": "Authorization",
        "value": "node",
        "limit": "user",
        "next_step": answer.json()["next_step"],
    }
    assert "commonpool token create" in answer.json()["next_step"]


async def test_an_expired_token_is_told_when_it_expired(house, clock):
    await house.call("dana", "GET", "/v1/me")
    clock.forward(timedelta(days=2))
    answer = await house.call("dana", "GET", "/v1/me")
    assert answer.status_code == 401
    assert "expired at 2026-03-03 12:00:00 UTC" in answer.json()["detail"]
    assert "commonpool token create" in answer.json()["next_step"]


async def test_a_revoked_token_is_refused_at_once(house):
    headers = await house.bearer("dana")
    assert (await house.http.get("/v1/me", headers=headers)).status_code == 200
    gone = await house.call("admin", "DELETE", f"/v1/tokens/{house.tokens['dana'].id}")
    assert gone.status_code == 204
    answer = await house.http.get("/v1/me", headers=headers)
    assert answer.status_code == 401
    assert "revoked" in answer.json()["detail"]


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


async def test_a_token_may_come_as_a_basic_password_or_in_rays_own_header(small):
    secret = (await small.token("dana", Scope.USER)).token
    for headers in (
        {"Authorization": basic("whoever", secret)},
        {"Authorization": f"bearer  {secret} "},
        {"X-Ray-Authorization": f"Bearer {secret}"},
    ):
        answer = await small.http.get("/v1/me", headers=headers)
        assert answer.json()["subject"] == "dana", headers


@pytest.mark.parametrize(
    "header",
    [
        pytest.param("Bearer", id="no token"),
        pytest.param("Bearer nonsense", id="not one of ours"),
        pytest.param("Bearer cp_user_" + "A" * 43, id="unknown"),
        pytest.param("Bearer cp_user_é" + "A" * 43, id="not ASCII"),
        pytest.param("Bearer " + "A" * 60_000, id="very long"),
        pytest.param("Basic !!!", id="not base64"),
        pytest.param("Basic /w==", id="not UTF-8"),
        pytest.param("Basic " + base64.b64encode(b"no colon").decode(), id="no password"),
        pytest.param("Digest username=dana", id="another scheme"),
    ],
)
async def test_a_bad_credential_is_a_401_and_never_worse(small, header):
    answer = await small.http.get("/v1/me", headers={"Authorization": header.encode()})
    assert answer.status_code == 401
    assert answer.json()["field"] == "Authorization"


async def test_a_right_ray_header_does_not_rescue_a_wrong_authorization(small):
    secret = (await small.token("dana", Scope.USER)).token
    headers = {"Authorization": "Bearer wrong", "X-Ray-Authorization": f"Bearer {secret}"}
    assert (await small.http.get("/v1/me", headers=headers)).status_code == 401


async def test_a_sites_token_speaks_for_no_other_site(small):
    answer = await small.call("state-u-site", "POST", "/v1/sites/national/sync", json={})
    assert answer.status_code == 403
    assert (answer.json()["field"], answer.json()["limit"]) == ("site", "state-u")


async def test_errors_under_rays_api_are_one_plain_line(small):
    answer = await small.http.get("/api/version")
    assert answer.status_code == 401
    assert answer.headers["content-type"].startswith("text/plain")
    assert len(answer.text.splitlines()) == 1
    assert "no token" in answer.text


async def test_the_last_use_of_a_token_is_noted_beside_the_request(house):
    await house.call("dana", "GET", "/v1/me")

    async def noted():
        listed = (await house.call("admin", "GET", "/v1/tokens")).json()["tokens"]
        return next(t for t in listed if t["subject"] == "dana")["last_used_at"]

    assert await eventually(noted) == "2026-03-02T12:00:00Z"
