"""Who may not: every path, for people of each role and personal tokens of each power.

A path that is not in the table is for anybody who signed in; one that another role is to have
too goes into it, or this fails.
"""

from datetime import timedelta

import pytest

from scheduler.core.roles import ALLOWED, Action, Role
from scheduler.db.personal_tokens import issue_personal
from scheduler.wire.accounts import Scope
from scheduler.wire.identity import PersonalTokenRequest, Power
from tests.api.signing_in import signed_in, with_desk
from tests.api.test_auth import SCOPES, STRICTER, filled, guarded

# What a path asks of roles where a user's token alone does not open it; None is nobody's role.
ROLES = {
    ("GET", "/v1/diagnostics"): Action.DIAGNOSE,
    ("POST", "/v1/what-if"): Action.DIAGNOSE,
    ("GET", "/v1/tokens"): Action.MANAGE_TOKENS,
    ("POST", "/v1/tokens"): Action.MANAGE_TOKENS,
    ("DELETE", "/v1/tokens/{token_id}"): Action.MANAGE_TOKENS,
    ("DELETE", "/v1/identities/{user}"): Action.MANAGE_TOKENS,
    ("POST", "/v1/nodes/{node}/drain"): Action.OPERATE_NODES,
    ("POST", "/v1/nodes/{node}/resume"): Action.OPERATE_NODES,
    ("POST", "/v1/maintenance"): Action.OPERATE_NODES,
    ("DELETE", "/v1/maintenance/{name}"): Action.OPERATE_NODES,
    ("PUT", "/v1/policy"): Action.APPLY_POLICY,
    ("GET", "/v1/audit"): Action.READ_AUDIT,
    ("GET", "/v1/audit/checkpoint"): Action.READ_AUDIT,
    ("GET", "/v1/audit/counts"): Action.READ_AUDIT,
    ("GET", "/v1/audit/export"): Action.READ_AUDIT,
    ("GET", "/v1/audit/verify"): Action.READ_AUDIT,
}
AGENTS = set(Scope) - {Scope.USER, Scope.ADMIN}
FOR_JOBS = ("/v1/jobs", "/api/", "/v1/personal-tokens", "/v1/session")
# Somebody of the demo for each role on the whole hub, and those with roles below it only.
PEOPLE = {
    "dana": set(),
    "lee": set(),
    "pat": set(),
    "ops": {Role.OPERATOR},
    "audra": {Role.AUDITOR},
}


def action_of(method, path):
    """Return the action that a path asks for; "agents" and None: agents', and any person's."""
    allowed = STRICTER.get((method, path), SCOPES[path])
    if Scope.USER in allowed:
        return None
    return "agents" if allowed & AGENTS else ROLES[method, path]


def may(person, asked):
    return asked is None or (asked != "agents" and bool(ALLOWED[asked] & PEOPLE[person]))


def test_every_path_that_is_not_for_everybody_says_for_whom(small):
    strict = {
        (method, path)
        for method, path in guarded(small.app)
        if not STRICTER.get((method, path), SCOPES[path]) & {Scope.USER, *AGENTS}
    }
    assert strict - set(ROLES) == set()


@pytest.mark.parametrize("person", PEOPLE)
async def test_every_path_refuses_who_has_not_the_role(small, person):
    with_desk(small)
    for method, path in guarded(small.app):
        browser = await signed_in(small, person)  # some paths end the session that asks
        answer = await browser.ask(method, filled(path), headers=browser.csrf)
        refused = answer.status_code == 403
        assert refused == (not may(person, action_of(method, path))), (method, path, answer.text)
        assert answer.status_code != 401


@pytest.mark.parametrize("power", Power)
async def test_every_path_refuses_a_personal_token_of_too_little_power(small, power):
    """The owner is an operator, who may nearly everything; the token may less."""
    for method, path in guarded(small.app):
        request = PersonalTokenRequest(name="t", powers=(power,))
        async with small.hub.db.transaction() as conn:
            token = await issue_personal(conn, "ops", request, small.clock.now())
        asked = action_of(method, path)
        reads = method == "GET"
        enough = {
            Power.READ: reads and asked is None,
            Power.JOBS: asked is None and (reads or path.startswith(FOR_JOBS)),
            Power.MANAGE: True,
        }[power]
        headers = {"Authorization": f"Bearer {token.token}"}
        answer = await small.http.request(method, filled(path), headers=headers)
        refused = answer.status_code == 403
        assert refused == (not (enough and may("ops", asked))), (method, path, answer.text)


async def test_an_operator_makes_no_token_by_which_to_be_somebody_else(small):
    with_desk(small)
    ops = await signed_in(small, "ops")
    for scope, status in (("admin", 403), ("user", 403), ("site", 201), ("node", 201)):
        asked = {"subject": "national", "scope": scope}
        answer = await ops.post("/v1/tokens", json=asked, headers=ops.csrf)
        assert answer.status_code == status, scope


async def test_an_auditor_sees_everybodys_jobs_and_ends_none(small):
    job = await small.submit("dana")
    with_desk(small)
    audra, ops = await signed_in(small, "audra"), await signed_in(small, "ops")
    iris = await signed_in(small, "iris")
    path = f"/v1/jobs/{job['id']}"
    assert (await iris.get(path)).status_code == 404
    assert (await audra.get(path)).status_code == 200
    for stop in (f"{path}/cancel", f"/api/jobs/{job['id']}/stop"):
        assert (await audra.post(stop, headers=audra.csrf)).status_code == 404
        assert (await iris.post(stop, headers=iris.csrf)).status_code == 404
    assert (await ops.post(f"{path}/cancel", headers=ops.csrf)).status_code == 200


async def test_a_token_for_people_makes_personal_tokens_only_within_itself(small, clock):
    asked = {"name": "sweep", "powers": ["jobs"], "expires_in_days": 1}
    made = await small.call("dana", "POST", "/v1/personal-tokens", json=asked)
    assert made.status_code == 201
    for wrong in ({"powers": ["manage"]}, {"expires_in_days": 2}):
        answer = await small.call("dana", "POST", "/v1/personal-tokens", json=asked | wrong)
        assert answer.status_code == 403, wrong
    headers = {"Authorization": f"Bearer {made.json()['token']}"}
    again = await small.http.post("/v1/personal-tokens", json=asked, headers=headers)
    assert again.status_code == 201
    clock.forward(timedelta(days=1))
    answer = await small.http.get("/v1/me", headers=headers)
    assert "expired at 2026-03-03 12:00 UTC" in answer.json()["detail"]
