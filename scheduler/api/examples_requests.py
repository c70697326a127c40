"""Examples of requests and decisions, for the OpenAPI document."""

from scheduler.api.examples import POLICY, Example

_AT = "2026-03-02T12:00:00Z"
_LATER = "2026-03-16T12:00:00Z"
_DIGEST = "7d" * 32

_BUDGET: Example = {
    "kind": "budget",
    "id": "arl-2026",
    "account": "arl",
    "h100e_hours": 20000,
    "valid_from": "2026-01-01T00:00:00Z",
    "valid_to": "2027-01-01T00:00:00Z",
}
_WHY = "The vision team's next milestone needs it"

NEW_REQUEST: Example = {"change": _BUDGET, "reason": _WHY, "draft": False}

REQUEST_EDIT: Example = {"change": _BUDGET | {"h100e_hours": 15000}, "reason": _WHY}

REQUEST_DECISION: Example = {
    "approve": True,
    "digest": _DIGEST,
    "reason": "It is in the plan of the year",
}

REQUEST_COMMENT: Example = {"text": "Which milestone is that?"}

_LINE: Example = {
    "id": "r7h2k9q4",
    "kind": "budget",
    "account": "arl",
    "requester": "dana",
    "state": "open",
    "title": "20,000 H100e-hours for arl until 2027-01-01",
    "created_at": _AT,
    "expires_at": _LATER,
    "standing": "0 of 1 approver",
    "awaits_you": True,
    "reason": _WHY,
    "digest": _DIGEST,
}

REQUEST_PAGE: Example = {"requests": [_LINE], "next": "41"}

REQUEST_VIEW: Example = {
    "id": "r7h2k9q4",
    "kind": "budget",
    "account": "arl",
    "requester": "dana",
    "state": "open",
    "title": "20,000 H100e-hours for arl until 2027-01-01",
    "change": _BUDGET,
    "reason": _WHY,
    "digest": _DIGEST,
    "created_at": _AT,
    "expires_at": _LATER,
    "standing": "0 of 1 approver",
    "approvers_needed": 1,
    "institutions_needed": 1,
    "who_may_decide": ["lee"],
    "votes": [],
    "you_may": ["edit", "withdraw", "comment"],
    "why_you_may_not_decide": "You asked for it, so you cannot approve it yourself. Who can: lee.",
    "note": "",
    "revision": None,
    "history": [{"at": _AT, "actor": "dana", "event": "sent", "text": _WHY}],
}

REQUEST_IMPACT: Example = {
    "revision": 7,
    "fits": True,
    "why_not": "",
    "rows": ["budgets: arl-2026 is new"],
    "jobs": [],
    "runs": [],
    "jobs_start_more": 0,
    "jobs_start_less": 0,
    "runs_recalled": 0,
    "accounts": [{"account": "arl-vision", "before": 8, "after": 16}],
}

_EARLIER: Example = {
    "id": "r3c9w2km",
    "title": "15,000 H100e-hours for arl until 2026-01-01",
    "account": "arl",
    "requester": "dana",
    "state": "applied",
    "reason": "The first milestone",
    "created_at": "2025-01-08T09:00:00Z",
    "decided_at": "2025-01-08T15:30:00Z",
    "words": [
        {
            "by": "lee",
            "approve": True,
            "reason": "It is in the plan of the year",
            "at": "2025-01-08T15:30:00Z",
        }
    ],
}

PRECEDENTS: Example = {
    "requester": "dana",
    "first_time": False,
    "counts": [{"state": "applied", "count": 1}],
    "history": [_EARLIER],
    "similar": [_EARLIER],
}

POLICY_TEXT = POLICY

POLICY_REVISIONS: Example = {
    "revisions": [
        {
            "revision": 7,
            "applied_at": _AT,
            "applied_by": "pat",
            "sha256": _DIGEST,
            "lines": 104,
        }
    ]
}

POLICY_CHECKED: Example = {
    "problems": [{"line": 12, "field": "quotas[3].nominal", "reason": "is more than its parent's"}],
    "warnings": [],
}
