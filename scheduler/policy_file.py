"""The policy as people write it: one YAML file, checked whole before it is believed.

Every problem is told at once, each with its line, its field and the reason: first what
the JSON schema refuses (`policy.schema.json`), then what contradicts itself
(`core/policy_checks.py`). Anchors and aliases are refused: a policy is read by people,
and a few of them can unfold into gigabytes.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import Any

import yaml
from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import ValidationError
from jsonschema.protocols import Validator

from scheduler.core import hardware, policy_checks
from scheduler.core.hardware import Hardware
from scheduler.core.model import (
    Account,
    AccountName,
    Agreement,
    AgreementId,
    Backend,
    Pool,
    PoolId,
    Quota,
    Sector,
    Site,
    SiteId,
    Tier,
    User,
)
from scheduler.core.policy import Policy, Rules, TierRules
from scheduler.core.policy_checks import Path

MAX_CHARACTERS = 4_000_000
MAX_DEPTH = 20
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_SECTIONS = ("users", "accounts", "sites", "pools", "quotas", "agreements", "hardware")


@dataclass(frozen=True, slots=True, order=True)
class PolicyProblem:
    """One thing that is wrong, at a line (from 1) of the file."""

    line: int
    field: str
    reason: str

    def __str__(self) -> str:
        """Return one line for people."""
        return f"line {self.line}: {self.field}: {self.reason}"


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
    policy, problems = _read(text, revision)
    if problems or policy is None:
        raise PolicyRefused(problems)
    return policy


def check(text: str) -> tuple[PolicyProblem, ...]:
    """Return every problem of the text, by line; empty means it can be applied."""
    return _read(text, 0)[1]


def _read(text: str, revision: int) -> tuple[Policy | None, tuple[PolicyProblem, ...]]:
    document = _Document()
    try:
        raw = document.parse(text)
    except yaml.YAMLError as error:
        return None, (_syntax_problem(error),)
    found = [*document.problems]
    broken: set[str] = set()
    for violation in _validator().iter_errors(raw):
        told = list(_told(violation))
        broken.update(str(path[0]) for path, _ in told if path)
        found.extend(document.problem(path, reason) for path, reason in told)
    if not isinstance(raw, dict):
        return None, tuple(sorted(set(found)))
    policy, unreadable = _build(raw, revision, frozenset(broken))
    found.extend(document.problem(path, reason) for path, reason in unreadable)
    broken.update(str(path[0]) for path, _ in unreadable)
    contradictions = policy_checks.problems(policy, frozenset(broken))
    found.extend(document.problem(path, reason) for path, reason in contradictions)
    return policy, tuple(sorted(set(found)))


@cache
def _validator() -> Validator:
    source = files("scheduler").joinpath("policy.schema.json").read_text(encoding="utf-8")
    # The specification's "integer" takes 4.0; amounts here are whole numbers, written so.
    whole = Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    )
    strict = validators.extend(  # type: ignore[no-untyped-call]  # the stubs leave it out
        Draft202012Validator, type_checker=whole
    )
    checked: Validator = strict(json.loads(source))
    return checked


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
    elif error.validator == "enum":
        yield at, f"{_shown(instance)} is not one of {', '.join(limit)}"
    elif "description" in rules and not isinstance(instance, dict):
        yield at, f"{_shown(instance)} is not allowed: {rules['description']}"
    else:
        yield at, error.message[:300]


def _shown(value: object) -> str:
    return json.dumps(value, default=str)[:80]


def _syntax_problem(error: yaml.YAMLError) -> PolicyProblem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    reason = getattr(error, "problem", None) or str(error).splitlines()[0]
    return PolicyProblem(mark.line + 1 if mark else 1, "(the file)", f"not YAML: {reason}")


class _Document:
    """Plain values of a YAML text, and the line that each of them stands on."""

    def __init__(self) -> None:
        self.problems: list[PolicyProblem] = []
        self._lines: dict[Path, int] = {}

    def parse(self, text: str) -> Any:  # noqa: ANN401  # what a YAML file holds
        """Return the plain value; dates stay text, so that the schema sees what was written."""
        if len(text) > MAX_CHARACTERS:
            raise yaml.YAMLError(f"longer than {MAX_CHARACTERS:,} characters")
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise _at(event, "anchors and aliases are not allowed in a policy")
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise _at(event, "nested too deeply")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        return {} if node is None else self._value(node, ())

    def problem(self, path: Path, reason: str) -> PolicyProblem:
        """Return a problem at the line of `path`, or of the nearest thing around it."""
        known = path
        while known and known not in self._lines:
            known = known[:-1]
        return PolicyProblem(self._lines.get(known, 1), _field(path), reason)

    def _value(self, node: yaml.Node, path: Path) -> object:
        self._lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*path, i)) for i, item in enumerate(node.value)]
        if node.tag.endswith((":timestamp", ":str")):
            return node.value
        try:
            return yaml.constructor.SafeConstructor().construct_object(node)
        except ValueError as error:  # an integer of thousands of digits, say
            raise _at(node, f"cannot be read: {error}") from error

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, object]:
        values: dict[str, object] = {}
        for key, item in node.value:
            name = str(key.value)
            at = (*path, name)
            if name in values:
                again = PolicyProblem(key.start_mark.line + 1, _field(at), "is written twice")
                self.problems.append(again)
                continue
            self._lines[at] = key.start_mark.line + 1
            values[name] = self._value(item, at)
        return values


def _at(event: yaml.Event | yaml.Node, problem: str) -> yaml.MarkedYAMLError:
    error = yaml.MarkedYAMLError(problem=problem)
    error.problem_mark = event.start_mark  # type: ignore[assignment]  # the stubs know two Marks
    return error


def _field(path: Path) -> str:
    """Return `quotas[3].nominal` for `("quotas", 3, "nominal")`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "(the file)"


