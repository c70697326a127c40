"""What messages about jobs before and after their submission look like; see `examples`."""

from typing import Any

from scheduler.api.examples import JOB_REQUEST

Example = dict[str, Any]

DRY_RUN_REQUEST: Example = {"job": JOB_REQUEST, "expected_seconds": 3600}

_CANDIDATE: Example = {
    "way": "as asked",
    "change": {},
    "tier": "national",
    "pool": "national-hub",
    "quota_class": 2,
    "gpus": 16,
    "starts_now": True,
    "start": {
        "low": "2026-03-02T09:31:30Z",
        "likely": "2026-03-02T09:31:30Z",
        "high": "2026-03-02T09:31:30Z",
        "informed": True,
        "sentence": "The next cycle starts it.",
    },
    "done_low": "2026-03-02T10:31:30Z",
    "done_likely": "2026-03-02T10:31:30Z",
    "done_high": "2026-03-02T10:31:30Z",
    "length": {
        "low_seconds": 3600.0,
        "likely_seconds": 3600.0,
        "high_seconds": 3600.0,
        "basis": "stated",
        "samples": 0,
        "sentence": "By what was stated: no such job has run before.",
    },
    "price": 16.0,
    "price_most": 32.0,
    "recall": {
        "chance": 0.1,
        "runs": 40,
        "recalled": 4,
        "days": 30,
        "sentence": "4 of 40 lent runs of national-hub were recalled in the last 30 days.",
    },
    "quota": {
        "nominal": 8,
        "used": 0,
        "used_after": 16,
        "sentence": "arl-vision then uses 16 GPUs there (now 0); its quota is 8.",
    },
    "verdicts": [],
}

DRY_RUN: Example = {
    "account": "arl-vision",
    "time_limit_seconds": 7200,
    "planned_at": "2026-03-02T09:31:30Z",
    "candidates": [_CANDIDATE],
    "starts_first": 0,
    "done_first": 0,
    "cheapest": 0,
    "usual": 0,
    "same_as": None,
    "note": "",
}

DRAFT_REQUEST: Example = {"content": {"entrypoint": "python train.py", "nodes": 2}}

DRAFT: Example = DRAFT_REQUEST | {"page": "submit", "updated_at": "2026-03-02T09:31:30Z"}

AGAIN_REQUEST: Example = {"change": {"nodes": 2}, "replace": True}
