"""The policy as people write it: one YAML file, checked whole before it is believed.

Every problem is told at once, each with its line, its field and the reason: first what
the JSON schema refuses (`policy.schema.json`), then what contradicts itself
(`core/policy_checks.py`). The simulator and others without accounts and pools read the
`rules` alone, by the same schema and checks.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any

import yaml
from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import ValidationError
from jsonschema.protocols import Validator

from scheduler import policy_rows
from scheduler.core import policy_checks, policy_warnings
from scheduler.core.model import Tier
from scheduler.core.policy import Policy, Rules, TierRules
from scheduler.core.policy_found import Path
from scheduler.policy_text import Document, PolicyProblem, syntax_problem

__all__ = [
    "PolicyProblem",
    "PolicyRefused",
    "RulesDocument",
    "check",
    "load",
    "read_rules",
    "read_rules_document",
    "warnings",
]

_RULES_ONLY = ("version", "rules", "tiers")


class PolicyRefused(Exception):  # noqa: N818  # the field's word: a policy is refused
    """The policy cannot be used as it stands; `problems` are all of them, by line."""

    def __init__(self, problems: tuple[PolicyProblem, ...]) -> None:
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = problems


def load(text: str, revision: int) -> Policy:
    """Return the policy that the text describes.

    Raises:
        PolicyRefused: with every problem that was found.
    """
    policy, problems = _read(Document(), text, revision)
    if problems or policy is None:
        raise PolicyRefused(problems)
    return policy


def check(text: str) -> tuple[PolicyProblem, ...]:
    """Return every problem of the text, by line; empty means it can be applied."""
    return _read(Document(), text, 0)[1]


def warnings(text: str, now: datetime) -> tuple[PolicyProblem, ...]:
    """Return what is odd about a text without problems, by line: none of it is refused."""
    document = Document()
    policy, problems = _read(document, text, 0)
    if problems or policy is None:
        return ()
    found = policy_warnings.warnings(policy, now)
    return tuple(sorted({document.problem(path, reason) for path, reason in found}))


@dataclass(frozen=True, slots=True)
class RulesDocument:
    """Rules without a federation: what a policy says of no account and no pool.

    `tiers` is empty where the text leaves them out.
    """

    rules: Rules
    tiers: tuple[tuple[Tier, TierRules], ...]


def read_rules(text: str) -> Rules | tuple[PolicyProblem, ...]:
    """Return the rules of a text that has `version`, `rules` and perhaps `tiers`, or its problems.

    What is left out of `rules` has its default.
    """
    read = read_rules_document(text)
    return read.rules if isinstance(read, RulesDocument) else read


def read_rules_document(text: str) -> RulesDocument | tuple[PolicyProblem, ...]:
    """Return rules and tiers of a text that has nothing else, or all its problems, by line."""
    policy, problems = _read(Document(), text, 0, only_rules=True)
    if problems or policy is None:
        return problems
    return RulesDocument(policy.rules, policy.tiers)


def _read(
    document: Document, text: str, revision: int, *, only_rules: bool = False
) -> tuple[Policy | None, tuple[PolicyProblem, ...]]:
    if not text.strip():
        return None, (PolicyProblem(1, "(the file)", "is empty"),)
    try:
        raw = document.parse(text)
    except yaml.YAMLError as error:
        return None, (syntax_problem(error),)
    found = [*document.problems]
    broken: set[str] = set()
    for violation in _validator(only_rules=only_rules).iter_errors(raw):
        told = list(_told(violation))
        broken.update(str(path[0]) for path, _ in told if path)
        found.extend(document.problem(path, reason) for path, reason in told)
    if not isinstance(raw, dict):
        return None, tuple(sorted(set(found)))
    if only_rules:
        broken.update(_schema()["properties"].keys() - set(_RULES_ONLY))
    policy, unreadable = policy_rows.policy(raw, revision, frozenset(broken))
    broken.update(str(path[0]) for path, _ in unreadable)
    contradictions = policy_checks.problems(policy, frozenset(broken))
    told_at = (*unreadable, *contradictions)
    found.extend(document.problem(path, reason) for path, reason in told_at)
    return policy, tuple(sorted(set(found)))


@cache
def _schema() -> dict[str, Any]:
    source = files("scheduler").joinpath("policy.schema.json").read_text(encoding="utf-8")
    whole: dict[str, Any] = json.loads(source)
    return whole


@cache
def _validator(*, only_rules: bool) -> Validator:
    schema = _schema()
    if only_rules:
        known = {name: schema["properties"][name] for name in _RULES_ONLY}
        schema = {**schema, "properties": known, "required": ["version", "rules"]}
    # The specification's "integer" takes 4.0; amounts here are whole numbers, written so.
    whole = Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    )
    strict = validators.extend(  # type: ignore[no-untyped-call]  # the stubs leave it out
        Draft202012Validator, {"pattern": _pattern}, type_checker=whole
    )
    checked: Validator = strict(schema)
    return checked


def _pattern(_: object, pattern: str, text: object, __: object) -> Iterator[ValidationError]:
    """Hold a text against a pattern; the specification's `$` is its end, Python's a line's too."""
    if isinstance(text, str) and not re.search(pattern.replace("$", r"\Z"), text):
        yield ValidationError(f"{text!r} does not match {pattern!r}")


def _told(error: ValidationError) -> Iterator[tuple[Path, str]]:
    """Say one schema violation in words, at the place a person would correct."""
    at = tuple(error.absolute_path)
    rules: Any = error.schema
    instance: Any = error.instance
    limit: Any = error.validator_value
    if error.validator == "required":
        name = next(f for f in limit if f not in instance and f"'{f}'" in error.message)
        yield (*at, name), "is missing"
    elif error.validator == "additionalProperties" and limit is False:
        known = sorted(rules["properties"])
        for name in sorted(set(instance) - set(known)):
            yield (*at, name), f"is not known here; known are {', '.join(known)}"
    elif not at and error.validator == "type":
        yield at, "is no policy: that is a mapping, with sections such as accounts and pools"
    elif error.validator == "enum":
        yield at, f"{_shown(instance)} is not one of {', '.join(limit)}"
    elif "description" in rules and not isinstance(instance, dict):
        yield at, f"{_shown(instance)} is not allowed: {rules['description']}"
    else:
        yield at, error.message[:300]


def _shown(value: object) -> str:
    return json.dumps(value, default=str)[:80]
