"""Thresholds and crossings that contradict themselves, or that name what is not there (R17)."""

from collections.abc import Iterator

from scheduler.core.policy import Policy
from scheduler.core.policy_found import Found, Path, not_backwards
from scheduler.core.thresholds import Crossing, Threshold


def crossings(policy: Policy) -> Iterator[Found]:
    """Find periods that end before they begin, crossings of nothing, and one that is there twice.

    What counts of two crossings of one line, one account and one threshold would be unclear.
    """
    for index, row in enumerate(policy.thresholds):
        yield from _period(("thresholds", index), row)
    accounts = {a.name for a in policy.accounts}
    known = {t.name for t in policy.thresholds}
    seen: set[str] = set()
    for index, crossing in enumerate(policy.crossings):
        at: Path = ("crossings", index)
        yield from _period(at, crossing)
        if crossing.account not in accounts:
            yield Found((*at, "account"), f"no account is named '{crossing.account}'")
        if crossing.threshold not in known:
            named = ", ".join(sorted(known)) or "none"
            told = f"no threshold is named '{crossing.threshold}'; known are {named}"
            yield Found((*at, "threshold"), told)
        if crossing.name in seen:
            yield Found((*at, "model_line"), f"'{crossing.name}' is there already")
        seen.add(crossing.name)


def _period(at: Path, row: Threshold | Crossing) -> Iterator[Found]:
    if row.valid_from is not None and row.valid_to is not None:
        yield from not_backwards(at, ("valid_from", row.valid_from), ("valid_to", row.valid_to))
