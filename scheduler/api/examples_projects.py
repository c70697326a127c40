"""Examples of projects, for the OpenAPI document."""

from scheduler.api.examples import Example

PROJECT_LIST: Example = {
    "projects": [
        {
            "account": "arl-vision",
            "parent": "arl",
            "institution": "arl",
            "sector": "dod",
            "holds_queue": True,
            "people": [
                {"user": "dana", "roles": ["researcher"]},
                {"user": "lee", "roles": ["lead", "approver"]},
            ],
            "yours": ["researcher"],
            "may_ask": True,
            "approvers": ["lee"],
            "budgets": [],
        }
    ]
}
