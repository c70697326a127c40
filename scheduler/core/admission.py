"""May this job wait in the queue at all? Yes, with every default filled in, or the limit it meets.

Only what can never come true is refused here; what may come true later (room, quota,
an agreement) makes a job wait, with verdicts. A job is refused for the first limit
that it meets, in the order of `_CHECKS`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from scheduler.core import admission_size, crossings
from scheduler.core.asking import Ask, Case, Refusal, span
from scheduler.core.eligibility import Eligibility
from scheduler.core.model import Account, PriorityClass, Shape, User
from scheduler.core.policy import Policy
from scheduler.core.policy_found import ancestors
from scheduler.core.training import Training

__all__ = ["LONGEST_NAME", "Admitted", "Ask", "Refusal", "check", "span"]

LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class Admitted:
    """The job may wait: its account, what placement looks at, and its limit."""

    account: Account
    shape: Shape
    priority: PriorityClass
    time_limit: timedelta
    name: str = ""
    training: Training | None = None


def check(
    ask: Ask, policy: Policy, pending_of_user: int, now: datetime | None = None
) -> Admitted | Refusal:
    """Return the job as it will wait, or the first limit that it meets.

    Without `now`, a reservation that is over is not noticed: the job waits, with that verdict.
    """
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
    case = Case(ask, user, account, Eligibility(policy), now)
    for limit in _CHECKS:
        refusal = limit(case)
        if refusal is not None:
            return refusal
    refusal = _too_many_pending(user, policy, pending_of_user)
    if refusal is not None:
        return refusal
    time_limit = admission_size.time_limit(case)
    if isinstance(time_limit, Refusal):
        return time_limit
    training = crossings.training_of(case, time_limit)
    return Admitted(account, case.shape, ask.priority, time_limit, ask.name, training)


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


def _name(case: Case) -> Refusal | None:
    """A name is for people, and run times are foreseen by it: one short line."""
    name = case.ask.name
    if len(name) <= LONGEST_NAME and name.isprintable():
        return None
    return Refusal(
        "name",
        name[:20],
        f"at most {LONGEST_NAME} printable characters",
        "give a shorter name",
        f"the name has {len(name)} characters, or some that cannot be shown",
    )


def _label(case: Case) -> Refusal | None:
    """Default deny: the person and at least one pool must be cleared for the label (R14)."""
    label, user, rules = case.ask.label, case.user, case.rules
    if not rules.lattice.covers(user.labels, label):
        return Refusal(
            "label",
            label,
            f"labels of {user.name}: {', '.join(sorted(user.labels)) or 'none'}",
            "use one of these labels, or ask an administrator for the clearance",
            f"'{user.name}' may not handle data labelled '{label}'",
        )
    accredited = sorted({held for pool in rules.pools for held in pool.labels})
    if not rules.lattice.covers(accredited, label):
        return Refusal(
            "label",
            label,
            f"labels of all pools: {', '.join(accredited)}",
            "use one of these labels",
            f"no pool is accredited for '{label}'",
        )
    return None


def _classes(case: Case) -> Refusal | None:
    if case.ask.preemptible or case.ask.priority is not PriorityClass.BACKGROUND:
        return None
    return Refusal(
        "preemptible",
        "false",
        "background jobs are always preemptible",
        "leave preemptible out, or choose another priority",
        "a background job costs nothing and can be ended at any time",
    )


def _tiers(case: Case) -> Refusal | None:
    lowest, highest = case.span
    there = sorted({pool.tier for pool in case.rules.pools}, key=lambda tier: tier.rank)
    limit = f"tiers with pools: {', '.join(there)}"
    value = ", ".join(case.ask.tiers)
    if lowest.rank > highest.rank:
        detail = f"the lowest tier '{lowest}' is above the highest tier '{highest}'"
        return Refusal("tier", value, limit, "name the lower tier first", detail)
    if not any(lowest.rank <= tier.rank <= highest.rank for tier in there):
        detail = f"no pool is between tier '{lowest}' and tier '{highest}'"
        return Refusal("tier", value, limit, "name tiers that have pools", detail)
    return None


def _models(case: Case) -> Refusal | None:
    """Any of the models asked for is enough, but a model that nobody has is a typing error."""
    there = sorted({pool.gpu_model for pool in case.rules.pools})
    missing = sorted(case.ask.gpu_models - set(there))
    if not missing:
        return None
    return Refusal(
        "gpu_models",
        ", ".join(missing),
        f"GPU models of all pools: {', '.join(there)}",
        "name one of these models, or leave it out for any",
        f"no pool has {' or '.join(missing)} GPUs",
    )


def _memory(case: Case) -> Refusal | None:
    """Some GPU must have the memory asked for, of the models asked for (R15)."""
    ask, rules = case.ask, case.rules
    if ask.memory_gib < 0:
        detail = "memory is counted from zero"
        return Refusal("memory_gib", str(ask.memory_gib), "0 or more", "leave it out", detail)
    models = [p for p in rules.pools if not ask.gpu_models or p.gpu_model in ask.gpu_models]
    most = max(rules.memory_gib(pool) for pool in models)
    if ask.memory_gib <= most:
        return None
    return Refusal(
        "memory_gib",
        str(ask.memory_gib),
        f"memory of the largest GPU it may use: {most} GiB",
        "ask for less memory on each GPU, and more GPUs",
        f"no pool has GPUs with {ask.memory_gib} GiB",
    )


def _software(case: Case) -> Refusal | None:
    """What no pool offers by name is a typing error, or not installed anywhere (R13)."""
    offered = sorted({name for pool in case.rules.pools for name in pool.software})
    missing = sorted(case.ask.software - set(offered))
    if not missing:
        return None
    return Refusal(
        "software",
        ", ".join(missing),
        f"software of all pools: {', '.join(offered) or 'none is named'}",
        "name what a pool offers, or bring it with the job",
        f"no pool offers {' or '.join(missing)}",
    )


def _sector(case: Case) -> Refusal | None:
    """An account whose sector no pool takes has nowhere to go (R13)."""
    sector = case.account.sector
    if any(not pool.sectors or sector in pool.sectors for pool in case.rules.pools):
        return None
    taken = sorted({str(taken) for pool in case.rules.pools for taken in pool.sectors})
    return Refusal(
        "account",
        case.account.name,
        f"sectors of all pools: {', '.join(taken)}",
        "use an account of one of these sectors",
        f"'{case.account.name}' is of the sector '{sector}', which no pool takes",
    )


def _reservation(case: Case) -> Refusal | None:
    """A job may name a reservation of its account, or of one above it, that is not over (R7)."""
    name, kept = case.ask.reservation, case.reservation
    if name is None:
        return None
    chain = ancestors({a.name: a for a in case.rules.policy.accounts}, case.account.name)
    if kept is None:
        detail = f"no reservation is named '{name}'"
    elif kept.account is None:
        detail = f"'{name}' is maintenance, in which no job runs"
    elif kept.account not in chain:
        detail = f"'{name}' is for the jobs of '{kept.account}'"
    elif case.now is not None and kept.ends_at <= case.now:
        detail = f"'{name}' ended at {kept.ends_at.isoformat(timespec='seconds')}"
    else:
        return None
    own = [r for r in case.rules.policy.reservations if r.account in chain]
    open_still = [r.id for r in own if case.now is None or r.ends_at > case.now]
    limit = f"reservations of {case.account.name}: {', '.join(sorted(open_still)) or 'none'}"
    return Refusal("reservation", name, limit, "name one of these, or leave it out", detail)


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


_CHECKS: tuple[Callable[[Case], Refusal | None], ...] = (
    _name,
    _label,
    _classes,
    _tiers,
    _models,
    _memory,
    _software,
    _sector,
    _reservation,
    admission_size.gang,
)
