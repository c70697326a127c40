"""What the agent does next, for every record and every order that there can be."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.site.reconcile import (
    Attend,
    Begin,
    Close,
    Discard,
    End,
    Entomb,
    Forget,
    Renew,
    Signal,
    Site,
    reconcile,
)
from agents.site.records import Ending, Phase, RunRecord
from scheduler.core.model import RunState, StopReason
from scheduler.wire.sites import DesiredLease, Wanted
from tests.agents.fake_hub import a_lease

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
RUNS = ("cp-j1-1", "cp-j2-1", "cp-j3-7")
POSTED = (Phase.SUBMITTING, Phase.SUBMITTED)


def minutes(count: float) -> timedelta:
    return timedelta(minutes=count)


def lease(run: str = RUNS[0], **changes) -> DesiredLease:
    return a_lease(run, **{"bind_by": NOON + minutes(10), **changes})


def record(of: DesiredLease | None = None, **changes) -> RunRecord:
    values = {"lease": of or lease(), "reserved_at": NOON, "phase": Phase.SUBMITTED}
    return RunRecord(**{**values, **changes})


def running(of: DesiredLease | None = None, **changes) -> RunRecord:
    return record(of, **{"submitted_at": NOON, "started_at": NOON, **changes})


def site(*records: RunRecord, **changes) -> Site:
    held = {r.run: r for r in records}
    return Site(held, **{"attended": frozenset(held), **changes})


def decide(orders: list[DesiredLease] | None, here: Site, now: datetime = NOON):
    return reconcile(None if orders is None else {o.run: o for o in orders}, here, now)


@st.composite
def leases(draw, run: str) -> DesiredLease:
    wanted = draw(st.sampled_from(Wanted))
    stopping = wanted is Wanted.STOP
    return lease(
        run,
        token=draw(st.integers(1, 3)),
        wanted=wanted,
        bind_by=NOON + minutes(draw(st.integers(-5, 5))),
        time_limit_seconds=draw(st.integers(1, 600)),
        grace_seconds=draw(st.integers(0, 60)),
        stop_reason=draw(st.sampled_from(StopReason)) if stopping else None,
        stop_at=draw(st.none() | st.just(NOON + minutes(draw(st.integers(-3, 3)))))
        if stopping
        else None,
    )


@st.composite
def records(draw, run: str) -> RunRecord:
    phase = draw(st.sampled_from(Phase))
    over = phase in (Phase.ENDED, Phase.FENCED)
    started = draw(st.booleans()) and phase in (Phase.SUBMITTED, Phase.ENDED, Phase.FENCED)
    return record(
        draw(leases(run)),
        phase=phase,
        reserved_at=NOON - minutes(20),
        started_at=NOON - minutes(draw(st.integers(0, 15))) if started else None,
        signalled_at=NOON - minutes(1) if started and draw(st.booleans()) else None,
        ending=draw(st.none() | st.sampled_from(Ending)),
        outcome=draw(st.sampled_from([s for s in RunState if s.is_terminal])) if over else None,
    )


@dataclass
class World:
    """The agent's side, changed as the agent's shell would change it."""

    records: dict[str, RunRecord]
    attended: set[str] = field(default_factory=set)
    closing: set[str] = field(default_factory=set)
    damaged: set[str] = field(default_factory=set)
    forgotten: set[str] = field(default_factory=set)
    begun: list[str] = field(default_factory=list)

    def site(self) -> Site:
        sets = (self.attended, self.closing, self.damaged, self.forgotten)
        return Site(self.records, *(frozenset(s) for s in sets))

    def apply(self, action) -> None:  # noqa: C901, PLR0912, PLR0915  # one case per action
        match action:
            case Begin(of):
                assert of.run not in self.records
                self.begun.append(of.run)
                self.records[of.run] = record(of, phase=Phase.RESERVED, reserved_at=NOON)
            case Renew(of):
                old = self.records[of.run]
                self.change(of.run, lease=old.renewed(of))
            case Attend(run):
                assert run not in self.attended
                self.attended.add(run)
            case Signal(run):
                self.change(run, signalled_at=NOON)
            case End(run, why):
                self.change(run, ending=why)
            case Close(run):
                assert run not in self.closing
                self.closing.add(run)
            case Entomb(of, outcome, message, fenced):
                phase = Phase.FENCED if fenced else Phase.ENDED
                self.records[of.run] = record(of, phase=phase, outcome=outcome, message=message)
                self.damaged.discard(of.run)
            case Forget(run):
                del self.records[run]
                self.forgotten.add(run)
            case Discard(run):
                self.damaged.discard(run)

    def change(self, run: str, **changes) -> None:
        self.records[run] = self.records[run].model_copy(update=changes)

    def settle(self, orders) -> None:
        for _ in range(10):
            actions = reconcile(orders, self.site(), NOON)
            for action in actions:
                self.apply(action)
            if not actions:
                return
        raise AssertionError("it never has enough")


@st.composite
def situations(draw):
    held = {run: draw(records(run)) for run in RUNS if draw(st.booleans())}
    damaged = {run for run in RUNS if run not in held and draw(st.booleans())}
    known = draw(st.booleans())
    orders = {run: draw(leases(run)) for run in RUNS if draw(st.booleans())} if known else None
    attended = {r for r, of in held.items() if not of.is_over and draw(st.booleans())}
    return orders, World(held, attended=attended, damaged=damaged)


@given(situations())
def test_it_comes_to_rest_and_then_asks_for_nothing_more(situation):
    orders, world = situation
    world.settle(orders)
    assert reconcile(orders, world.site(), NOON) == ()


@given(situations())
def test_a_run_that_may_exist_is_never_begun_again(situation):
    orders, world = situation
    had = set(world.records) | world.damaged
    world.settle(orders)
    world.settle(orders)
    assert not had & set(world.begun)
    assert len(world.begun) == len(set(world.begun))


@given(situations())
def test_whatever_the_order_of_the_orders_the_actions_are_the_same(situation):
    orders, world = situation
    backwards = None if orders is None else dict(reversed(orders.items()))
    reversed_site = Site(
        dict(reversed(world.records.items())),
        frozenset(world.attended),
        damaged=frozenset(world.damaged),
    )
    assert reconcile(orders, world.site(), NOON) == reconcile(backwards, reversed_site, NOON)


@given(records(RUNS[0]), st.booleans())
def test_an_order_with_a_lower_token_changes_nothing(held, attended):
    held = held.model_copy(update={"lease": held.lease.model_copy(update={"token": 5})})
    here = site(held, attended=frozenset(RUNS[:1] if attended else ()))
    stale = lease(token=4, wanted=Wanted.STOP, stop_reason=StopReason.CANCELLED)
    assert decide([stale], here) == decide([held.lease], here)


@given(situations())
def test_without_a_word_from_the_hub_no_run_is_begun_renewed_or_forgotten(situation):
    _, world = situation
    actions = reconcile(None, world.site(), NOON)
    assert not any(isinstance(a, Begin | Renew | Entomb | Discard) for a in actions)
    forgotten = [world.records[a.run] for a in actions if isinstance(a, Forget)]
    assert all(of.lease.wanted is Wanted.FORGET for of in forgotten)  # It had said so before.


@given(situations())
def test_a_run_that_is_over_is_only_ever_closed_told_and_forgotten(situation):
    orders, world = situation
    over = {run for run, of in world.records.items() if of.is_over}
    for action in reconcile(orders, world.site(), NOON):
        run = action.lease.run if isinstance(action, Renew | Begin) else getattr(action, "run", "")
        assert run not in over or isinstance(action, Close | Forget | Renew)


def test_a_lease_of_a_run_that_was_never_here_begins_it():
    assert decide([lease()], site()) == (Begin(lease()),)


def test_a_lease_that_comes_after_its_time_to_bind_is_given_back_without_a_start():
    late = lease(bind_by=NOON)
    (action,) = decide([late], site())
    assert action == Entomb(
        late, RunState.LOST, "did not start by 2026-06-01 12:00:00 UTC", fenced=True
    )


@pytest.mark.parametrize(
    ("reason", "outcome"),
    [
        pytest.param(StopReason.CANCELLED, RunState.STOPPED, id="cancelled is stopped"),
        pytest.param(StopReason.RECALLED, RunState.PREEMPTED, id="recalled comes back"),
        pytest.param(StopReason.BIND_EXPIRED, RunState.LOST, id="not bound comes back"),
        pytest.param(StopReason.TIME_LIMIT, RunState.FAILED, id="out of time has failed"),
        pytest.param(None, RunState.STOPPED, id="no reason is stopped"),
    ],
)
def test_a_stop_for_a_run_that_was_never_here_ends_it_without_a_start(reason, outcome):
    order = lease(wanted=Wanted.STOP, stop_reason=reason)
    assert decide([order], site()) == (
        Entomb(order, outcome, "ended before it was started", fenced=True),
    )


def test_the_echo_of_an_order_for_a_forgotten_run_is_not_heard():
    assert decide([lease()], site(forgotten=frozenset({RUNS[0]}))) == ()


@pytest.mark.parametrize("phase", [p for p in Phase if p not in (Phase.ENDED, Phase.FENCED)])
def test_after_a_restart_every_unfinished_run_is_attended_where_it_stood(phase):
    held = record(phase=phase)
    assert decide([held.lease], site(held, attended=frozenset())) == (Attend(held.run),)
    assert decide(None, site(held, attended=frozenset())) == (Attend(held.run),)


def test_a_run_that_the_hub_does_not_list_is_ended_at_once():
    held = running()
    assert decide([], site(held)) == (End(held.run, Ending.UNLISTED),)
    assert decide(None, site(held)) == ()


def test_a_recalled_run_is_signalled_at_once_and_ended_at_its_time():
    order = lease(wanted=Wanted.STOP, stop_reason=StopReason.RECALLED, stop_at=NOON + minutes(1))
    held = running(order)
    assert decide([order], site(held)) == (Signal(held.run),)
    told = running(order, signalled_at=NOON)
    assert decide([order], site(told)) == ()
    assert decide([order], site(told), NOON + minutes(1)) == (End(held.run, Ending.RECALLED),)


def test_a_recalled_run_that_has_not_started_has_nothing_to_save_and_ends_at_once():
    order = lease(wanted=Wanted.STOP, stop_reason=StopReason.RECALLED, stop_at=NOON + minutes(1))
    assert decide([order], site(record(order))) == (End(RUNS[0], Ending.RECALLED),)


def test_a_cancelled_run_without_a_time_ends_at_once():
    order = lease(wanted=Wanted.STOP, stop_reason=StopReason.CANCELLED)
    assert decide([order], site(running(order))) == (End(RUNS[0], Ending.CANCELLED),)


@pytest.mark.parametrize("orders", ["heard", "not heard since the start"])
def test_a_time_limit_signals_first_and_ends_after_the_grace(orders):
    held = running(lease(time_limit_seconds=60, grace_seconds=30))
    heard = [held.lease] if orders == "heard" else None
    assert decide(heard, site(held), NOON + minutes(0.99)) == ()
    assert decide(heard, site(held), NOON + minutes(1)) == (Signal(held.run),)
    told = held.model_copy(update={"signalled_at": NOON + minutes(1)})
    assert decide(heard, site(told), NOON + minutes(1.49)) == ()
    assert decide(heard, site(told), NOON + minutes(1.5)) == (End(held.run, Ending.TIME_LIMIT),)


def test_a_run_that_does_not_start_in_time_gives_its_lease_back():
    held = record(phase=Phase.LAUNCHING)
    assert decide([held.lease], site(held), NOON + minutes(9.9)) == ()
    assert decide([held.lease], site(held), NOON + minutes(10)) == (
        End(held.run, Ending.BIND_EXPIRED),
    )


def test_a_longer_time_to_bind_counts():
    held = record(phase=Phase.LAUNCHING)
    longer = lease(bind_by=NOON + minutes(20))
    assert decide([longer], site(held), NOON + minutes(10)) == (Renew(longer),)


@pytest.mark.parametrize("wanted", [Wanted.STOP, Wanted.FORGET])
def test_what_a_hub_that_forgot_a_run_says_of_its_place_is_not_believed(wanted):
    held = running(lease(token=3))
    stray = lease(token=3, wanted=wanted, nodes=(), backend="ray_private", entrypoint="")
    renewed = held.renewed(stray)
    assert (renewed.nodes, renewed.backend, renewed.entrypoint, renewed.wanted) == (
        held.lease.nodes,
        held.lease.backend,
        held.lease.entrypoint,
        wanted,
    )


def test_an_end_is_told_until_the_hub_says_forget():
    over = running(phase=Phase.FENCED, outcome=RunState.SUCCEEDED)
    assert decide([over.lease], site(over)) == ()
    assert decide([lease(wanted=Wanted.FORGET)], site(over)) == (Forget(over.run),)
    assert decide([], site(over)) == (Forget(over.run),)
    assert decide(None, site(over)) == ()


def test_a_run_that_is_not_fenced_is_not_forgotten():
    over = running(phase=Phase.ENDED, outcome=RunState.SUCCEEDED)
    assert decide([lease(wanted=Wanted.FORGET)], site(over)) == (Close(over.run),)
    assert decide([], site(over, closing=frozenset({over.run}))) == ()


def test_an_unreadable_record_is_told_as_lost_once_the_hub_names_the_run():
    here = site(damaged=frozenset({RUNS[0]}))
    assert decide(None, here) == ()
    (action,) = decide([lease()], here)
    assert isinstance(action, Entomb)
    assert (action.outcome, action.fenced) == (RunState.LOST, False)
    assert decide([], here) == (Discard(RUNS[0]),)


@pytest.mark.parametrize("posted", POSTED)
def test_lost_is_only_said_once_it_is_fenced(posted):
    assert record(phase=posted).state is RunState.STARTING
    over = {"outcome": RunState.LOST}
    assert record(phase=Phase.ENDED, **over).state is RunState.UNKNOWN
    assert record(phase=Phase.FENCED, **over).state is RunState.LOST
