"""Small worlds for tests: state only what matters, everything else has a plain default."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from scheduler.core import hardware
from scheduler.core.model import (
    Account,
    AccountName,
    Agreement,
    AgreementId,
    Backend,
    Budget,
    BudgetId,
    Gpu,
    Job,
    JobId,
    Label,
    Node,
    NodeId,
    Pool,
    PoolId,
    PriorityClass,
    Quota,
    QuotaClass,
    Reservation,
    ReservationId,
    Run,
    RunState,
    Sector,
    Shape,
    Site,
    SiteId,
    Slot,
    Tier,
    User,
    run_id,
)
from scheduler.core.policy import Policy, Rules, TierRules
from scheduler.core.snapshot import Snapshot

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

TIERS = (
    (Tier.TEAM, TierRules(10 * MINUTE, 7 * DAY, timedelta(seconds=60))),
    (Tier.INSTITUTION, TierRules(10 * MINUTE, 14 * DAY, 10 * MINUTE)),
    (Tier.NATIONAL, TierRules(10 * MINUTE, 30 * DAY, 30 * MINUTE)),
    (Tier.FRONTIER, TierRules(HOUR, 60 * DAY, 30 * MINUTE)),
)


def account(name: str, parent: str | None = "national", **more: Any) -> Account:
    """Return an account; academic, unless said otherwise."""
    members = frozenset(more.pop("members", ()))
    sector = Sector(more.pop("sector", "academic"))
    above = AccountName(parent) if parent else None
    return Account(AccountName(name), above, sector, members=members, **more)


def pool(name: str = "hub", owner: str = "national", nodes: int = 2, **more: Any) -> Pool:
    """Return a pool of nodes with 8 H100; national, private, public."""
    defaults: dict[str, Any] = {
        "site": SiteId("site"),
        "tier": Tier.NATIONAL,
        "gpu_model": "H100",
        "gpus_per_node": 8,
        "backend": Backend.RAY_PRIVATE,
    }
    settings = {**defaults, **more}
    return Pool(id=PoolId(name), owner=AccountName(owner), node_count=nodes, **settings)


def quota(
    who: str, nominal: int, lend: int | None = None, borrow: int = 0, where: str = "hub"
) -> Quota:
    """Return a quota row; everything is lent while idle, unless said otherwise."""
    lend_max = nominal if lend is None else lend
    return Quota(AccountName(who), PoolId(where), nominal, lend_max, borrow)


def agreement(name: str, lender: str, borrower: str | Sector, **more: Any) -> Agreement:
    """Return an agreement on the pool `hub` that is valid all through 2026."""
    defaults: dict[str, Any] = {
        "pools": frozenset({PoolId("hub")}),
        "cap": 8,
        "recall_notice": timedelta(seconds=30),
        "valid_from": datetime(2026, 1, 1, tzinfo=UTC),
        "valid_to": datetime(2027, 1, 1, tzinfo=UTC),
    }
    who = borrower if isinstance(borrower, Sector) else AccountName(borrower)
    return Agreement(AgreementId(name), AccountName(lender), who, **{**defaults, **more})


def label(name: str, level: int = 0, *compartments: str) -> Label:
    """Return a label's place in the lattice."""
    return Label(name, level, frozenset(compartments))


def budget(name: str, who: str, h100e_hours: int, **more: Any) -> Budget:
    """Return a budget for all of 2026."""
    year = {
        "valid_from": datetime(2026, 1, 1, tzinfo=UTC),
        "valid_to": datetime(2027, 1, 1, tzinfo=UTC),
    }
    return Budget(BudgetId(name), AccountName(who), h100e_hours, **{**year, **more})


def reservation(name: str, who: str | None = None, count: int = 1, **more: Any) -> Reservation:
    """Return nodes of `hub` kept for an hour from NOON; maintenance where nobody is named."""
    whom = AccountName(who) if who else None
    at = {"pool": PoolId("hub"), "starts_at": NOON, "ends_at": NOON + HOUR}
    return Reservation(id=ReservationId(name), account=whom, node_count=count, **{**at, **more})


def hardware_row(model: str, **more: Any) -> hardware.Hardware:
    """Return a row of the hardware table that is like an H100's, since always."""
    like = {field: getattr(hardware.TABLE[0], field) for field in hardware.TABLE[0].__slots__}
    return hardware.Hardware(**{**like, "model": model, **more})


