"""Which pools a kind of job may ever use, how large it is on each, and what refuses the others.

Each rule of R13 is one row of `_RULES`: what it looks at, when a pool passes, and the verdict
of a pool that does not. What a rule looks at is asked of every pool once and kept as a bit
mask over the pools, so a kind of job is answered by a few look-ups however many pools there
are. Nothing here depends on time or on who waits.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import NamedTuple

from scheduler.core import hardware
from scheduler.core.explain import Numbers, Reason, Verdict, no_such_reservation
from scheduler.core.hardware import Hardware
from scheduler.core.labels import Lattice
from scheduler.core.model import Account, Pool, PoolId, Reservation, ReservationId, Sector, Shape
from scheduler.core.policy import Policy


@dataclass(frozen=True, slots=True)
class Fit:
    """The size of a gang on one pool: so many nodes, and GPUs on each."""

    nodes: int
    gpus_per_node: int

    @property
    def gpus(self) -> int:
        """Return the GPUs of the whole gang."""
        return self.nodes * self.gpus_per_node


def size(shape: Shape, pool: Pool, row: Hardware | None) -> Fit:
    """Return how large the gang is on the pool, whether or not that fits (R15).

    So many H100-equivalents are GPUs of the pool's model, spread evenly over as few nodes
    as hold them. A model without a row counts as an H100.
    """
    if not shape.h100e:
        return Fit(shape.nodes, shape.gpus_per_node)
    factor = row.factor if row else hardware.H100E
    gpus = -(-shape.h100e * hardware.H100E // factor)
    nodes = -(-gpus // pool.gpus_per_node)
    return Fit(nodes, -(-gpus // nodes))


class Asked(NamedTuple):
    """All that the rules look at of a job. `limits` is its time limit's class (`limit_class`)."""

    shape: Shape
    limits: int
    sector: Sector | None


@dataclass(frozen=True, slots=True)
class Candidates:
    """Pools that a kind of job may use, in tier order, and its size on each of them.

    `names` are theirs, and `order` the place of each by its number among all pools: made once
    for all kinds alike, since there are many and of many pools.
    """

    pools: tuple[Pool, ...]
    names: tuple[PoolId, ...]
    order: Mapping[int, int]
    fits: Mapping[PoolId, Fit]
    _refusals: Callable[[], tuple[Verdict, ...]] = field(repr=False, compare=False)

    @property
    def refusals(self) -> tuple[Verdict, ...]:
        """Return the rule that refuses each other pool (R13), made when first asked for."""
        return self._refusals()


