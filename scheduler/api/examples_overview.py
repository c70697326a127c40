"""An example of what a person sees first, for the OpenAPI document."""

from scheduler.api.examples import JOB_VIEW, ME, POOL_LIST, Example
from scheduler.api.examples_requests import REQUEST_PAGE

OVERVIEW: Example = {
    "me": ME,
    "jobs": [JOB_VIEW],
    "counts": [{"state": "pending", "jobs": 1, "more": False}],
    "awaiting": 1,
    "more_awaiting": False,
    "asked": REQUEST_PAGE["requests"],
    "pools": POOL_LIST["pools"],
}
