"""Examples of the audit log, for the OpenAPI document."""

from scheduler.api.examples import Example

_AT = "2026-03-02T12:00:00Z"
_HASH = "5e1f9a7e52d45c0a9d2b8c1f4e7a6b3d5e1f9a7e52d45c0a9d2b8c1f4e7a6b3d"

AUDIT_ROW: Example = {
    "sequence": 4711,
    "at": _AT,
    "actor": "ops",
    "on_behalf_of": "",
    "session": "9f86d081884c7d65",
    "source": "api",
    "action": "node.drain",
    "object": "node:national-1",
    "before": None,
    "after": {"until": None, "notice_seconds": 600, "told": ["national"]},
    "reason": "new firmware",
    "decision": "",
    "previous": "0" * 64,
    "hash": _HASH,
}

AUDIT_PAGE: Example = {"rows": [AUDIT_ROW], "next": 4711}

AUDIT_COUNTS: Example = {
    "since": "2026-02-16T12:00:00Z",
    "until": _AT,
    "counts": [
        {"day": "2026-03-01", "action": "request.approve", "count": 2},
        {"day": "2026-03-02", "action": "job.submit", "count": 310},
    ],
}

CHECKPOINT: Example = {"sequence": 4711, "hash": _HASH, "at": _AT}

AUDIT_VERDICT: Example = {
    "first": 1,
    "last": 4711,
    "rows": 4711,
    "hash": _HASH,
    "against_checkpoint": True,
    "fault": None,
}
