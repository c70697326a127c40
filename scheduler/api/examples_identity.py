"""What messages about identity look like, for the OpenAPI document."""

from scheduler.api.examples import Example

_AT = "2026-03-02T09:30:00Z"
_IDLE = "2026-03-02T09:45:00Z"
_ENDS = "2026-03-02T21:30:00Z"
_LATER = "2026-04-01T09:30:00Z"

SESSION: Example = {
    "user": "lee",
    "kind": "session",
    "id": "3f9c1d7a5b0e2468",
    "issuer": "arl-sso",
    "sector": "dod",
    "institution": "arl",
    "assurance": "mfa",
    "roles": [{"account": "arl", "roles": ["lead", "approver"]}],
    "actions": [],
    "powers": None,
    "signed_in_at": _AT,
    "idle_until": _IDLE,
    "expires_at": _ENDS,
    "csrf": "0f3b9a7c5d1e2486a0b1c2d3e4f50617",
}

SESSION_LIST: Example = {
    "sessions": [
        {
            "id": "3f9c1d7a5b0e2468",
            "user": "lee",
            "issuer": "arl-sso",
            "institution": "arl",
            "created_at": _AT,
            "seen_at": _AT,
            "ends_at": _ENDS,
            "user_agent": "Mozilla/5.0",
            "current": True,
            "alive": True,
        }
    ]
}

IDENTITY_LIST: Example = {
    "identities": [
        {
            "issuer": "state-u",
            "title": "State University",
            "user": "alex",
            "sector": "academic",
            "institution": "state-u",
            "first_seen_at": _AT,
            "verified_at": _AT,
            "linked_at": None,
            "current": True,
            "usable": True,
        }
    ],
    "may_link": ["Government sign-in"],
}

PERSONAL_REQUEST: Example = {"name": "nightly sweep", "powers": ["jobs"], "expires_in_days": 30}

PERSONAL_ISSUED: Example = {
    "id": "5b0e24683f9c1d7a",
    "token": "cp_pat_…",
    "user": "dana",
    "name": "nightly sweep",
    "powers": ["jobs"],
    "expires_at": _LATER,
}

PERSONAL_LIST: Example = {
    "tokens": [
        {
            "id": "5b0e24683f9c1d7a",
            "user": "dana",
            "name": "nightly sweep",
            "powers": ["jobs"],
            "created_at": _AT,
            "expires_at": _LATER,
            "last_used_at": None,
            "revoked": False,
        }
    ]
}