class Eligibility:
    """The rules of one policy, and what they answered so far."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.pools = sorted(policy.pools, key=lambda p: (p.tier.rank, p.id))
        self.rows = hardware.newest(policy.hardware)
        self.lattice = Lattice(policy.labels)
        self.tier_rules = dict(policy.tiers)
        self.reservations: dict[ReservationId, Reservation] = {r.id: r for r in policy.reservations}
        self._masks: dict[tuple[int, Hashable], int] = {}
        self._verdicts: dict[tuple[int, Hashable, int], Verdict] = {}
        self._screens: dict[Asked, Screen] = {}

    @cached_property
    def tiers(self) -> tuple[int, ...]:
        """Return the pools of each tier, as masks, lowest tier first."""
        masks: dict[int, int] = {}
        for number, pool in enumerate(self.pools):
            masks[pool.tier.rank] = masks.get(pool.tier.rank, 0) | 1 << number
        return tuple(masks[rank] for rank in sorted(masks))

    def screen(self, asked: Asked) -> "Screen":
        """Return what the rules answer to a kind of job."""
        known = self._screens.get(asked)
        if known is None:
            known = self._screens[asked] = Screen(self, asked)
        return known

    def passing(self, number: int, asked: Asked) -> int:
        """Return the pools, as a mask, that pass the rule of that number."""
        rule = _RULES[number]
        key = (number, rule.looks_at(asked))
        known = self._masks.get(key)
        if known is None:
            known = sum(1 << n for n, p in enumerate(self.pools) if rule.passes(self, asked, p))
            self._masks[key] = known
        return known

    def verdict(self, number: int, asked: Asked, place: int) -> Verdict:
        """Return the rule's verdict of a pool, by its place; alike jobs share it."""
        rule = _RULES[number]
        key = (number, (rule.tells or rule.looks_at)(asked), place)
        known = self._verdicts.get(key)
        if known is None:
            known = self._verdicts[key] = rule.verdict(self, asked, self.pools[place])
        return known

    def size(self, shape: Shape, pool: Pool) -> Fit:
        """Return how large the gang is on the pool, whether or not that fits (R15)."""
        return size(shape, pool, self.rows.get(pool.gpu_model))

    def memory_gib(self, pool: Pool) -> int:
        """Return the memory of each GPU of the pool; 0 where the hardware table has no row."""
        row = self.rows.get(pool.gpu_model)
        return row.memory_gib if row else 0

    def worth(self, pool: Pool) -> int:
        """Return the H100e thousandths of the pool's GPUs by the newest row (R15)."""
        row = self.rows.get(pool.gpu_model)
        return row.factor if row else hardware.H100E

    def allows(self, shape: Shape, account: Account, pool: Pool) -> bool:
        """Return whether the pool takes such work of such an account, however much it is."""
        asked = Asked(shape, 0, account.sector)
        kept = shape.reservation and self.reservations.get(shape.reservation)
        if kept and kept.pool != pool.id:
            return False
        return all(rule(self, asked, pool) for rule in _ANY_SIZE)

    def fit(self, shape: Shape, pool: Pool) -> Fit | None:
        """Return the gang's size on the pool, or None where its hardware cannot hold it (R15)."""
        asked = Asked(shape, 0, None)
        fits = _model(self, asked, pool) and _memory(self, asked, pool) and _room(self, asked, pool)
        return self.size(shape, pool) if fits else None


class Screen:
    """The answer to one kind of job, whoever's it is; `mask` are the pools it may use."""

    def __init__(self, rules: Eligibility, asked: Asked) -> None:
        self._rules = rules
        self._asked = asked
        self._ordered: dict[int, Candidates] = {}
        self.mask = -1
        for number in range(len(_RULES)):
            self.mask &= rules.passing(number, asked)

    def candidates(self, inside: int) -> Candidates:
        """Return the pools in order; `inside` are those whose owner is above the account."""
        key = inside & self.mask
        known = self._ordered.get(key)
        if known is None:
            numbers = self._order(key)
            pools = tuple([self._rules.pools[number] for number in numbers])
            names = tuple([pool.id for pool in pools])
            order = {number: place for place, number in enumerate(numbers)}
            known = Candidates(pools, names, order, self._fits, self._told)
            self._ordered[key] = known
        return known

    def nothing(self, *why: Verdict) -> Candidates:
        """Return the answer to a job that may use no pool at all, for a reason of its own."""
        return Candidates((), (), {}, {}, lambda: why or (self._no_pool(), *self.refusals))

    def _order(self, inside: int) -> list[int]:
        """Number them in tier order, and inside a tier the own pools first (R13)."""
        ordered: list[int] = []
        for tier in self._rules.tiers:
            for mask in (tier & inside, tier & self.mask & ~inside):
                ordered += _bits(mask)
        return ordered

    @cached_property
    def _fits(self) -> Mapping[PoolId, Fit]:
        shape = self._asked.shape
        allowed = [self._rules.pools[place] for place in _bits(self.mask)]
        if shape.h100e:
            return {pool.id: self._rules.size(shape, pool) for pool in allowed}
        return dict.fromkeys([pool.id for pool in allowed], Fit(shape.nodes, shape.gpus_per_node))

    def _told(self) -> tuple[Verdict, ...]:
        return self.refusals if self.mask else (self._no_pool(), *self.refusals)

    def _no_pool(self) -> Verdict:
        shape = self._asked.shape
        numbers = (("nodes", shape.nodes), ("gpus_per_node", shape.gpus_per_node))
        return Verdict(Reason.NO_POOL, None, numbers)

    @cached_property
    def refusals(self) -> tuple[Verdict, ...]:
        """Return the first rule against each pool that the job may not use."""
        left = ~self.mask & ((1 << len(self._rules.pools)) - 1)
        told: dict[int, Verdict] = {}
        for number in range(len(_RULES)):
            passing = self._rules.passing(number, self._asked)
            for place in _bits(left & ~passing):
                told[place] = self._rules.verdict(number, self._asked, place)
            left &= passing
        return tuple(told[place] for place in sorted(told))


