"""What messages look like, for the OpenAPI document; a test holds each against its message."""

from typing import Any

_AT = "2026-03-02T09:30:00Z"
_LATER = "2026-03-02T09:31:30Z"
_JOB = "jq4k2mzx7wab"
_RUN = f"cp-{_JOB}-1"

Example = dict[str, Any]

JOB_REQUEST: Example = {
    "entrypoint": "python train.py",
    "account": "arl-vision",
    "nodes": 2,
    "gpus_per_node": 8,
    "gpu_models": ["H100"],
    "memory_gib": 80,
    "software": ["cuda-12.4"],
    "tier": ["team", "national"],
    "priority": "standard",
    "time_limit_seconds": 7200,
    "name": "digits",
    "metadata": {"experiment": "digits"},
}

JOB_VIEW: Example = {
    "id": _JOB,
    "submission_id": "raysubmit_a7Kd93hFqPzWm2xR",
    "user": "dana",
    "account": "arl-vision",
    "state": "pending",
    "reason": "national-hub has 8 GPUs free, and room on 1 of the 2 nodes that the job needs "
    "with 8 GPUs each.",
    "position": 1,
    "starts_at": _LATER,
    "name": "digits",
    "entrypoint": "python train.py",
    "nodes": 2,
    "gpus_per_node": 8,
    "gpu_models": ["H100"],
    "memory_gib": 80,
    "h100e": 0,
    "software": ["cuda-12.4"],
    "reservation": None,
    "tier": ["team", "national"],
    "label": "public",
    "priority": "standard",
    "preemptible": True,
    "time_limit_seconds": 7200,
    "predicted_seconds": 5400,
    "submitted_at": _AT,
    "ended_at": None,
    "metadata": {"experiment": "digits"},
    "runs": [],
}

JOB_PAGE: Example = {"jobs": [JOB_VIEW], "next": "41"}

EXPLANATION: Example = {
    "job": _JOB,
    "state": "pending",
    "summary": JOB_VIEW["reason"],
    "position": 1,
    "starts_at": _LATER,
    "verdicts": [
        {
            "reason": "capacity",
            "pool": "national-hub",
            "tier": "national",
            "sentence": JOB_VIEW["reason"],
            "numbers": {"free": 8, "fitting": 1, "nodes": 2, "gpus_per_node": 8},
        }
    ],
    "history": [
        {
            "at": _AT,
            "event": "submitted",
            "run": None,
            "sentence": "submitted by dana for arl-vision",
        }
    ],
}

LOG_PAGE: Example = {
    "text": "epoch 1: loss 0.71\n",
    "next_offset": 19,
    "complete": False,
    "size": 19,
    "state": "running",
}

ME: Example = {
    "subject": "dana",
    "scope": "user",
    "accounts": ["arl-vision"],
    "labels": ["controlled", "public"],
    "expires_at": _AT,
}

ACCOUNT_LIST: Example = {
    "accounts": [
        {
            "account": "arl-vision",
            "parent": "arl",
            "sector": "dod",
            "weight": 1,
            "h100e_seconds": 86400.0,
            "share": 86400.0,
            "running_gpus": 8,
            "pending_jobs": 1,
        }
    ]
}

POOL_LIST: Example = {
    "pools": [
        {
            "pool": "national-hub",
            "site": "national",
            "tier": "national",
            "owner": "national",
            "gpu_model": "H100",
            "gpus_per_node": 8,
            "backend": "ray_private",
            "labels": ["controlled", "public"],
            "capacity": 32,
            "up": 32,
            "free": 8,
            "in_quota": 16,
            "borrowed": 8,
            "background": 0,
            "simulated": True,
            "quotas": [
                {
                    "account": "arl-vision",
                    "nominal": 8,
                    "lend_max": 8,
                    "borrow_max": 24,
                    "used": 16,
                }
            ],
        }
    ]
}

NODE_PAGE: Example = {
    "nodes": [
        {
            "node": "national-1",
            "pool": "national-hub",
            "gpus": 8,
            "free": 0,
            "usable": True,
            "why_unusable": "",
            "simulated": True,
            "reported_at": _AT,
        }
    ],
    "next": "national-1",
}

NODE_REPORTS: Example = {
    "reports": [
        {
            "node": "national-1",
            "pool": "national-hub",
            "boot_id": "2f1c0a9e",
            "sequence": 17,
            "sampled_at": _AT,
            "gpus": [
                {"index": 0, "uuid": "GPU-5e0c1d2f", "model": "H100", "memory_mib": 81559},
            ],
            "block": "leaf-3",
        }
    ]
}

NODE_REPORT_REPLY: Example = {
    "accepted": 1,
    "next_report_seconds": 15,
    "refused": [],
    "notes": [],
    "leases": [
        {
            "node": "national-1",
            "digest": "5f1c0e9a3b7d2c48",
            "leases": [{"run": _RUN, "token": 1, "gpus": [0, 1, 2, 3]}],
        }
    ],
    "leases_seconds_old": 2.5,
}

