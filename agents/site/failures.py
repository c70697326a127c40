"""How an engine can fail, told apart by what can be done about it."""

from dataclasses import dataclass


class BackendUnavailable(Exception):  # noqa: N818  # a state, told by its name
    """The engine cannot answer now; try again, nothing is decided."""


@dataclass(eq=False)
class BackendRejected(Exception):  # noqa: N818  # a state, told by its name
    """The engine will not run this, now or later: the owner must change something."""

    message: str
    error_type: str = "COMMONPOOL_REJECTED"


class RunGone(Exception):  # noqa: N818  # a state, told by its name
    """The run's engine or the engine's memory of it is gone; the program may still be there."""
