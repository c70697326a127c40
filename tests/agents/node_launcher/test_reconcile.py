"""What a node does with its orders, whatever they are and whatever is there (R5)."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from agents.node.launch_reconcile import (
    Begin,
    Forget,
    Local,
    Renew,
    Rescue,
    Stop,
    Wanted,
    reconcile,
)
from scheduler.wire.launches import LaunchPhase

NOW = 1000.0
RUNS = st.sampled_from(["cp-a-1", "cp-b-1", "cp-c-2"])
WANTED = st.builds(Wanted, st.integers(0, 3), st.floats(900, 1100))
LOCAL = st.builds(
    Local,
    st.integers(0, 3),
    st.floats(900, 1100),
    st.sampled_from([LaunchPhase.STARTING, LaunchPhase.UP, LaunchPhase.ENDING, LaunchPhase.FENCED]),
    st.booleans(),
    st.booleans(),
)
ORDERS = st.none() | st.dictionaries(RUNS, WANTED)
LOCALS = st.dictionaries(RUNS, LOCAL)
SETTLED = st.frozensets(RUNS)


def carried_out(actions, orders, local):
    """Return what is there once all was done, before any keeper moved."""
    after = dict(local)
    for action in actions:
        match action:
            case Begin(run):
                order = orders[run]
                after[run] = Local(order.token, order.expires, LaunchPhase.STARTING, kept=True)
            case Renew(run):
                order = orders[run]
                after[run] = replace(after[run], token=order.token, expires=order.expires)
            case Stop(run):
                after[run] = replace(after[run], stopping=True)
            case Rescue(run):
                after[run] = replace(after[run], kept=True)
            case Forget(run):
                del after[run]
    return after


@given(orders=ORDERS, local=LOCALS, settled=SETTLED)
def test_asking_again_after_doing_it_asks_for_nothing_more(orders, local, settled):
    actions = reconcile(orders, settled, local, NOW)
    settled = settled - (orders or {}).keys()  # The hub settles no run that it wants.
    after = carried_out(reconcile(orders, settled, local, NOW), orders, local)
    assert reconcile(orders, settled, after, NOW) == ()
    assert len(actions) == len(set(actions))


@given(orders=ORDERS, local=LOCALS, settled=SETTLED)
def test_what_was_ever_here_is_never_begun_again(orders, local, settled):
    begun = {a.run for a in reconcile(orders, settled, local, NOW) if isinstance(a, Begin)}
    assert not begun & local.keys()
    assert begun == {r for r, o in (orders or {}).items() if r not in local and o.expires > NOW}


@given(orders=st.dictionaries(RUNS, WANTED), local=LOCALS)
def test_a_stale_token_neither_renews_nor_ends_anything(orders, local):
    stale = {r for r, o in orders.items() if r in local and o.token < local[r].token}
    touched = {
        a.run for a in reconcile(orders, (), local, NOW) if isinstance(a, Renew | Stop | Begin)
    }
    assert not stale & touched


@given(local=LOCALS)
def test_a_hub_that_is_away_changes_nothing_but_lost_keepers_are_replaced(local):
    actions = reconcile(None, (), local, NOW)
    lost = {r for r, m in local.items() if not m.kept and m.phase is not LaunchPhase.FENCED}
    assert {a.run for a in actions} == lost
    assert all(isinstance(a, Rescue) for a in actions)


@given(orders=st.dictionaries(RUNS, WANTED), local=LOCALS)
def test_what_the_hub_does_not_list_is_ended_once(orders, local):
    stopped = {a.run for a in reconcile(orders, (), local, NOW) if isinstance(a, Stop)}
    assert stopped == {
        run
        for run, member in local.items()
        if run not in orders and member.phase is not LaunchPhase.FENCED and not member.stopping
    }


@given(orders=ORDERS, local=LOCALS, settled=SETTLED)
def test_only_fenced_and_settled_members_are_forgotten(orders, local, settled):
    for action in reconcile(orders, settled, local, NOW):
        if isinstance(action, Forget):
            assert local[action.run].phase is LaunchPhase.FENCED
            assert action.run in settled
