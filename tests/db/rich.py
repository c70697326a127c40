"""Scenes whose policies and jobs use everything that is stored: budgets, reservations, names."""

from dataclasses import replace
from datetime import timedelta

from hypothesis import strategies as st

from scheduler.core.events import apply_event
from scheduler.core.model import AccountName, Budget, BudgetId, Job, Reservation, ReservationId
from scheduler.core.policy import Policy
from scheduler.core.snapshot import Put, Spent
from tests import strategies
from tests.build import DAY, MINUTE, NOON
from tests.strategies import Scene

SOFTWARE = frozenset({"cuda-12.4", "pytorch"})
KEPT = ReservationId("kept")


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """A small policy with budgets on any account, and perhaps a reservation and maintenance."""
    policy = draw(strategies.policies())
    pool = policy.pools[0]
    names = draw(st.lists(st.sampled_from(policy.accounts), max_size=3, unique=True))
    budgets = tuple(
        Budget(
            BudgetId(f"b-{account.name}"),
            account.name,
            draw(st.sampled_from([1, 20, 10_000])),
            NOON - DAY,
            NOON + DAY,
        )
        for account in names
    )
    begins = NOON + MINUTE * draw(st.sampled_from([0, 0, 30, 90]))
    kept = Reservation(
        KEPT, pool.id, AccountName("a1"), 1, begins, begins + timedelta(hours=8), no_show=DAY
    )
    closed = Reservation(
        ReservationId("closed"), pool.id, None, 1, begins + DAY, begins + DAY + MINUTE
    )
    return replace(
        policy,
        pools=(replace(pool, software=SOFTWARE), *policy.pools[1:]),
        budgets=budgets,
        reservations=draw(st.sampled_from([(), (kept,), (kept, closed)])),
        rules=replace(policy.rules, preempt_delay=timedelta(0), min_runtime=timedelta(0)),
    )


MORE = st.fixed_dictionaries(
    {
        "memory_gib": st.sampled_from([0, 0, 80, 200]),
        "h100e": st.sampled_from([0, 0, 2]),
        "software": st.frozensets(st.sampled_from(sorted(SOFTWARE)), max_size=2),
        "reservation": st.sampled_from([None, None, KEPT]),
    }
)
TOLD = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["", "digits", "a name, with 'signs' ü"]),
        "predicted": st.sampled_from([None, MINUTE, timedelta(seconds=90)]),
    }
)


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    """A world after a random history, with what was spent before it began."""
    policy = draw(policies())
    steps = draw(strategies.steps(2))
    history = [
        (what, _richer(draw, value)) if what == "submit" else (what, value) for what, value in steps
    ]
    scene = strategies.play(policy, history)
    snapshot = scene.snapshot
    for budget in policy.budgets:
        amount = draw(st.integers(0, 4000))
        snapshot = apply_event(snapshot, Put(Spent(budget.id, amount)))
    return replace(scene, snapshot=snapshot)


def _richer(draw: st.DrawFn, job: Job) -> Job:
    more = draw(MORE)
    if more["reservation"] is not None:
        job = replace(job, account=AccountName("a1"))
    return replace(job, shape=replace(job.shape, **more), **draw(TOLD))
