"""Who did it, for the audit log: the caller of a request, and for whom."""

from scheduler.api.auth import Caller
from scheduler.core.audit import Who

API = "api"
RAY = "ray"


def who(caller: Caller, owner: str = "", source: str = API) -> Who:
    """Return the caller, on behalf of the `owner` of what is done where that is another."""
    return Who(caller.subject, source, caller.token_id, owner if owner != caller.subject else "")
