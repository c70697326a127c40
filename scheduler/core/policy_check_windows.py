"""Budgets and reservations that contradict each other: two at one time, or more than there is."""

from collections.abc import Iterator, Mapping

from scheduler.core.model import AccountName, Budget, Pool, PoolId, Reservation
from scheduler.core.policy import Policy
from scheduler.core.policy_found import Found, Path, not_backwards, not_too_long

_YEARS = range(1970, 3000)  # of windows


def budgets(policy: Policy) -> Iterator[Found]:
    """One budget per account at a time (R4). A child's may be beyond its parent's: both bind."""
    accounts = {a.name for a in policy.accounts}
    for index, budget in enumerate(policy.budgets):
        at = ("budgets", index)
        if budget.account not in accounts:
            yield Found((*at, "account"), f"no account is named '{budget.account}'")
        yield from not_backwards(
            at, ("valid_from", budget.valid_from), ("valid_to", budget.valid_to)
        )
    latest: dict[AccountName, Budget] = {}
    in_time = sorted(enumerate(policy.budgets), key=lambda one: (one[1].valid_from, one[0]))
    for index, budget in in_time:
        before = latest.get(budget.account)
        if before is not None and budget.valid_from < before.valid_to:
            yield Found(
                ("budgets", index, "valid_from"),
                f"'{budget.id}' begins before '{before.id}' of '{budget.account}' ends "
                f"({before.valid_to.isoformat()}); an account has one budget at a time",
            )
        if before is None or budget.valid_to > before.valid_to:
            latest[budget.account] = budget


def placed(policy: Policy) -> Iterator[tuple[Path, Reservation]]:
    """Yield each reservation with where it is written: those of nobody are `maintenance`."""
    numbers = {"reservations": 0, "maintenance": 0}
    for kept in policy.reservations:
        section = "maintenance" if kept.account is None else "reservations"
        yield (section, numbers[section]), kept
        numbers[section] += 1


def reservations(policy: Policy) -> Iterator[Found]:
    """Reservations and maintenance one by one, then those that would take the same nodes (R7)."""
    accounts = {a.name for a in policy.accounts}
    pools = {p.id: p for p in policy.pools}
    for at, kept in placed(policy):
        if kept.account is not None and kept.account not in accounts:
            yield Found((*at, "account"), f"no account is named '{kept.account}'")
        yield from not_backwards(at, ("starts_at", kept.starts_at), ("ends_at", kept.ends_at))
        yield from _in_our_time(at, kept)
        yield from not_too_long((*at, "no_show"), kept.no_show)
        if kept.pool not in pools:
            yield Found((*at, "pool"), f"no pool is named '{kept.pool}'")
        elif kept.node_count > pools[kept.pool].node_count:
            yield Found(
                (*at, "nodes" if kept.nodes else "node_count"),
                f"{kept.node_count} nodes, but '{kept.pool}' has {pools[kept.pool].node_count}",
            )
    yield from _taken_twice(policy, pools)


def _in_our_time(at: Path, kept: Reservation) -> Iterator[Found]:
    """Find a window that planning cannot reckon with: what starts after it still has to end."""
    for field, instant in (("starts_at", kept.starts_at), ("ends_at", kept.ends_at)):
        if instant.year not in _YEARS:
            told = f"{instant.isoformat()} is not in the years {_YEARS[0]} to {_YEARS[-1]}"
            yield Found((*at, field), told)


def _taken_twice(policy: Policy, pools: Mapping[PoolId, Pool]) -> Iterator[Found]:
    """Go through all starts in time; what does not fit beside what is open then is told."""
    active: dict[PoolId, list[Reservation]] = {}
    for at, kept in sorted(placed(policy), key=lambda one: (one[1].starts_at, one[0])):
        pool = pools.get(kept.pool)
        if pool is None or kept.node_count > pool.node_count:
            continue
        beside = [r for r in active.get(kept.pool, ()) if r.ends_at > kept.starts_at]
        clash = _clash(kept, beside, pool)
        if clash is None:
            beside.append(kept)
        else:
            yield Found((*at, "starts_at"), clash)
        active[kept.pool] = beside


def _clash(kept: Reservation, beside: list[Reservation], pool: Pool) -> str | None:
    for other in beside:
        shared = sorted(kept.nodes & other.nodes)
        if shared:
            return (
                f"'{other.id}' has {', '.join(shared)} until {other.ends_at.isoformat()}; "
                "reservations never overlap"
            )
    total = kept.node_count + sum(other.node_count for other in beside)
    if total <= pool.node_count:
        return None
    others = ", ".join(f"'{other.id}'" for other in beside)
    return (
        f"with {others} at the same time, {total} nodes of '{pool.id}' would be taken, "
        f"which has {pool.node_count}"
    )
