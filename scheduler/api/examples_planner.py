"""What messages about recalls and what-if look like; see `examples`."""

from typing import Any

Example = dict[str, Any]

_RECALLS: Example = {
    "lender": "arl",
    "pool": "national-hub",
    "recalls": 40,
    "started": 38,
    "given_up": 1,
    "kept": 38,
    "late": 0,
    "p50_seconds": 47.2,
    "p99_seconds": 61.0,
    "longest_notice_seconds": 60.0,
}

RECALL_PAGE: Example = {
    "since": "2026-01-31T09:31:30Z",
    "until": "2026-03-02T09:31:30Z",
    "lenders": [_RECALLS | {"pool": None}],
    "pools": [_RECALLS | {"lender": None}],
    "pairs": [_RECALLS],
}

WHAT_IF_REQUEST: Example = {
    "changes": [
        {"what": "quota", "account": "arl-vision", "pool": "national-hub", "nominal": 16},
        {"what": "weight", "account": "arl", "weight": 2},
    ],
    "hours": 168,
    "jobs": 5000,
}


def _fared(account: str | None, mean_wait_seconds: float) -> Example:
    return {
        "account": account,
        "jobs": 12,
        "unfinished": 0,
        "mean_wait_seconds": mean_wait_seconds,
        "p95_wait_seconds": 5400.0,
        "gpu_hours": 96.0,
        "preemptions": 1,
    }


def _outcome(mean_wait_seconds: float) -> Example:
    return {
        "utilisation": 0.82,
        "total": _fared(None, mean_wait_seconds),
        "accounts": [_fared("arl-vision", mean_wait_seconds)],
    }


WHAT_IF: Example = {
    "jobs": 12,
    "note": "Taken: 12 jobs that ended between 2026-02-23 09:31 and 2026-03-02 09:31 UTC, "
    "all there were.",
    "before": _outcome(1800.0),
    "after": _outcome(600.0),
}
