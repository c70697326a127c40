"""What makes a policy contradict itself: every problem found, by where it stands.

A problem is a path into the policy file, such as `("quotas", 3, "nominal")`, and a
reason. `scheduler.policy_file` turns the path into a line. Each check names the
sections it reads, so that a mistake in one section hides nothing in another. Quotas and
agreements are checked in `policy_check_quotas.py`, dates in `policy_check_windows.py`.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from datetime import timedelta
from itertools import count, pairwise

from scheduler.core.policy import Policy, TierRules
from scheduler.core.policy_check_quotas import agreements, quotas, sums
from scheduler.core.policy_check_thresholds import crossings
from scheduler.core.policy_check_windows import budgets, placed, reservations
from scheduler.core.policy_found import (
    ACCOUNT_PEOPLE,
    Found,
    Path,
    ancestors,
    not_too_long,
)


def problems(policy: Policy, broken: frozenset[str] = frozenset()) -> Iterator[Found]:
    """Yield every contradiction, except where a section it depends on is already `broken`."""
    found = list(_tree(policy)) if "accounts" not in broken else []
    yield from found
    # Who is below whom means nothing in a tree that is none: what follows from it stays untold.
    unclear = broken | {_TREE} if found else broken
    for sections, check in _CHECKS:
        if not unclear.intersection(sections):
            yield from check(policy)


def _names(policy: Policy) -> Iterator[Found]:
    listed: tuple[tuple[str, str, Iterable[str]], ...] = (
        ("users", "name", (u.name for u in policy.users)),
        ("accounts", "name", (a.name for a in policy.accounts)),
        ("sites", "id", (s.id for s in policy.sites)),
        ("pools", "id", (p.id for p in policy.pools)),
        ("agreements", "id", (a.id for a in policy.agreements)),
        ("labels", "name", (x.name for x in policy.labels)),
        ("budgets", "id", (b.id for b in policy.budgets)),
        ("thresholds", "name", (t.name for t in policy.thresholds)),
    )
    for section, field, names in listed:
        paths = ((section, index, field) for index in count())
        yield from _twice(zip(paths, names, strict=False))
    yield from _twice(((*at, "id"), kept.id) for at, kept in placed(policy))


def _twice(named: Iterable[tuple[Path, str]]) -> Iterator[Found]:
    seen: set[str] = set()
    for path, name in named:
        if name in seen:
            yield Found(path, f"'{name}' is there already; names are unique")
        seen.add(name)


def _tree(policy: Policy) -> Iterator[Found]:
    accounts = {a.name: a for a in policy.accounts}
    roots = [a.name for a in policy.accounts if a.parent is None]
    for index, account in enumerate(policy.accounts):
        where = ("accounts", index, "parent")
        if account.parent is None:
            if account.name != roots[0]:
                yield Found(
                    ("accounts", index),
                    f"'{account.name}' has no parent, but '{roots[0]}' is the root already; "
                    "accounts form one tree",
                )
        elif account.parent not in accounts:
            yield Found(where, f"no account is named '{account.parent}'")
        elif accounts[ancestors(accounts, account.name)[-1]].parent in ancestors(
            accounts, account.name
        ):
            yield Found(where, f"'{account.name}' is its own ancestor; accounts form one tree")


def _members(policy: Policy) -> Iterator[Found]:
    users = {u.name for u in policy.users}
    parents = {a.parent for a in policy.accounts}
    for index, account in enumerate(policy.accounts):
        for people in ACCOUNT_PEOPLE:
            for person in sorted(getattr(account, people) - users):
                yield Found(("accounts", index, people), f"no user is named '{person}'")
        if account.members and account.name in parents:
            yield Found(
                ("accounts", index, "members"),
                f"'{account.name}' has accounts below it; only accounts without any hold queues",
            )


def _rules(policy: Policy) -> Iterator[Found]:
    for knob in fields(policy.rules):
        value = getattr(policy.rules, knob.name)
        if isinstance(value, timedelta):
            yield from not_too_long(("rules", knob.name), value)
    default, most = policy.rules.default_gpus, policy.rules.max_gpus_per_job
    if default > most:
        told = f"{default} is more than max_gpus_per_job {most}: whoever asks for none would be"
        yield Found(("rules", "default_gpus"), f"{told} refused")


def _tiers(policy: Policy) -> Iterator[Found]:
    for tier, rules in policy.tiers:
        at: Path = ("tiers", tier.value)
        for knob in fields(rules):
            if knob.name != "default_time_limit":  # which is held against the longest
                yield from not_too_long((*at, knob.name), getattr(rules, knob.name))
        yield from _idleness(at, rules)
        if rules.default_time_limit > rules.max_time_limit:
            yield Found(
                (*at, "default_time_limit"),
                f"{rules.default_time_limit} is more than max_time_limit {rules.max_time_limit}",
            )


def _idleness(at: Path, rules: TierRules) -> Iterator[Found]:
    """Each step comes after the ones before it, as far as the tier takes them (R18)."""
    names = ("idle_warn", "idle_lend", "idle_requeue", "idle_end")
    steps = [(name, getattr(rules, name)) for name in names]
    taken = [(name, after) for name, after in steps if after]
    for (first, before), (name, after) in pairwise(taken):
        if after <= before:
            yield Found((*at, name), f"{after} is not after {first} {before}")


def _labels(policy: Policy) -> Iterator[Found]:
    """Where a lattice is given, whatever it does not place is a typing error (R14)."""
    known = {label.name for label in policy.labels}
    if not known:
        return
    held = [(("users", i), user.labels) for i, user in enumerate(policy.users)]
    held += [(("pools", i), pool.labels) for i, pool in enumerate(policy.pools)]
    for path, labels in held:
        for name in sorted(labels - known):
            yield Found(
                (*path, "labels"),
                f"'{name}' is not in the lattice of `labels` ({', '.join(sorted(known))}); "
                "left out, this field means public",
            )


def _pools(policy: Policy) -> Iterator[Found]:
    sites = {s.id for s in policy.sites}
    accounts = {a.name for a in policy.accounts}
    models = {row.model for row in policy.hardware}
    tiers = {tier for tier, _ in policy.tiers}
    for index, pool in enumerate(policy.pools):
        if pool.site not in sites:
            yield Found(("pools", index, "site"), f"no site is named '{pool.site}'")
        if pool.owner not in accounts:
            yield Found(("pools", index, "owner"), f"no account is named '{pool.owner}'")
        if pool.gpu_model not in models:
            known = ", ".join(sorted(models))
            yield Found(
                ("pools", index, "gpu_model"),
                f"no hardware row for '{pool.gpu_model}'; known are {known}",
            )
        if pool.tier not in tiers:
            yield Found(
                ("pools", index, "tier"), f"the policy's tiers say nothing about '{pool.tier}'"
            )


_TREE = "(the tree)"  # no section: the name by which checks ask for a tree that holds
_CHECKS: tuple[tuple[tuple[str, ...], Callable[[Policy], Iterator[Found]]], ...] = (
    ((), _names),
    ((_TREE, "accounts", "users"), _members),
    (("rules",), _rules),
    (("tiers",), _tiers),
    (("labels", "users", "pools"), _labels),
    (("pools", "sites", "accounts", "tiers", "hardware"), _pools),
    ((_TREE, "quotas", "pools", "accounts"), quotas),
    ((_TREE, "quotas", "pools", "accounts"), sums),
    ((_TREE, "agreements", "quotas", "pools", "accounts"), agreements),
    (("budgets", "accounts"), budgets),
    (("thresholds", "crossings", "accounts"), crossings),
    (("reservations", "maintenance", "pools", "accounts"), reservations),
)