def _bits(mask: int) -> Iterator[int]:
    """Yield the places of the bits that are set, lowest first."""
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest


class _Rule(NamedTuple):
    """One rule: its answer for a pool may depend on nothing but what it `looks_at`.

    Its verdict may have more of the job in it, which is then what it `tells`.
    """

    looks_at: Callable[[Asked], Hashable]
    passes: Callable[[Eligibility, Asked, Pool], bool]
    verdict: Callable[[Eligibility, Asked, Pool], Verdict]
    tells: Callable[[Asked], Hashable] | None = None


def _reserved(rules: Eligibility, asked: Asked, pool: Pool) -> bool:
    """A job that names a reservation runs there or nowhere (R7)."""
    if asked.shape.reservation is None:
        return True
    kept = rules.reservations.get(asked.shape.reservation)
    if kept is None or kept.account is None or kept.pool != pool.id:
        return False
    return rules.size(asked.shape, pool).nodes <= kept.node_count


def _not_reserved(rules: Eligibility, asked: Asked, pool: Pool) -> Verdict:
    name = asked.shape.reservation or ReservationId("")
    kept = rules.reservations.get(name)
    if kept is None:
        state = "is not in the policy"
    elif kept.account is None:
        state = "is maintenance, in which no job runs"
    elif kept.pool != pool.id:
        state = f"is of the pool {kept.pool}"
    else:
        need = rules.size(asked.shape, pool).nodes
        state = f"has {kept.node_count} nodes, and the job needs {need}"
    return no_such_reservation(name, state, pool.id)


def _tier(_: Eligibility, asked: Asked, pool: Pool) -> bool:
    shape = asked.shape
    return shape.tier_min.rank <= pool.tier.rank <= shape.tier_max.rank


def _wrong_tier(_: Eligibility, asked: Asked, pool: Pool) -> Verdict:
    numbers: Numbers = (
        ("tier", pool.tier.value),
        ("lowest", asked.shape.tier_min.value),
        ("highest", asked.shape.tier_max.value),
    )
    return Verdict(Reason.TIER, pool.id, numbers)


def _label(rules: Eligibility, asked: Asked, pool: Pool) -> bool:
    return rules.lattice.covers(pool.labels, asked.shape.label)


def _not_accredited(_: Eligibility, asked: Asked, pool: Pool) -> Verdict:
    accredited = ", ".join(sorted(pool.labels)) or "none"
    numbers: Numbers = (("label", asked.shape.label), ("accredited", accredited))
    return Verdict(Reason.LABEL, pool.id, numbers)


def _sector(_: Eligibility, asked: Asked, pool: Pool) -> bool:
    return not pool.sectors or asked.sector is None or asked.sector in pool.sectors


def _wrong_sector(_: Eligibility, asked: Asked, pool: Pool) -> Verdict:
    sector = asked.sector.value if asked.sector else "unknown"
    numbers: Numbers = (("sector", sector), ("sectors", ", ".join(sorted(pool.sectors))))
    return Verdict(Reason.SECTOR, pool.id, numbers)


def _model(_: Eligibility, asked: Asked, pool: Pool) -> bool:
    return not asked.shape.gpu_models or pool.gpu_model in asked.shape.gpu_models


def _room(rules: Eligibility, asked: Asked, pool: Pool) -> bool:
    """A gang needs that many different nodes of one pool, each with enough GPUs (R5)."""
    fit = rules.size(asked.shape, pool)
    return fit.gpus_per_node <= pool.gpus_per_node and fit.nodes <= pool.node_count