def policy(
    accounts: Iterable[Account] = (),
    pools: Iterable[Pool] = (),
    quotas: Iterable[Quota] = (),
    **more: Any,
) -> Policy:
    """Return a policy; without accounts, one root that is also the only queue."""
    pools = tuple(pools) or (pool(),)
    defaults: dict[str, Any] = {
        "revision": 1,
        "sites": tuple(Site(site, site) for site in sorted({p.site for p in pools})),
        "users": (),
        "agreements": (),
        "tiers": TIERS,
        "hardware": hardware.TABLE,
        "rules": Rules(),
    }
    rows = tuple(accounts) or (account("national", None),)
    return Policy(accounts=rows, pools=pools, quotas=tuple(quotas), **{**defaults, **more})


def user(name: str, **more: Any) -> User:
    """Return a person who may handle public data."""
    return User(name, **more)


def node(name: str, where: str = "hub", gpus: int = 8, **more: Any) -> Node:
    """Return a usable node."""
    ids = tuple(Gpu(i, f"{name}-{i}") for i in range(gpus))
    return Node(NodeId(name), PoolId(where), ids, **more)


def nodes(where: str = "hub", count: int = 2, gpus: int = 8, **more: Any) -> list[Node]:
    """Return like nodes `hub-1`, `hub-2`, ..."""
    return [node(f"{where}-{n}", where, gpus, **more) for n in range(1, count + 1)]


def shape(count: int = 1, gpus: int = 1, **more: Any) -> Shape:
    """Return `count` nodes x `gpus`."""
    return Shape(count, gpus, **more)


def job(name: str, who: str = "national", gpus: int = 1, count: int = 1, **more: Any) -> Job:
    """Return a waiting job: submitted at NOON, limited to an hour.

    Fields of `Shape` may be given too.
    """
    fields = {key: more.pop(key) for key in list(more) if key in Shape.__slots__}
    if more.get("priority") is PriorityClass.BACKGROUND:
        fields["background"] = True
    defaults: dict[str, Any] = {
        "user": "alex",
        "priority": PriorityClass.STANDARD,
        "submitted_at": NOON,
        "sequence": int("".join(c for c in name if c.isdigit()) or 0),
        "time_limit": HOUR,
    }
    return Job(
        id=JobId(name),
        account=AccountName(who),
        shape=Shape(count, gpus, **fields),
        **{**defaults, **more},
    )


def run(
    name: str, who: str, slots: Mapping[str, Iterable[int]], where: str = "hub", **more: Any
) -> Run:
    """Return an in-quota run since NOON with an hour's limit, on GPUs by node."""
    held = tuple(Slot(NodeId(n), tuple(gpus)) for n, gpus in sorted(slots.items()))
    fields = {key: more.pop(key) for key in list(more) if key in Shape.__slots__}
    since = more.pop("since", NOON)
    limit = more.pop("limit", HOUR)
    per_node = len(held[0].gpus)
    defaults: dict[str, Any] = {
        "attempt": 1,
        "user": "alex",
        "quota_class": QuotaClass.IN_QUOTA,
        "priority": PriorityClass.STANDARD,
        "state": RunState.RUNNING,
        "token": 1,
        "leased_at": since,
        "started_at": since,
        "ends_by": since + limit,
        "time_limit": limit,
        "sequence": 0,
        "submitted_at": since,
    }
    return Run(
        id=run_id(JobId(name), 1),
        job=JobId(name),
        account=AccountName(who),
        pool=PoolId(where),
        shape=Shape(len(held), per_node, **fields),
        slots=held,
        **{**defaults, **more},
    )


def snapshot(*things: Any) -> Snapshot:
    """Return a snapshot of jobs, runs, nodes (or lists of them) and usages."""
    flat = [x for thing in things for x in (thing if isinstance(thing, list) else [thing])]
    return Snapshot(
        jobs={x.id: x for x in flat if isinstance(x, Job)},
        runs={x.id: x for x in flat if isinstance(x, Run)},
        nodes={x.id: x for x in flat if isinstance(x, Node)},
        usage={x.account: x for x in flat if type(x).__name__ == "Usage"},
    )
