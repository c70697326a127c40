"""Whose GPUs does a borrowed run use? Decided when it is leased, and recorded with it (R1).

Under an agreement the lender is who signed it. Inside the owner's tree, what goes beyond a
level's nominal is the idle guarantee of others: of those under the same account above first,
each in proportion to what it then left idle and lends. GPUs are whole, so the parts of a run
add up to what it borrowed. What nobody is guaranteed is the account's above that level.

Source: scheduling.md R1; the split to whole GPUs is Hamilton's method (largest remainders),
as in M. Balinski and H. P. Young, "Fair Representation", 1982.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from scheduler.core.model import AccountName, Agreement, AgreementId, Pool, Sector
from scheduler.core.policy import Policy

INSTITUTION_DEPTH = 1
"""How deep in the tree institutions are: below the root (scheduling.md §1, "account")."""


@dataclass(frozen=True, slots=True)
class Part:
    """GPUs of one run that are one account's."""

    lender: AccountName
    gpus: int


@dataclass(frozen=True, slots=True)
class Party:
    """An account with the institution and sector that it belonged to when a loan was made."""

    account: AccountName
    institution: AccountName
    sector: Sector


class Parties:
    """The accounts of one policy as parties to loans."""

    def __init__(self, policy: Policy) -> None:
        self._accounts = {account.name: account for account in policy.accounts}

    def chain(self, name: AccountName) -> tuple[AccountName, ...]:
        """Return an account and all above it, upwards; alone where the policy lacks it."""
        found, at = [name], self._accounts.get(name)
        while at is not None and at.parent is not None:
            found.append(at.parent)
            at = self._accounts.get(at.parent)
        return tuple(found)

    def party(self, name: AccountName) -> Party:
        """Return an account as a party; its institution stands right below the tree's root.

        Raises:
            KeyError: the policy has no account of that name.
        """
        down = self.chain(name)[::-1]
        institution = down[min(INSTITUTION_DEPTH, len(down) - 1)]
        return Party(name, institution, self._accounts[name].sector)


