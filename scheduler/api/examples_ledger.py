"""What messages about lending and use look like; see `examples`."""

from typing import Any

Example = dict[str, Any]

_STATE_U: Example = {"account": "state-u", "institution": "state-u", "sector": "academic"}
_ACME: Example = {"account": "acme-robotics", "institution": "acme", "sector": "industry"}
_WHEN: Example = {"since": "2026-03-02T08:00:00Z", "until": "2026-03-02T09:30:00Z"}

LEDGER_PAGE: Example = {
    "since": "2026-01-31T09:31:30Z",
    "until": "2026-03-02T09:31:30Z",
    "by": "sector",
    "loans_in_all": 1,
    "simulated_loans": 0,
    "balances": [
        {
            "name": "academic",
            "lent_h100e_seconds": "43200.000000000",
            "borrowed_h100e_seconds": "0",
            "net_h100e_seconds": "43200.000000000",
            "recalled_h100e_seconds": "43200.000000000",
            "recalls": 1,
        },
        {
            "name": "industry",
            "lent_h100e_seconds": "0",
            "borrowed_h100e_seconds": "43200.000000000",
            "net_h100e_seconds": "-43200.000000000",
            "recalled_h100e_seconds": "0",
            "recalls": 0,
        },
    ],
    "matrix": [
        {
            "lender": "academic",
            "borrower": "industry",
            "loans": 1,
            "h100e_seconds": "43200.000000000",
        }
    ],
    "concentration": [
        {
            "tier": "institution",
            "index": 1.0,
            "borrowers": 1,
            "largest": "industry",
            "largest_share": 1.0,
        }
    ],
    "recalls": [
        {
            "lender": "state-u-nlp",
            "pool": None,
            "recalls": 1,
            "started": 1,
            "given_up": 0,
            "kept": 1,
            "late": 0,
            "p50_seconds": 47.2,
            "p99_seconds": 47.2,
            "longest_notice_seconds": 600.0,
        }
    ],
    "entries_of": ["state-u", "state-u-nlp"],
    "loans": [
        {
            "loan": 17,
            "lender": _STATE_U,
            "borrower": _ACME,
            "pool": "state-u-hpc",
            "tier": "institution",
            "gpus": 8,
            "h100e_factor": 1.0,
            "agreement": "state-u-lends-industry",
            "started_at": "2026-03-02T08:00:00Z",
            "ended_at": "2026-03-02T09:30:00Z",
            "recalled_at": "2026-03-02T09:20:00Z",
            "simulated": False,
            "run": None,
        }
    ],
    "entries": [
        {"loan": 17, "side": "lent", **_STATE_U, "counterparty": "acme-robotics"}
        | _WHEN
        | {"h100e_seconds": "43200.000000000"},
        {"loan": 17, "side": "borrowed", **_ACME, "counterparty": "state-u"}
        | _WHEN
        | {"h100e_seconds": "-43200.000000000"},
    ],
    "next": None,
}

USAGE_PAGE: Example = {
    "since": "2026-03-01T00:00:00Z",
    "until": "2026-03-02T09:31:30Z",
    "accounts": [
        {
            "account": "arl-vision",
            "parent": "arl",
            "sector": "dod",
            "gpu_hours": 82.5,
            "charged_h100e_hours": 80.0,
            "days": [
                {
                    "day": "2026-03-01",
                    "in_quota_gpu_hours": 48.0,
                    "borrowed_gpu_hours": 16.0,
                    "background_gpu_hours": 2.5,
                    "charged_h100e_hours": 64.0,
                },
                {
                    "day": "2026-03-02",
                    "in_quota_gpu_hours": 16.0,
                    "borrowed_gpu_hours": 0.0,
                    "background_gpu_hours": 0.0,
                    "charged_h100e_hours": 16.0,
                },
            ],
        }
    ],
    "budgets": [
        {
            "budget": "arl-2026",
            "account": "arl",
            "valid_from": "2026-03-01T00:00:00Z",
            "valid_to": "2027-01-01T00:00:00Z",
            "limit": 5000.0,
            "used": 64.0,
            "reserved": 32.0,
            "left": 4904.0,
            "per_day": 64.0,
            "earliest": "2026-05-10",
            "likely": "2026-05-19",
            "latest": "2026-05-29",
            "burn": [{"day": "2026-03-01", "left": 4936.0}, {"day": "2026-03-02", "left": 4920.0}],
            "cone": [{"day": "2026-03-02", "low": 4920.0, "likely": 4920.0, "high": 4920.0}],
        }
    ],
}

SECTOR_USE_PAGE: Example = {
    "since": "2026-03-02T08:00:00Z",
    "until": "2026-03-02T09:30:00Z",
    "capacity": 56,
    "simulated": False,
    "sectors": [{"sector": "academic", "gpus": [8.0, 15.5]}],
}
