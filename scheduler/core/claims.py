"""From what an issuer says about a person to whom the policy knows: claims, read by rules.

An issuer is believed about its own people only. It names a user of the policy, for an
institution, and every account whose roles the session would have must lie within the accounts
it speaks for; so a company's issuer cannot sign anybody in as a service lab's researcher, nor as
an operator of the whole. The sector comes from here and from the policy, never from the person.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scheduler.core.model import AccountName, Sector
from scheduler.core.policy import Policy
from scheduler.core.policy_found import ACCOUNT_PEOPLE, ancestors
from scheduler.core.roles import Actor, covers

_MAX_VALUES = 50


@dataclass(frozen=True, slots=True)
class ClaimRule:
    """Where one fact comes from: a fixed `value`, or a `claim`, translated by `values`.

    Without `values` the claim is taken as it is; with them, what they do not name is nothing.
    """

    claim: str = ""
    value: str = ""
    values: Mapping[str, str] | None = None

    @property
    def is_said(self) -> bool:
        """Return whether an operator wrote down what becomes of it, and not the issuer alone."""
        return bool(self.value) or self.values is not None


@dataclass(frozen=True, slots=True)
class ClaimRules:
    """How one issuer's claims are read, and for which accounts it speaks."""

    user: ClaimRule
    sector: ClaimRule
    institution: ClaimRule
    speaks_for: frozenset[AccountName]
    teams: ClaimRule | None = None
    attributes: tuple[str, ...] = ()
    require: Mapping[str, frozenset[str]] | None = None


@dataclass(frozen=True, slots=True)
class Asserted:
    """What an issuer said of a person, in the policy's words."""

    user: str
    sector: Sector
    institutions: tuple[AccountName, ...]
    teams: tuple[str, ...] = ()
    attributes: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class NotAdmitted:
    """Why somebody is not let in, and what they can do about it."""

    reason: str
    next_step: str


def read_claims(
    rules: ClaimRules, claims: Mapping[str, object], user: str | None = None
) -> Asserted | NotAdmitted:
    """Return what the claims assert, or which of them is missing or not allowed.

    Of an identity that was linked to a `user`, the claims do not say who that is.
    """
    for name, allowed in (rules.require or {}).items():
        if allowed.isdisjoint(_values(claims, name)):
            said = ", ".join(_values(claims, name)) or "nothing"
            return NotAdmitted(
                f"Your organisation said {said} for '{name}', and this hub asks for "
                f"{' or '.join(sorted(allowed))}.",
                "Sign in again with what it asks for, a second factor or a card for example.",
            )
    names = _apply(rules.user, claims) if user is None else (user,)
    if len(names) != 1:
        return _missing(rules.user, "who you are")
    sector = [name for name in _apply(rules.sector, claims) if name in set(Sector)]
    if len(sector) != 1:
        return _missing(rules.sector, "your sector")
    institutions = _apply(rules.institution, claims)
    if not institutions:
        return _missing(rules.institution, "your institution")
    teams = () if rules.teams is None else _apply(rules.teams, claims)
    attributes = tuple((name, _values(claims, name)) for name in rules.attributes)
    return Asserted(
        names[0], Sector(sector[0]), tuple(map(AccountName, institutions)), teams, attributes
    )


def admit(policy: Policy, rules: ClaimRules, said: Asserted) -> NotAdmitted | None:
    """Return why the policy does not let this person in by this issuer; None where it does."""
    if said.user not in {user.name for user in policy.users}:
        return NotAdmitted(
            f"This hub's policy knows no user '{said.user}'.",
            "Ask the lead of your project to make you a member.",
        )
    homes = home_accounts(policy, said.user)
    if not homes:
        return NotAdmitted(
            f"No account of this hub names '{said.user}'.",
            "Ask the lead of your project to make you a member.",
        )
    asked = _theirs(policy, said) or said.institutions
    unspoken = {name: _unspoken(policy, rules, said.user, name) for name in asked}
    if all(unspoken.values()):
        foreign = list(dict.fromkeys(home for found in unspoken.values() for home in found))
        return NotAdmitted(
            f"'{said.user}' belongs to {', '.join(foreign)}, for which this issuer does not speak.",
            "Sign in with the issuer of that organisation.",
        )
    return _wrong_sector(policy, said)


def choices(policy: Policy, rules: ClaimRules, said: Asserted) -> tuple[AccountName, ...]:
    """Return the institutions for which a person may sign in by this issuer.

    They are said of the person, are theirs here, and the issuer speaks for all that a session
    for them would be given.
    """
    return tuple(
        name for name in _theirs(policy, said) if not _unspoken(policy, rules, said.user, name)
    )


def _theirs(policy: Policy, said: Asserted) -> tuple[AccountName, ...]:
    homes = home_accounts(policy, said.user)
    return tuple(
        name
        for name in said.institutions
        if any(_within(policy, home, frozenset({name})) for home in homes)
    )


def _unspoken(
    policy: Policy, rules: ClaimRules, user: str, name: AccountName
) -> tuple[AccountName, ...]:
    """Return what a session for an institution would be given that the issuer does not speak for.

    Where it is nobody's institution here, all that names the person elsewhere.
    """
    actor = Actor(user, name)
    homes = home_accounts(policy, user)
    given = [home for home in homes if covers(policy, actor, home)] or homes
    return tuple(home for home in given if not _within(policy, home, rules.speaks_for))


def home_accounts(policy: Policy, user: str) -> tuple[AccountName, ...]:
    """Return the accounts that name a user themselves, in the policy's order."""
    return tuple(
        account.name
        for account in policy.accounts
        if any(user in getattr(account, people) for people in ACCOUNT_PEOPLE)
    )


def _within(policy: Policy, name: AccountName, tops: frozenset[AccountName]) -> bool:
    known = {account.name: account for account in policy.accounts}
    return not tops.isdisjoint(ancestors(known, name))


def _wrong_sector(policy: Policy, said: Asserted) -> NotAdmitted | None:
    known = {account.name: account for account in policy.accounts}
    for name in said.institutions:
        if name in known and known[name].parent is not None and known[name].sector != said.sector:
            return NotAdmitted(
                f"Your organisation says you are of sector {said.sector}, and '{name}' is of "
                f"{known[name].sector}.",
                "Tell the operator of this hub: one of the two is wrong.",
            )
    return None


def _apply(rule: ClaimRule, claims: Mapping[str, object]) -> tuple[str, ...]:
    if rule.value:
        return (rule.value,)
    found = _values(claims, rule.claim)
    if rule.values is None:
        return found
    translated = [rule.values[each] for each in found if each in rule.values]
    return tuple(dict.fromkeys(translated))


def _values(claims: Mapping[str, object], name: str) -> tuple[str, ...]:
    """Return a claim's values as text; a claim that is absent has none."""
    found = claims.get(name)
    many = found if isinstance(found, Sequence) and not isinstance(found, str) else [found]
    texts = [each for each in many if isinstance(each, str) and each]
    return tuple(dict.fromkeys(texts))[:_MAX_VALUES]


def _missing(rule: ClaimRule, what: str) -> NotAdmitted:
    known = "" if rule.values is None else f" (known here: {', '.join(sorted(rule.values))})"
    return NotAdmitted(
        f"Your organisation did not tell this hub {what}: the claim '{rule.claim}' is missing, or "
        f"has another value than the hub knows{known}.",
        "Tell the operator of this hub; it may be that your organisation must release the claim.",
    )
