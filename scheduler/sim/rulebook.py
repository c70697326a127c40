"""Which policy a simulation plans by: one that ships here, a file of rules, or a whole policy."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from scheduler import policy_file
from scheduler.core.model import Tier
from scheduler.core.policy import Policy, Rules, TierRules
from scheduler.errors import Fault, Refused
from scheduler.policy_file import PolicyProblem, PolicyRefused
from scheduler.sim.source import LONGEST, read_text

SHIPPED = ("default", "easy", "fifo")
_NOTICE = timedelta(minutes=10)
_SECTIONS = frozenset({"version", "rules", "tiers"})


@dataclass(frozen=True, slots=True)
class Rulebook:
    """Rules and tiers alone, to be filled in with a trace's cluster and tenants."""

    rules: Rules
    tiers: tuple[tuple[Tier, TierRules], ...]


def read_rulebook(named: str) -> Rulebook | Policy:
    """Return a shipped policy by name, or what a file says: rules alone, or a whole policy.

    Raises:
        Refused: there is no such file, or it has problems: all of them, by line and field.
    """
    if named in SHIPPED:
        text = files("scheduler.sim").joinpath("policies", f"{named}.yaml").read_text("utf-8")
    else:
        text = read_text(Path(named))
    try:
        return policy_file.load(text, 1) if _is_whole(text) else rules_of(text)
    except PolicyRefused as refused:
        faults = tuple(Fault(p.field, p.reason, p.line) for p in refused.problems)
        what = f"{named} is not a policy to simulate"
        raise Refused(title=what, detail=what, faults=faults) from refused


def _is_whole(text: str) -> bool:
    """Return whether the text has a section of its own for accounts, as a whole policy must."""
    return any(line.startswith("accounts:") for line in text.splitlines())


def rules_of(text: str) -> Rulebook:
    """Return what a file of `version`, `rules` and perhaps `tiers` says.

    Raises:
        PolicyRefused: with the first problem that was found.
    """
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise _refused("(the file)", f"not YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(raw, dict):
        raise _refused("(the file)", "is not a mapping")
    for name in raw:
        if name not in _SECTIONS:
            told = f"is not known here; known are {', '.join(sorted(_SECTIONS))}"
            raise _refused(str(name), told)
    if raw.get("version") != 1:
        raise _refused("version", "is not 1")
    rules = Rules(**_knobs(Rules(), raw.get("rules"), "rules"))
    return Rulebook(rules, _tiers(raw.get("tiers") or {}))


def _tiers(raw: object) -> tuple[tuple[Tier, TierRules], ...]:
    """Return every tier, with what the section says of it; no limit is too long by default."""
    if not isinstance(raw, dict):
        raise _refused("tiers", "is not a mapping")
    for name in raw:
        if name not in list(Tier):
            raise _refused(f"tiers.{name}", f"is no tier; known are {', '.join(Tier)}")
    plain = TierRules(LONGEST, LONGEST, _NOTICE)
    return tuple(
        (tier, replace(plain, **_knobs(plain, raw.get(tier.value), f"tiers.{tier}")))
        for tier in Tier
    )


def _knobs(plain: Rules | TierRules, raw: object, path: str) -> Mapping[str, Any]:
    """Return the knobs that a section sets, each read as its default's type."""
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise _refused(path, "is not a mapping")
    known = {each.name: getattr(plain, each.name) for each in fields(plain)}
    for name in raw:
        if name not in known:
            told = f"is not known here; known are {', '.join(sorted(known))}"
            raise _refused(f"{path}.{name}", told)
    return {name: _knob(known[name], value, f"{path}.{name}") for name, value in raw.items()}


def _knob(default: object, value: object, path: str) -> object:
    try:
        if isinstance(default, timedelta):
            return policy_file.duration(str(value))
        if isinstance(default, StrEnum):
            return type(default)(str(value))
    except (KeyError, ValueError, IndexError, OverflowError):
        value = f"'{value}'"
    if type(value) is not type(default) or (isinstance(value, int) and value < 0):
        raise _refused(path, f"{value} is not allowed here; the default is {default}")
    return value


def _refused(field: str, reason: str) -> PolicyRefused:
    return PolicyRefused((PolicyProblem(1, field, reason),))
