"""How large and how long a job may be: the limits that depend on where it may run (R1, R6, R15)."""

from collections.abc import Sequence
from datetime import timedelta

from scheduler.core import hardware
from scheduler.core.asking import Case, Refusal
from scheduler.core.eligibility import Fit
from scheduler.core.model import Pool


def gang(case: Case) -> Refusal | None:
    """Refuse a gang that could not start in any one pool, empty, that its other fields allow."""
    ask = case.ask
    if ask.h100e < 0:
        detail = "H100-equivalents are counted from zero"
        return Refusal("h100e", str(ask.h100e), "0 or more", "leave it out", detail)
    if ask.h100e and (ask.nodes, ask.gpus_per_node) != (1, 1):
        detail = "a job asks for nodes and GPUs, or for H100-equivalents wherever they are"
        step = "leave out nodes and gpus_per_node, or h100e"
        return Refusal("h100e", str(ask.h100e), "without nodes and gpus_per_node", step, detail)
    allowed = case.allowed
    if ask.h100e:
        return _equivalents(case, allowed) if allowed else _nowhere(case)
    # What is too large for everybody is told first, wherever it might go.
    return _too_many_gpus(case, case.shape.gpus) or _plain(case, allowed)


def _too_many_gpus(case: Case, gpus: int) -> Refusal | None:
    user, most = case.user, case.rules.policy.rules.max_gpus_per_job
    if gpus > most:
        limit = f"max_gpus_per_job: {most}"
        return _too_large("nodes", case, limit, f"no job may hold {gpus} GPUs")
    if user.max_gpus is not None and gpus > user.max_gpus:
        limit = f"GPUs of {user.name}: {user.max_gpus}"
        return _too_large("nodes", case, limit, f"'{user.name}' may not hold {gpus} GPUs")
    return None


def _plain(case: Case, allowed: Sequence[Pool]) -> Refusal | None:
    ask = case.ask
    if not allowed:
        return _nowhere(case)
    widest = max(pool.gpus_per_node for pool in allowed)
    if ask.gpus_per_node > widest:
        limit = f"largest node it may use: {widest} GPUs"
        return _too_large("gpus_per_node", case, limit, "no allowed pool has nodes that large")
    wide = [pool for pool in allowed if pool.gpus_per_node >= ask.gpus_per_node]
    most = max(_nodes(case, pool) for pool in wide)
    if ask.nodes > most:
        where = "reservation" if ask.reservation else "largest pool it may use"
        limit = f"nodes of the {where}: {most}"
        detail = f"a gang starts on {ask.nodes} different nodes of one pool, or not at all"
        return _too_large("nodes", case, limit, detail)
    return None


def _nodes(case: Case, pool: Pool) -> int:
    kept = case.reservation
    return pool.node_count if kept is None else min(kept.node_count, pool.node_count)


def _equivalents(case: Case, allowed: Sequence[Pool]) -> Refusal | None:
    """So many H100e need a pool that is large enough with its own model (R15)."""
    sizes = {pool: case.rules.size(case.shape, pool) for pool in allowed}
    fitting = [fit for pool, fit in sizes.items() if fit.nodes <= _nodes(case, pool)]
    if not fitting:
        most = max(_h100e(case, pool) for pool in allowed)
        limit = f"H100e of the largest pool it may use: {most}"
        detail = "no pool that it may use has so many H100-equivalents"
        return _too_large("h100e", case, limit, detail)
    return _too_many_gpus(case, min(fit.gpus for fit in fitting))


def _h100e(case: Case, pool: Pool) -> int:
    row = case.rules.rows.get(pool.gpu_model)
    factor = row.factor if row else hardware.H100E
    return _nodes(case, pool) * pool.gpus_per_node * factor // hardware.H100E


def _nowhere(case: Case) -> Refusal:
    """No pool passes all the other rules at once: told by the narrowest field asked for."""
    ask = case.ask
    given = (
        ("reservation", ask.reservation or ""),
        ("gpu_models", ", ".join(sorted(ask.gpu_models))),
        ("memory_gib", str(ask.memory_gib or "")),
        ("software", ", ".join(sorted(ask.software))),
        ("tier", ", ".join(ask.tiers)),
        ("label", ask.label),
    )
    field, value = next((field, value) for field, value in given if value)
    return Refusal(
        field,
        value,
        "one pool must allow tier, label, sector, GPU model, memory and software together",
        "ask for fewer restrictions; `commonpool pools` shows what each pool allows",
        "no pool allows all that the job asks for together",
    )


def _too_large(field: str, case: Case, limit: str, detail: str) -> Refusal:
    # GPUs per job are limited whichever way they were asked for.
    field = "h100e" if case.ask.h100e else field
    value = str(getattr(case.ask, field))
    return Refusal(field, value, limit, "ask for fewer nodes or GPUs", detail)


def time_limit(case: Case) -> timedelta | Refusal:
    """Return the limit: the one asked for, or the default of the lowest tier that can hold it."""
    ask, rules = case.ask, case.rules.tier_rules
    fitting = [p for p in case.allowed if _holds(case, p, case.rules.size(case.shape, p))]
    tiers = sorted({p.tier for p in fitting}, key=lambda tier: tier.rank)
    longest = max(rules[tier].max_time_limit for tier in tiers)
    default, what = rules[tiers[0]].default_time_limit, "tier"
    if case.reservation is not None:
        window = case.reservation.ends_at - case.reservation.starts_at
        if window < longest:
            longest, what = window, "reservation"
        default = min(default, longest)
    if ask.time_limit is None:
        return default
    if timedelta(0) < ask.time_limit <= longest:
        return ask.time_limit
    return Refusal(
        "time_limit",
        f"{ask.time_limit.total_seconds():.0f}s",
        f"longest limit of a {what} it may use: {longest.total_seconds():.0f}s",
        "ask for a limit within this, and checkpoint to continue in a next job",
        f"the time limit is longer than any {what} allows",
    )


def _holds(case: Case, pool: Pool, fit: Fit) -> bool:
    most = case.rules.policy.rules.max_gpus_per_job
    fits = fit.gpus_per_node <= pool.gpus_per_node and fit.nodes <= _nodes(case, pool)
    return fits and (not case.ask.h100e or fit.gpus <= most)