SITE_SYNC: Example = {
    "instance": "6d1b9c",
    "sequence": 4,
    "runs": [
        {
            "run": _RUN,
            "token": 1,
            "state": "running",
            "observed_at": _LATER,
            "started_at": _LATER,
        }
    ],
    "ray_version": "2.60.0",
    "seen_revision": "3b5d5c3712955042212316173ccf37be",
    "wait_seconds": 0,
}

SITE_ORDERS: Example = {
    "revision": "3b5d5c3712955042212316173ccf37be",
    "leases": [
        {
            "run": _RUN,
            "job": _JOB,
            "attempt": 1,
            "token": 1,
            "wanted": "run",
            "backend": "ray_private",
            "nodes": [{"node": "national-1", "gpus": [0, 1, 2, 3, 4, 5, 6, 7]}],
            "gpu_model": "H100",
            "entrypoint": "python train.py",
            "time_limit_seconds": 7200,
            "grace_seconds": 10,
            "bind_by": "2026-03-02T09:41:30Z",
        }
    ],
    "server_time": _LATER,
}

LOG_APPENDED: Example = {"next_offset": 19}

TOKEN_REQUEST: Example = {"subject": "dana", "scope": "user", "expires_in_days": 90}

TOKEN_ISSUED: Example = {
    "id": "9f86d081884c7d65",
    "token": "cp_user_example-only-not-a-token",
    "subject": "dana",
    "scope": "user",
    "expires_at": "2026-05-31T09:30:00Z",
}

TOKEN_LIST: Example = {
    "tokens": [
        {
            "id": "9f86d081884c7d65",
            "subject": "dana",
            "scope": "user",
            "created_at": _AT,
            "expires_at": "2026-05-31T09:30:00Z",
            "last_used_at": _LATER,
            "revoked": False,
        }
    ]
}

POLICY = "# See infra/policies/demo.yaml for a whole one.\nusers:\n  - name: dana\n"

POLICY_APPLIED: Example = {"revision": 2, "changed": True}

_ETA: Example = {
    "low": _AT,
    "likely": _LATER,
    "high": "2026-03-02T09:45:00Z",
    "informed": True,
    "sentence": "It should start within a minute (four times in five between at once and "
    "in about 15 min).",
}

EXPLANATION |= {
    "eta": _ETA,
    "ahead": [
        {
            "account": "state-u",
            "jobs": 2,
            "why": "it has used less per weight",
            "share": 43200.0,
            "own_branch": "arl",
            "own_share": 86400.0,
            "sentence": "state-u (2 jobs) goes first: arl has used 2.0 times as much per weight.",
        }
    ],
    "sooner": [
        {
            "knob": "nodes",
            "before": "2",
            "after": "1",
            "starts_at": _AT,
            "sentence": "1 node instead of 2 would start at once.",
        }
    ],
    "note": "",
}

DIAGNOSTICS: Example = {
    "at": _LATER,
    "policy": 2,
    "leads": True,
    "planner": "python",
    "cycles": {"committed": 41, "unchanged": 7},
    "phases": [
        {
            "phase": "plan",
            "count": 48,
            "last_seconds": 0.004,
            "mean_seconds": 0.005,
            "max_seconds": 0.031,
        }
    ],
    "decisions": [{"kind": "start", "reason": "in_quota", "count": 37}],
    "stale": 0,
    "events": 212,
    "waiting": 3,
    "runs": 5,
    "nodes": 7,
    "usable_nodes": 7,
    "gpus": 56,
    "accounts": 9,
    "pools": 3,
    "etas": {"hits": 8, "misses": 1, "rate": 0.8888888888888888},
}

SHARE_LIST: Example = {
    "at": _LATER,
    "half_life_seconds": 1209600.0,
    "shares": [
        {
            "account": "arl-vision",
            "parent": "arl",
            "depth": 2,
            "weight": 1,
            "weight_share": 0.5,
            "h100e_seconds": 86400.0,
            "usage_share": 0.75,
            "share": 86400.0,
            "place": 2,
            "waiting": 1,
        }
    ],
}

PRIO_PAGE: Example = {
    "at": _LATER,
    "jobs": [
        {
            "job": _JOB,
            "user": "dana",
            "account": "arl-vision",
            "place": 2,
            "account_place": 1,
            "path": [
                {"account": "arl", "share": 86400.0},
                {"account": "arl-vision", "share": 86400.0},
            ],
            "priority": "standard",
            "submitted_at": _AT,
            "age_seconds": 90.0,
            "predicted_seconds": None,
            "handicap_seconds": 0.0,
            "goes_as_of": _AT,
            "not_before": None,
        }
    ],
    "next": "2",
}

QUEUE_PAGE: Example = {
    "jobs": [
        {
            "job": _JOB,
            "user": "dana",
            "account": "arl-vision",
            "priority": "standard",
            "nodes": 2,
            "gpus_per_node": 8,
            "position": 1,
            "planned_at": _LATER,
            "planned_pool": "national-hub",
            "planned_nodes": ["national-1", "national-2"],
            "eta": _ETA,
            "reason": JOB_VIEW["reason"],
        }
    ],
    "next": "41",
}
