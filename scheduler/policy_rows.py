"""From the plain values of a policy's text, once the schema accepts them, to the policy.

A row whose values contradict themselves is told by where it stands and left out, with its
whole section: nothing else is judged by half a section.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

from scheduler.core import hardware
from scheduler.core.hardware import Hardware
from scheduler.core.model import (
    Account,
    AccountName,
    Agreement,
    AgreementId,
    Backend,
    Budget,
    BudgetId,
    JobId,
    Label,
    NodeId,
    Pool,
    PoolId,
    Quota,
    Reservation,
    ReservationId,
    Sector,
    Site,
    SiteId,
    Tier,
    User,
)
from scheduler.core.policy import Policy, Rules, TierRules
from scheduler.core.policy_found import ACCOUNT_PEOPLE, Found
from scheduler.core.request_kinds import ApprovalRule, RequestKind, rule_for
from scheduler.core.thresholds import Crossing, Threshold, pflop_of

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def policy(
    raw: Mapping[str, Any], revision: int, broken: frozenset[str]
) -> tuple[Policy, list[Found]]:
    """Return the policy of all sections that the schema accepts; `broken` ones are empty."""
    read = _Reader({name: rows for name, rows in raw.items() if name not in broken})
    made = {section: read.rows(section) for section in _ROWS}
    tiers: Mapping[str, Any] = read.raw.get("tiers", {})
    pools: tuple[Pool, ...] = made["pools"]
    kept = made.pop("reservations") + made.pop("maintenance")
    read.found.extend(_same_day(made["hardware"]))
    read.found.extend(_same_kind(made["approvals"]))
    # Newest first, before the built-in table: the first valid row of a model counts.
    added = sorted(made.pop("hardware"), key=lambda row: row.valid_from, reverse=True)
    return Policy(
        revision=revision,
        tiers=tuple((Tier(name), _tier(row)) for name, row in tiers.items()),
        hardware=(*added, *hardware.TABLE),
        rules=_rules(read.raw.get("rules", {})),
        agreements=tuple(_with_notice(a, pools, tiers) for a in made.pop("agreements")),
        reservations=tuple(_with_nodes(r, pools) for r in kept),
        **made,
    ), read.found


@dataclass(frozen=True, slots=True)
class _Reader:
    """The sections as they were written, and the rows that could not be read."""

    raw: Mapping[str, Any]
    found: list[Found] = field(default_factory=list)

    def rows(self, section: str) -> tuple[Any, ...]:
        built = []
        for index, row in enumerate(self.raw.get(section, ())):
            try:
                built.append(_ROWS[section](row))
            except ValueError as error:
                self.found.append(Found((section, index), str(error)))
        return tuple(built)


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
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"'{text}' is no instant: {error}") from error


def _rules(row: Mapping[str, Any]) -> Rules:
    """Return the rules; a knob that is left out has its default, from `Rules` itself."""
    kinds = {knob.name: type(knob.default) for knob in fields(Rules)}
    return Rules(**{name: _knob(kinds[name], value) for name, value in row.items()})


def _knob(kind: type, value: Any) -> Any:  # noqa: ANN401  # the schema has checked its type
    if kind is timedelta:
        return duration(value)
    return kind(value) if issubclass(kind, Enum) else value


def _tier(row: Mapping[str, str]) -> TierRules:
    return TierRules(**{name: duration(value) for name, value in row.items()})


def _account(row: Mapping[str, Any]) -> Account:
    return Account(
        name=AccountName(row["name"]),
        parent=row.get("parent"),
        sector=Sector(row["sector"]),
        weight=row.get("weight", 1),
        **{people: frozenset(row.get(people, ())) for people in ACCOUNT_PEOPLE},
    )


def _user(row: Mapping[str, Any]) -> User:
    labels = frozenset(row.get("labels", ("public",)))
    limits = row.get("max_gpus"), row.get("max_pending")
    return User(row["name"], labels, *limits, email=row.get("email", ""))


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
        sectors=frozenset(Sector(sector) for sector in row.get("sectors", ())),
        software=frozenset(row.get("software", ())),
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
    return replace(agreement, recall_notice=longest)


def _label(row: Mapping[str, Any]) -> Label:
    return Label(row["name"], row["level"], frozenset(row.get("compartments", ())))


def _budget(row: Mapping[str, Any]) -> Budget:
    return Budget(
        id=BudgetId(row["id"]),
        account=AccountName(row["account"]),
        h100e_hours=row["h100e_hours"],
        valid_from=instant(row["valid_from"]),
        valid_to=instant(row["valid_to"]),
    )


_WHOLE_POOL = 0


def _reservation(row: Mapping[str, Any]) -> Reservation:
    if ("nodes" in row) == ("node_count" in row):
        raise ValueError("say either node_count, or nodes by name")
    return _kept(row, AccountName(row["account"]))


def _maintenance(row: Mapping[str, Any]) -> Reservation:
    if "nodes" in row and "node_count" in row:
        raise ValueError("say either node_count, or nodes by name, or neither for the whole pool")
    return _kept(row, None)


def _kept(row: Mapping[str, Any], account: AccountName | None) -> Reservation:
    nodes = frozenset(NodeId(name) for name in row.get("nodes", ()))
    no_show = {"no_show": duration(row["no_show"])} if "no_show" in row else {}
    return Reservation(
        id=ReservationId(row["id"]),
        pool=PoolId(row["pool"]),
        account=account,
        node_count=len(nodes) or row.get("node_count", _WHOLE_POOL),
        starts_at=instant(row["starts_at"]),
        ends_at=instant(row["ends_at"]),
        nodes=nodes,
        reason=row.get("reason", ""),
        **no_show,
    )


def _with_nodes(kept: Reservation, pools: Sequence[Pool]) -> Reservation:
    """Fill in the nodes of maintenance that names none: all of its pool."""
    if kept.node_count != _WHOLE_POOL:
        return kept
    there = next((pool.node_count for pool in pools if pool.id == kept.pool), 1)
    return replace(kept, node_count=there)


def _same_day(rows: Sequence[Hardware]) -> Iterator[Found]:
    """Two rows of one model from one day on: which of them counts is unclear (R15)."""
    seen: set[tuple[str, datetime]] = set()
    for index, row in enumerate(rows):
        if (row.model, row.valid_from) in seen:
            at = ("hardware", index, "valid_from")
            yield Found(at, f"there is a row for {row.model} from that day on already")
        seen.add((row.model, row.valid_from))


def _hardware(row: Mapping[str, Any]) -> Hardware:
    begins, ends = instant(row["valid_from"]), row.get("valid_to")
    if ends is not None and instant(ends) <= begins:
        raise ValueError("valid_to is not after valid_from")
    return Hardware(
        model=row["model"],
        form_factor=row.get("form_factor", ""),
        precision=row.get("precision", "bf16"),
        dense_tflops=row.get("dense_tflops", 0.0),
        memory_gib=row["memory_gib"],
        factor=row["factor"],
        valid_from=begins,
        valid_to=None if ends is None else instant(ends),
        source=row["source"],
    )


def _approval(row: Mapping[str, Any]) -> ApprovalRule:
    usual = rule_for((), RequestKind(row["kind"]))
    approvers = row.get("approvers", max(usual.approvers, row.get("institutions", 1)))
    institutions = row.get("institutions", min(usual.institutions, approvers))
    if institutions > approvers:
        raise ValueError(f"{approvers} approvers cannot be from {institutions} institutions")
    expires = duration(row["expires"]) if "expires" in row else usual.expires
    return ApprovalRule(usual.kind, approvers, institutions, expires)


def _threshold(row: Mapping[str, Any]) -> Threshold:
    return Threshold(row["name"], _pflop(row), *_period(row), source=row.get("source", ""))


def _crossing(row: Mapping[str, Any]) -> Crossing:
    return Crossing(
        AccountName(row["account"]),
        row["model_line"],
        row["threshold"],
        _pflop(row),
        *_period(row),
        job=JobId(row["job"]) if "job" in row else None,
    )


def _pflop(row: Mapping[str, Any]) -> int:
    # YAML reads 1e26 as text, and 1.0e+26 as a number; people write both.
    return pflop_of(float(row["flop"]))


def _period(row: Mapping[str, Any]) -> tuple[datetime | None, datetime | None]:
    ends = (row.get(name) for name in ("valid_from", "valid_to"))
    begin, end = (None if at is None else instant(at) for at in ends)
    return begin, end


def _same_kind(rows: Sequence[ApprovalRule]) -> Iterator[Found]:
    """Two rules of one kind of request: which of them counts is unclear."""
    kinds = [row.kind for row in rows]
    for index, kind in enumerate(kinds):
        if kind in kinds[:index]:
            yield Found(("approvals", index, "kind"), f"there is a rule for {kind} already")


_ROWS: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "users": _user,
    "accounts": _account,
    "sites": lambda row: Site(SiteId(row["id"]), row.get("name", row["id"])),
    "pools": _pool,
    "quotas": _quota,
    "agreements": _agreement,
    "hardware": _hardware,
    "labels": _label,
    "budgets": _budget,
    "reservations": _reservation,
    "maintenance": _maintenance,
    "approvals": _approval,
    "thresholds": _threshold,
    "crossings": _crossing,
}