def _wrong_hardware(rules: Eligibility, asked: Asked, pool: Pool) -> Verdict:
    fit = rules.size(asked.shape, pool)
    numbers: Numbers = (
        ("model", pool.gpu_model),
        ("has", pool.gpus_per_node),
        ("pool_nodes", pool.node_count),
        ("models", " or ".join(sorted(asked.shape.gpu_models)) or "any GPU"),
        ("asked", fit.gpus_per_node),
        ("nodes", fit.nodes),
    )
    return Verdict(Reason.HARDWARE, pool.id, numbers)


def _memory(rules: Eligibility, asked: Asked, pool: Pool) -> bool:
    return asked.shape.memory_gib <= rules.memory_gib(pool)


def _too_little_memory(rules: Eligibility, asked: Asked, pool: Pool) -> Verdict:
    numbers: Numbers = (
        ("model", pool.gpu_model),
        ("has", rules.memory_gib(pool)),
        ("asked", asked.shape.memory_gib),
    )
    return Verdict(Reason.MEMORY, pool.id, numbers)


def _software(_: Eligibility, asked: Asked, pool: Pool) -> bool:
    return asked.shape.software <= pool.software


def _lacks_software(_: Eligibility, asked: Asked, pool: Pool) -> Verdict:
    numbers: Numbers = (
        ("missing", ", ".join(sorted(asked.shape.software - pool.software))),
        ("offers", ", ".join(sorted(pool.software)) or "nothing by name"),
    )
    return Verdict(Reason.SOFTWARE, pool.id, numbers)


def _job_limit(rules: Eligibility, asked: Asked, pool: Pool) -> bool:
    """Admission knows the GPUs of a plain job; of H100e it takes more on slower models (R1)."""
    if not asked.shape.h100e:
        return True
    return rules.size(asked.shape, pool).gpus <= rules.policy.rules.max_gpus_per_job


def _too_many_gpus(rules: Eligibility, asked: Asked, pool: Pool) -> Verdict:
    numbers: Numbers = (
        ("asked", rules.size(asked.shape, pool).gpus),
        ("limit", rules.policy.rules.max_gpus_per_job),
    )
    return Verdict(Reason.JOB_LIMIT, pool.id, numbers)


def _time_limit(_: Eligibility, asked: Asked, pool: Pool) -> bool:
    return bool(asked.limits >> pool.tier.rank & 1)


def _too_long(rules: Eligibility, _: Asked, pool: Pool) -> Verdict:
    known = rules.tier_rules.get(pool.tier)
    longest = known.max_time_limit if known else timedelta(0)
    return Verdict(Reason.TIME_LIMIT, pool.id, (("longest", int(longest.total_seconds())),))


def _asked_size(asked: Asked) -> tuple[int, int, int]:
    return asked.shape.nodes, asked.shape.gpus_per_node, asked.shape.h100e


def _asked_hardware(asked: Asked) -> Hashable:
    return asked.shape.gpu_models, *_asked_size(asked)


_RULES: tuple[_Rule, ...] = (
    _Rule(
        lambda a: a.shape.reservation and (a.shape.reservation, *_asked_size(a)),
        _reserved,
        _not_reserved,
    ),
    _Rule(lambda a: (a.shape.tier_min.rank, a.shape.tier_max.rank), _tier, _wrong_tier),
    _Rule(lambda a: a.shape.label, _label, _not_accredited),
    _Rule(lambda a: a.sector, _sector, _wrong_sector),
    _Rule(lambda a: a.shape.gpu_models, _model, _wrong_hardware, _asked_hardware),
    _Rule(lambda a: a.shape.memory_gib, _memory, _too_little_memory),
    _Rule(lambda a: a.shape.software, _software, _lacks_software),
    _Rule(_asked_size, _room, _wrong_hardware, _asked_hardware),
    _Rule(lambda a: a.shape.h100e, _job_limit, _too_many_gpus),
    _Rule(lambda a: a.limits, _time_limit, _too_long),
)

_ANY_SIZE = (_tier, _label, _sector, _model, _memory, _software)
