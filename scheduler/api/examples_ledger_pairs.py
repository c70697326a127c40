"""What the balance of pairs over time looks like; see `examples`."""

from scheduler.api.examples_ledger import Example

PAIR_PAGE: Example = {
    "since": "2026-03-01T09:30:00Z",
    "until": "2026-03-02T09:30:00Z",
    "by": "institution",
    "at": ["2026-03-01T09:30:00Z", "2026-03-01T21:30:00Z", "2026-03-02T09:30:00Z"],
    "pairs": [
        {
            "first": "state-u",
            "second": "acme",
            "lent_h100e_seconds": "43200.000000000",
            "returned_h100e_seconds": "3600.000000000",
            "loans": 2,
            "balance_h100e_seconds": ["0", "-3600.000000000", "39600.000000000"],
            "agreements": ["state-u-lends-industry"],
            "cap_gpus": 8,
            "limit_h100e_seconds": "691200.000000000",
        }
    ],
}
