"""Examples of a job's utilisation and cost, for the OpenAPI document."""

from scheduler.api.examples import Example

_AT = "2026-03-02T12:00:00Z"

JOB_UTILISATION: Example = {
    "job": "jq4k2mzx7wab",
    "at": _AT,
    "every_seconds": 300.0,
    "kept_days": 35,
    "runs": [
        {
            "run": "cp-jq4k2mzx7wab-1",
            "attempt": 1,
            "pool": "national-hub",
            "simulated": False,
            "points": [
                {
                    "at": "2026-03-02T11:55:00Z",
                    "seconds": 300,
                    "gpus": 1,
                    "sm_mean": 0.81,
                    "sm_most": 0.97,
                    "memory_most_mib": 61440.0,
                }
            ],
            "gpus": [
                {
                    "node": "national-1",
                    "gpu": 0,
                    "sm_mean": 0.81,
                    "sm_most": 0.97,
                    "memory_most_mib": 61440.0,
                    "sm_now": 0.84,
                    "memory_now_mib": 60100.0,
                    "memory_mib": 81559,
                }
            ],
            "gpus_in_all": 1,
        }
    ],
}

JOB_COST: Example = {
    "job": "jq4k2mzx7wab",
    "account": "arl-vision",
    "payer": "account",
    "reservation": None,
    "budgets": ["arl-2026"],
    "charged_h100e_hours": 0.5,
    "at_limit_h100e_hours": 2.0,
    "runs": [
        {
            "run": "cp-jq4k2mzx7wab-1",
            "attempt": 1,
            "tier": "national",
            "pool": "national-hub",
            "gpus": 1,
            "h100e_factor": 1.0,
            "quota_class": 1,
            "guest": False,
            "payer": "account",
            "since": "2026-03-02T11:30:00Z",
            "until": None,
            "h100e_hours": 0.5,
            "charged_h100e_hours": 0.5,
            "at_limit_h100e_hours": 2.0,
        }
    ],
    "prices": [
        {
            "tier": "national",
            "pool": "national-hub",
            "gpu_model": "H100",
            "gpus": 1,
            "h100e_factor": 1.0,
            "at_limit_h100e_hours": 2.0,
        }
    ],
}
