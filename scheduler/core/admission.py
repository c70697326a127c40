"""May this job wait in the queue at all? Yes, with every default filled in, or the limit it meets.

Only what can never come true is refused here; what may come true later (room, quota,
an agreement) makes a job wait, with verdicts. A job is refused for the first limit
that it meets, in the order of `_CHECKS`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from scheduler.core.model import (
    Account,
    Pool,
    PriorityClass,
    ReservationId,
    Shape,
    Tier,
    User,
)
from scheduler.core.policy import Policy


@dataclass(frozen=True, slots=True)
class Ask:
    """What a person asks for, before any default.

    `tiers` is empty (team to national), one tier (only that) or lowest and highest.
    """

    user: str
    account: str | None = None
    nodes: int = 1
    gpus_per_node: int = 1
    gpu_models: frozenset[str] = frozenset()
    tiers: tuple[Tier, ...] = ()
    label: str = "public"
    priority: PriorityClass = PriorityClass.STANDARD
    preemptible: bool = True
    time_limit: timedelta | None = None
    memory_gib: int = 0
    h100e: int = 0
    software: frozenset[str] = frozenset()
    reservation: ReservationId | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class Admitted:
    """The job may wait: its account, what placement looks at, and its limit."""

    account: Account
    shape: Shape
    priority: PriorityClass
    time_limit: timedelta


@dataclass(frozen=True, slots=True)
class Refusal:
    """The job cannot wait: which field, its value, the limit it meets and what to do."""

    field: str
    value: str
    limit: str
    next_step: str
    detail: str


def check(ask: Ask, policy: Policy, pending_of_user: int) -> Admitted | Refusal:
    """Return the job as it will wait, or the first limit that it meets."""
    user = next((u for u in policy.users if u.name == ask.user), None)
    if user is None:
        return Refusal(
            "user",
            ask.user,
            "users named in the policy",
            "ask an administrator to add you to the policy",
            f"'{ask.user}' is not named in the policy",
        )
    account = _account(ask, policy)
    if isinstance(account, Refusal):
        return account
    for limit in _CHECKS:
        refusal = limit(ask, user, policy)
        if refusal is not None:
            return refusal
    refusal = _too_many_pending(user, policy, pending_of_user)
    if refusal is not None:
        return refusal
    time_limit = _time_limit(ask, policy)
    if isinstance(time_limit, Refusal):
        return time_limit
    return Admitted(account, _shape(ask), ask.priority, time_limit)


def _account(ask: Ask, policy: Policy) -> Account | Refusal:
    """Resolve the account: the one named, or the only one that the person belongs to."""
    own = [a for a in policy.accounts if ask.user in a.members]
    names = ", ".join(a.name for a in own) or "none"
    if ask.account is None:
        if len(own) == 1:
            return own[0]
        return Refusal(
            "account",
            "",
            f"accounts of {ask.user}: {names}",
            "name one of them" if own else "ask an administrator to make you a member",
            f"'{ask.user}' belongs to {len(own)} accounts, so the job must say which",
        )
    found = next((a for a in policy.accounts if a.name == ask.account), None)
    if found is not None and found in own:
        return found
    if found is not None and any(a.parent == found.name for a in policy.accounts):
        detail = f"'{found.name}' has accounts below it; only accounts without any hold queues"
    elif found is not None:
        detail = f"'{ask.user}' is not a member of '{found.name}'"
    else:
        detail = f"no account is named '{ask.account}'"
    step = "name one of them, or leave it out" if own else "ask to be made a member"
    return Refusal("account", ask.account, f"accounts of {ask.user}: {names}", step, detail)


def _label(ask: Ask, user: User, policy: Policy) -> Refusal | None:
    """Default deny: the person and at least one pool must be cleared for the label (R14)."""
    if ask.label not in user.labels:
        return Refusal(
            "label",
            ask.label,
            f"labels of {user.name}: {', '.join(sorted(user.labels)) or 'none'}",
            "use one of these labels, or ask an administrator for the clearance",
            f"'{user.name}' may not handle data labelled '{ask.label}'",
        )
    accredited = sorted({label for pool in policy.pools for label in pool.labels})
    if ask.label not in accredited:
        return Refusal(
            "label",
            ask.label,
            f"labels of all pools: {', '.join(accredited)}",
            "use one of these labels",
            f"no pool is accredited for '{ask.label}'",
        )
    return None


def _classes(ask: Ask, _: User, __: Policy) -> Refusal | None:
    if ask.preemptible or ask.priority is not PriorityClass.BACKGROUND:
        return None
    return Refusal(
        "preemptible",
        "false",
        "background jobs are always preemptible",
        "leave preemptible out, or choose another priority",
        "a background job costs nothing and can be ended at any time",
    )


def _tiers(ask: Ask, _: User, policy: Policy) -> Refusal | None:
    lowest, highest = span(ask.tiers)
    there = sorted({pool.tier for pool in policy.pools}, key=lambda tier: tier.rank)
    limit = f"tiers with pools: {', '.join(there)}"
    value = ", ".join(ask.tiers)
    if lowest.rank > highest.rank:
        detail = f"the lowest tier '{lowest}' is above the highest tier '{highest}'"
        return Refusal("tier", value, limit, "name the lower tier first", detail)
    if not any(lowest.rank <= tier.rank <= highest.rank for tier in there):
        detail = f"no pool is between tier '{lowest}' and tier '{highest}'"
        return Refusal("tier", value, limit, "name tiers that have pools", detail)
    return None


def _models(ask: Ask, _: User, policy: Policy) -> Refusal | None:
    """Any of the models asked for is enough, but a model that nobody has is a typing error."""
    there = sorted({pool.gpu_model for pool in policy.pools})
    missing = sorted(ask.gpu_models - set(there))
    if not missing:
        return None
    return Refusal(
        "gpu_models",
        ", ".join(missing),
        f"GPU models of all pools: {', '.join(there)}",
        "name one of these models, or leave it out for any",
        f"no pool has {' or '.join(missing)} GPUs",
    )


def _gang(ask: Ask, user: User, policy: Policy) -> Refusal | None:
    """The whole gang must fit into one pool, empty, that its other fields allow."""
    gpus = ask.nodes * ask.gpus_per_node
    if gpus > policy.rules.max_gpus_per_job:
        limit = f"max_gpus_per_job: {policy.rules.max_gpus_per_job}"
        return _too_large("nodes", ask, limit, f"no job may hold {gpus} GPUs")
    if user.max_gpus is not None and gpus > user.max_gpus:
        limit = f"GPUs of {user.name}: {user.max_gpus}"
        return _too_large("nodes", ask, limit, f"'{user.name}' may not hold {gpus} GPUs")
    allowed = [pool for pool in policy.pools if _allows(ask, pool)]
    if not allowed:
        return Refusal(
            "gpu_models" if ask.gpu_models else "tier" if ask.tiers else "label",
            ", ".join(sorted(ask.gpu_models)) or ", ".join(ask.tiers) or ask.label,
            "one pool must allow tier, label and GPU model together",
            "ask for fewer restrictions; `commonpool pools` shows what each pool allows",
            "no pool allows the job's tiers, label and GPU models together",
        )
    widest = max(pool.gpus_per_node for pool in allowed)
    if ask.gpus_per_node > widest:
        limit = f"largest node it may use: {widest} GPUs"
        return _too_large("gpus_per_node", ask, limit, "no allowed pool has nodes that large")
    wide = [pool for pool in allowed if pool.gpus_per_node >= ask.gpus_per_node]
    most = max(pool.node_count for pool in wide)
    if ask.nodes > most:
        limit = f"nodes of the largest pool it may use: {most}"
        detail = f"a gang starts on {ask.nodes} different nodes of one pool, or not at all"
        return _too_large("nodes", ask, limit, detail)
    return None


def _too_large(field: str, ask: Ask, limit: str, detail: str) -> Refusal:
    value = str(ask.nodes if field == "nodes" else ask.gpus_per_node)
    return Refusal(field, value, limit, "ask for fewer nodes or GPUs", detail)


def _too_many_pending(user: User, policy: Policy, pending: int) -> Refusal | None:
    limit = policy.rules.max_pending_per_user if user.max_pending is None else user.max_pending
    if pending < limit:
        return None
    return Refusal(
        "user",
        user.name,
        f"waiting jobs of {user.name}: {limit}",
        "wait until some have started, or cancel some",
        f"'{user.name}' has {pending} jobs waiting already",
    )


def _time_limit(ask: Ask, policy: Policy) -> timedelta | Refusal:
    """Return the limit: the one asked for, or the default of the lowest tier that can hold it."""
    rules = dict(policy.tiers)
    fitting = [p for p in policy.pools if _allows(ask, p) and _holds(ask, p)]
    tiers = sorted({p.tier for p in fitting}, key=lambda tier: tier.rank)
    if ask.time_limit is None:
        return rules[tiers[0]].default_time_limit
    longest = max(rules[tier].max_time_limit for tier in tiers)
    if timedelta(0) < ask.time_limit <= longest:
        return ask.time_limit
    return Refusal(
        "time_limit",
        f"{ask.time_limit.total_seconds():.0f}s",
        f"longest limit of a tier it may use: {longest.total_seconds():.0f}s",
        "ask for a limit within this, and checkpoint to continue in a next job",
        "the time limit is longer than any tier allows",
    )


def span(tiers: tuple[Tier, ...]) -> tuple[Tier, Tier]:
    """Return the lowest and highest tier that a request's `tier` field means."""
    if not tiers:
        return Tier.TEAM, Tier.NATIONAL
    return tiers[0], tiers[-1]


def _allows(ask: Ask, pool: Pool) -> bool:
    lowest, highest = span(ask.tiers)
    return (
        lowest.rank <= pool.tier.rank <= highest.rank
        and ask.label in pool.labels
        and (not ask.gpu_models or pool.gpu_model in ask.gpu_models)
    )


def _holds(ask: Ask, pool: Pool) -> bool:
    return ask.gpus_per_node <= pool.gpus_per_node and ask.nodes <= pool.node_count


def _shape(ask: Ask) -> Shape:
    lowest, highest = span(ask.tiers)
    return Shape(
        nodes=ask.nodes,
        gpus_per_node=ask.gpus_per_node,
        gpu_models=ask.gpu_models,
        label=ask.label,
        tier_min=lowest,
        tier_max=highest,
        preemptible=ask.preemptible,
        background=ask.priority is PriorityClass.BACKGROUND,
        memory_gib=ask.memory_gib,
        h100e=ask.h100e,
        software=ask.software,
        reservation=ask.reservation,
    )


_CHECKS: tuple[Callable[[Ask, User, Policy], Refusal | None], ...] = (
    _label,
    _classes,
    _tiers,
    _models,
    _gang,
)
