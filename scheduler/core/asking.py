"""What a person asks for, and the refusal they get where it can never come true."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from scheduler.core.eligibility import Eligibility
from scheduler.core.model import (
    Account,
    Pool,
    PriorityClass,
    Reservation,
    ReservationId,
    Shape,
    Tier,
    User,
)


@dataclass(frozen=True, slots=True)
class Ask:
    """What a person asks for, before any default.

    `tiers` is empty (team to national), one tier (only that) or lowest and highest. A job
    asks for nodes of GPUs, or for so many `h100e` on any model (R15). `training_flop` is what it
    adds to its `model_line` (R17); zero is not declared.
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
    model_line: str = ""
    training_flop: float = 0.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """The job cannot wait: which field, its value, the limit it meets and what to do."""

    field: str
    value: str
    limit: str
    next_step: str
    detail: str


@dataclass(frozen=True)
class Case:
    """An ask as it is checked: whose it is, and by which rules. `now`: None where nobody says."""

    ask: Ask
    user: User
    account: Account
    rules: Eligibility
    now: datetime | None = None

    @cached_property
    def reservation(self) -> Reservation | None:
        """Return the reservation that the ask names, where the policy has it."""
        name = self.ask.reservation
        return None if name is None else self.rules.reservations.get(name)

    @cached_property
    def span(self) -> tuple[Tier, Tier]:
        """Return the lowest and highest tier: those asked for, or the reservation's own."""
        kept = self.reservation
        if kept is not None and not self.ask.tiers:
            there = {pool.id: pool.tier for pool in self.rules.pools}.get(kept.pool)
            if there is not None:
                return there, there
        return span(self.ask.tiers)

    @cached_property
    def shape(self) -> Shape:
        """Return what placement looks at. Of H100e, nodes and GPUs are what H100s would do."""
        ask, (lowest, highest) = self.ask, self.span
        nodes, gpus = ask.nodes, ask.gpus_per_node
        if ask.h100e:
            nodes = -(-ask.h100e // _GPUS_OF_A_NODE)
            gpus = -(-ask.h100e // nodes)
        return Shape(
            nodes=nodes,
            gpus_per_node=gpus,
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

    @cached_property
    def allowed(self) -> list[Pool]:
        """Return the pools that may take such a job, of whatever size and length."""
        return [p for p in self.rules.pools if self.rules.allows(self.shape, self.account, p)]


_GPUS_OF_A_NODE = 8


def span(tiers: tuple[Tier, ...]) -> tuple[Tier, Tier]:
    """Return the lowest and highest tier that a request's `tier` field means."""
    if not tiers:
        return Tier.TEAM, Tier.NATIONAL
    return tiers[0], tiers[-1]
