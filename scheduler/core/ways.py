"""The closed sets of words in which a dry run answers (`dry_run.py`); light, for the wire."""

from enum import StrEnum


class Way(StrEnum):
    """How a candidate differs from what was asked for."""

    AS_ASKED = "as asked"
    TIER = "one tier"
    FEWER = "fewer GPUs"


class Basis(StrEnum):
    """Where a run's length comes from, the best first."""

    HISTORY = "history"
    STATED = "stated"
    LIMIT = "limit"
