"""What a node agent says of the Ray nodes that it started, in its report.

The orders for them come in the reply (`nodes.py`). Structs of msgspec, as the report is.
"""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

# NUL is looked for in the whole message (`reports.decode`).
_TEXT = {"pattern": r"^[^\x00]*$"}
_Short = Annotated[str, Meta(max_length=300, extra_json_schema=_TEXT)]


class LaunchPhase(StrEnum):
    """How one member of a run stands on its node; it only ever moves on, never back."""

    NONE = "none"  # nothing was ever there
    UNKNOWN = "unknown"  # the node has not said
    STARTING = "starting"
    UP = "up"
    ENDING = "ending"
    FENCED = "fenced"  # no process is left, and none will be


class _Wire(
    Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """As in `reports.py`."""


class LaunchSeen(_Wire, frozen=True):
    """One member of a run. `head`, `api` and `secret` are said by the head's node once it is up.

    `secret` is the token of that run's Ray cluster; it is kept in memory alone.
    """

    run: Annotated[str, Meta(min_length=1, max_length=120, extra_json_schema=_TEXT)]
    token: Annotated[int, Meta(ge=0, le=2**31 - 1)]
    phase: LaunchPhase
    why: _Short = ""
    head: _Short = ""
    api: _Short = ""
    secret: _Short = ""


class LauncherReport(_Wire, frozen=True):
    """All that a node's launcher has, and by what it holds processes: `cgroup` or `marks`."""

    group: Annotated[str, Meta(max_length=20, extra_json_schema=_TEXT)]
    launches: Annotated[tuple[LaunchSeen, ...], Meta(max_length=256)] = ()