def _build(
    raw: Mapping[str, Any], revision: int, broken: frozenset[str]
) -> tuple[Policy, list[tuple[Path, str]]]:
    """Return the policy of all sections that the schema accepts; broken ones are empty."""
    unreadable: list[tuple[Path, str]] = []

    def rows(section: str) -> tuple[Any, ...]:
        built = []
        for index, row in enumerate(() if section in broken else raw.get(section, ())):
            try:
                built.append(_ROWS[section](row))
            except ValueError as error:
                unreadable.append(((section, index), str(error)))
        return tuple(built)

    tiers = {} if "tiers" in broken else raw.get("tiers", {})
    rules = {} if "rules" in broken else raw.get("rules", {})
    made = {section: rows(section) for section in _SECTIONS}
    # Newest first, before the built-in table: the first valid row of a model counts.
    added = sorted(made.pop("hardware"), key=lambda row: row.valid_from, reverse=True)
    agreements = tuple(_with_notice(a, made["pools"], tiers) for a in made.pop("agreements"))
    policy = Policy(
        revision=revision,
        tiers=tuple((Tier(name), _tier(row)) for name, row in tiers.items()),
        hardware=(*added, *hardware.TABLE),
        rules=Rules(**{name: _knob(value) for name, value in rules.items()}),
        agreements=agreements,
        **made,
    )
    return policy, unreadable


def duration(text: str) -> timedelta:
    """Return the time that `30s`, `10m`, `2h` or `14d` says."""
    return timedelta(**{_UNITS[text[-1]]: int(text[:-1])})


def instant(text: str) -> datetime:
    """Return an aware UTC instant; a date is its midnight.

    Raises:
        ValueError: no such day or time.
    """
    try:
        value = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"'{text}' is no instant: {error}") from error
    if value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    return value.astimezone(UTC)


def _knob(value: Any) -> Any:  # noqa: ANN401  # the schema has checked each knob's type
    return duration(value) if isinstance(value, str) else value


def _tier(row: Mapping[str, str]) -> TierRules:
    return TierRules(**{name: duration(value) for name, value in row.items()})


def _account(row: Mapping[str, Any]) -> Account:
    return Account(
        name=AccountName(row["name"]),
        parent=row.get("parent"),
        sector=Sector(row["sector"]),
        weight=row.get("weight", 1),
        members=frozenset(row.get("members", ())),
    )


def _user(row: Mapping[str, Any]) -> User:
    labels = frozenset(row.get("labels", ("public",)))
    return User(row["name"], labels, row.get("max_gpus"), row.get("max_pending"))


def _pool(row: Mapping[str, Any]) -> Pool:
    return Pool(
        id=PoolId(row["id"]),
        site=SiteId(row["site"]),
        tier=Tier(row["tier"]),
        owner=AccountName(row["owner"]),
        gpu_model=row["gpu_model"],
        gpus_per_node=row["gpus_per_node"],
        node_count=row["node_count"],
        labels=frozenset(row.get("labels", ("public",))),
        backend=Backend(row.get("backend", "ray_private")),
    )


def _quota(row: Mapping[str, Any]) -> Quota:
    lend_max = row.get("lend_max", row["nominal"])
    return Quota(row["account"], row["pool"], row["nominal"], lend_max, row.get("borrow_max", 0))


_TIERS_NOTICE = timedelta(-1)


def _agreement(row: Mapping[str, Any]) -> Agreement:
    borrower = row["borrower"]
    notice = row.get("recall_notice")
    return Agreement(
        id=AgreementId(row["id"]),
        lender=AccountName(row["lender"]),
        borrower=Sector(borrower["sector"]) if "sector" in borrower else borrower["account"],
        pools=frozenset(row["pools"]),
        cap=row["cap"],
        recall_notice=_TIERS_NOTICE if notice is None else duration(notice),
        valid_from=instant(row["valid_from"]),
        valid_to=instant(row["valid_to"]),
    )


def _with_notice(
    agreement: Agreement, pools: tuple[Pool, ...], tiers: Mapping[str, Any]
) -> Agreement:
    """Fill in a notice that was left out: the longest of its pools' tiers."""
    if agreement.recall_notice != _TIERS_NOTICE:
        return agreement
    known = [p.tier.value for p in pools if p.id in agreement.pools and p.tier.value in tiers]
    longest = max((duration(tiers[tier]["notice"]) for tier in known), default=timedelta(0))
    return Agreement(
        **{
            **{name: getattr(agreement, name) for name in agreement.__slots__},
            "recall_notice": longest,
        }
    )


def _hardware(row: Mapping[str, Any]) -> Hardware:
    ends = row.get("valid_to")
    return Hardware(
        model=row["model"],
        form_factor=row.get("form_factor", ""),
        precision=row.get("precision", "bf16"),
        dense_tflops=row.get("dense_tflops", 0.0),
        memory_gib=row["memory_gib"],
        factor=row["factor"],
        valid_from=instant(row["valid_from"]),
        valid_to=instant(ends) if ends else None,
        source=row["source"],
    )


_ROWS = {
    "users": _user,
    "accounts": _account,
    "sites": lambda row: Site(SiteId(row["id"]), row.get("name", row["id"])),
    "pools": _pool,
    "quotas": _quota,
    "agreements": _agreement,
    "hardware": _hardware,
}
