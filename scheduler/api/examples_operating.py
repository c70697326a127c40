"""Examples of what operators ask and are answered, for the OpenAPI document."""

from scheduler.api.examples import NODE_PAGE, Example

_AT = "2026-03-02T12:00:00Z"
_UNTIL = "2026-03-02T18:00:00Z"

DRAIN_REQUEST: Example = {"reason": "new firmware", "until": _UNTIL, "notice_seconds": 600}

RESUME_REQUEST: Example = {"reason": "the firmware is in"}

NODE_DETAIL: Example = {
    "node": NODE_PAGE["nodes"][0],
    "cordon": {
        "action": "reboot",
        "why": "GPU 3 reported XID 79 (it fell off the bus): power-cycle the node",
        "by": "health",
        "at": _AT,
        "until": None,
        "returns": "a reset and a new start of its agent, then 5 minutes without a finding; "
        "or `commonpool node resume`",
    },
    "launcher": {
        "launches": [
            {
                "run": "cp-jq4k2mzx7wab-1",
                "account": "arl-vision",
                "phase": "ending",
                "why": "the hub no longer wants it here",
                "since": _AT,
            }
        ]
    },
    "history": [
        {"at": _AT, "event": "xid", "sentence": "GPU 3 reported XID 79: it fell off the bus"}
    ],
}

MAINTENANCE_REQUEST: Example = {
    "nodes": ["national-1", "national-2"],
    "starts_at": _AT,
    "ends_at": _UNTIL,
    "reason": "new firmware",
}

MAINTENANCE_LIST: Example = {
    "windows": [
        {
            "name": "maintenance-7",
            "pool": "national-hub",
            "nodes": ["national-1", "national-2"],
            "starts_at": _AT,
            "ends_at": _UNTIL,
            "reason": "new firmware",
        }
    ]
}

WASTE_PAGE: Example = {
    "since": "2026-02-23T12:00:00Z",
    "until": _AT,
    "accounts": [
        {
            "account": "arl-vision",
            "leased_gpu_hours": 1344.0,
            "measured_gpu_hours": 1340.5,
            "used_gpu_hours": 911.2,
            "share_used": 0.6797,
        }
    ],
}
