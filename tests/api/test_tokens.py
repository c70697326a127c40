"""Tokens are issued, listed and revoked by admins; a secret is shown once."""

import pytest


async def test_a_token_works_from_the_moment_it_is_issued(house):
    asked = {"subject": "dana", "scope": "user", "expires_in_days": 2}
    answer = await house.call("admin", "POST", "/v1/tokens", json=asked)
    assert answer.status_code == 201
    issued = answer.json()
    assert issued["token"].startswith("cp_user_")
    assert issued["expires_at"] == "2026-03-04T12:00:00Z"
    headers = {"Authorization": f"Bearer {issued['token']}"}
    assert (await house.http.get("/v1/me", headers=headers)).json()["subject"] == "dana"


async def test_a_list_shows_no_secrets(house):
    secrets = [(await house.token(name, "user")).token for name in ("dana", "alex")]
    answer = await house.call("admin", "GET", "/v1/tokens")
    assert {t["subject"] for t in answer.json()["tokens"]} == {"admin", "dana", "alex"}
    assert not any(secret in answer.text or secret[8:] in answer.text for secret in secrets)


async def test_a_token_is_revoked_once(house):
    issued = await house.token("dana", "user")
    path = f"/v1/tokens/{issued.id}"
    assert (await house.call("admin", "DELETE", path)).status_code == 204
    again = await house.call("admin", "DELETE", path)
    assert again.status_code == 404
    assert again.json()["value"] == issued.id


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"subject": ""}, "subject"),
        ({"subject": "a" * 64}, "subject"),
        ({"subject": "Dana"}, "subject"),
        ({"subject": "a\u0000"}, "subject"),
        ({"scope": "root"}, "scope"),
        ({"expires_in_days": 0}, "expires_in_days"),
        ({"expires_in_days": 367}, "expires_in_days"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_a_wrong_field_of_a_token_is_named(small, more, field):
    asked = {"subject": "dana", "scope": "user"} | more
    answer = await small.call("admin", "POST", "/v1/tokens", json=asked)
    assert answer.status_code == 422
    assert answer.json()["field"] == field
