"""An example of the fleet's telemetry, for the OpenAPI document."""

from scheduler.api.examples import Example

_AT = "2026-03-02T12:00:00Z"

TELEMETRY_PAGE: Example = {
    "at": _AT,
    "nodes": [
        {
            "node": "national-1",
            "pool": "national-hub",
            "site": "national",
            "tier": "national",
            "gpu_model": "H100",
            "usable": True,
            "why_unusable": "",
            "sampler": "ok",
            "simulated": False,
            "measured": True,
            "reported_at": _AT,
            "gpus": [
                {
                    "index": 0,
                    "uuid": "GPU-6d2f",
                    "healthy": True,
                    "why_unhealthy": "",
                    "sm_active": 0.81,
                    "tensor_active": 0.44,
                    "memory_used_mib": 61440.0,
                    "memory_mib": 81559,
                    "power_watts": 612.0,
                    "temperature_celsius": 63.0,
                    "idle_since": None,
                    "held_by": [
                        {
                            "account": "arl-vision",
                            "run": "cp-j4k2-1",
                            "job": "j4k2",
                            "user": "dana",
                            "draining": False,
                        }
                    ],
                    "foreign": [],
                }
            ],
        }
    ],
    "next": None,
}