class PoolLending:
    """What the accounts of one pool are guaranteed, use and lend while starts are recorded.

    `used` is what runs in quota or borrowed hold, by their accounts, and `lent` what open loans
    took from whom. Both are brought forward, so that the starts of one plan follow each other.
    """

    def __init__(
        self,
        policy: Policy,
        pool: Pool,
        used: Mapping[AccountName, int],
        lent: Mapping[AccountName, int],
    ) -> None:
        self._pool = pool
        self._parties = Parties(policy)
        quotas = {quota.account: quota for quota in policy.quotas if quota.pool == pool.id}
        self._nominal = {name: quota.nominal for name, quota in quotas.items()}
        self._kept = {name: q.nominal - q.lend_max for name, q in quotas.items()}
        self._nominal[pool.owner], self._kept[pool.owner] = pool.capacity, 0
        self._paths = {name: self._path(name) for name in self._nominal}
        self._own = self._undivided()
        self._beside: dict[AccountName, Sequence[AccountName]] = {}
        self._lent = dict(lent)
        self._used: dict[AccountName, int] = {}
        self._below: dict[AccountName, int] = {}
        for name, gpus in used.items():
            self.use(name, gpus)
        self._agreements = {signed.id: signed for signed in policy.agreements}

    def use(self, account: AccountName, gpus: int) -> None:
        """Count GPUs that a run of the account holds from now on; an outsider's are no level's."""
        path = self._path(account)
        for name in path:
            self._below[name] = self._below.get(name, 0) + gpus
        if path:
            self._used[path[0]] = self._used.get(path[0], 0) + gpus

    def lend(
        self, account: AccountName, gpus: int, agreement: AgreementId | None
    ) -> tuple[Part, ...]:
        """Return who lends how much of a borrowed run that starts now, by name, and count it."""
        signed = self._agreements.get(agreement) if agreement is not None else None
        parts = self._signed(signed, gpus) if agreement is not None else self._inside(account, gpus)
        self.use(account, gpus)
        for name, part in parts.items():
            self._lent[name] = self._lent.get(name, 0) + part
        return tuple(Part(name, parts[name]) for name in sorted(parts))

    def _signed(self, signed: Agreement | None, gpus: int) -> dict[AccountName, int]:
        return {self._pool.owner if signed is None else signed.lender: gpus}

    def _inside(self, account: AccountName, gpus: int) -> dict[AccountName, int]:
        """Split what goes beyond each level's nominal among the others of the level above."""
        path = self._path(account)
        beyond = [
            min(gpus, max(0, self._below.get(name, 0) + gpus - self._nominal[name]))
            for name in path[:-1]
        ]
        parts: dict[AccountName, int] = {}
        outside = 0  # what comes from further up: it is beyond the levels below too
        for level, above in reversed(list(pairwise(path))):
            wanted = max(0, beyond[path.index(level)] - outside)
            outside += wanted
            for name, part in self._among(level, above, wanted).items():
                parts[name] = parts.get(name, 0) + part
        # A run may be called borrowed for what has ended since: it is the owner's then.
        return parts or {self._pool.owner: gpus}

    def _among(self, level: AccountName, above: AccountName, wanted: int) -> dict[AccountName, int]:
        """Return who lends, of all under `above` that are not under `level`."""
        if not wanted:
            return {}
        idle = {name: self._idle(name) for name in self._others(level, above)}
        parts = shared_out(min(wanted, sum(idle.values())), idle)
        rest = wanted - sum(parts.values())
        if rest:
            parts[above] = parts.get(above, 0) + rest
        return parts

    def _others(self, level: AccountName, above: AccountName) -> Sequence[AccountName]:
        """Return who may lend, of all under `above` that are not under `level`."""
        known = self._beside.get(level)
        if known is None:
            known = self._beside[level] = [
                name
                for name, path in self._paths.items()
                if above in path and level not in path and self._own[name] > self._kept[name]
            ]
        return known

    def _idle(self, name: AccountName) -> int:
        """Return what an account is guaranteed itself, lends, and neither uses nor has lent."""
        own = self._own[name]
        lends = max(0, own - self._kept[name])
        into_it = max(0, self._used.get(name, 0) - (own - lends))  # what it keeps is used first
        return max(0, lends - into_it - self._lent.get(name, 0))

    def _undivided(self) -> dict[AccountName, int]:
        """Return each level's nominal without what those below it are guaranteed."""
        own = dict(self._nominal)
        for name, path in self._paths.items():
            if len(path) > 1:
                own[path[1]] -= self._nominal[name]
        return {name: max(0, gpus) for name, gpus in own.items()}

    def _path(self, account: AccountName) -> Sequence[AccountName]:
        """Return the levels from the account up to the owner; empty for an outsider."""
        chain = self._parties.chain(account)
        if self._pool.owner not in chain:
            return ()
        inside = chain[: chain.index(self._pool.owner) + 1]
        return [name for name in inside if name in self._nominal]


def shared_out(amount: int, weights: Mapping[AccountName, int]) -> dict[AccountName, int]:
    """Split whole GPUs in proportion to weights; nobody gets more than its weight.

    `amount` is at most the weights' sum. The largest remainders get what rounding left, by name
    where they are equal. Those who get nothing are left out.
    """
    total = sum(weights.values())
    if not amount or not total:
        return {}
    parts = {name: amount * weight // total for name, weight in weights.items()}
    left = amount - sum(parts.values())
    for name in _by_remainder(amount, total, weights)[:left]:
        parts[name] += 1
    return {name: part for name, part in parts.items() if part}


def _by_remainder(amount: int, total: int, weights: Mapping[AccountName, int]) -> list[AccountName]:
    order: Iterable[AccountName] = sorted(weights)
    return sorted(order, key=lambda name: -(amount * weights[name] % total))
