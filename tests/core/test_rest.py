"""R8 has no cycles: while nothing else changes, what is preempted comes to rest.

Only the rule of shares itself is on trial: no delay, no rate, no least run time and no
immunity slows a cycle down, so any that the rule allows is found.
"""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.core.model import Tier
from scheduler.core.plan import plan
from scheduler.core.policy import Policy, Rules
from scheduler.core.snapshot import DropRun, Put
from scheduler.core.world import World, requeued_job
from tests import build
from tests.build import DAY, MINUTE, NOON

BARE = Rules(
    preempt_delay=timedelta(0),
    min_runtime=timedelta(0),
    immune_after=10**6,
    preempt_per_hour=10**6,
    hold_after=1000 * DAY,
    hold_gangs_after=1000 * DAY,
)
ROUNDS = 200
WEIGHTS = st.sampled_from([1, 1, 2, 3, 7, 1000])


@st.composite
def trees(draw: st.DrawFn) -> Policy:
    """A tree of depth 4 below the root, uneven, with tiny and large weights; half nominal.

    Up to two institutions have a pool of their own, which they may lend to others.
    """
    accounts, quotas, gpus = [build.account("national", None)], [], draw(st.sampled_from([2, 4, 8]))
    hub = build.pool(nodes=draw(st.integers(1, 3)), gpus_per_node=gpus)

    def grow(name: str, parent: str, nominal: int, depth: int) -> None:
        accounts.append(build.account(name, parent, weight=draw(WEIGHTS)))
        borrow = draw(st.sampled_from([hub.capacity, hub.capacity, 4]))
        quotas.append(build.quota(name, nominal, borrow=borrow))
        if depth < 4:
            for number in range(draw(st.integers(0, 2))):
                part = draw(st.integers(0, nominal))
                nominal -= part
                grow(f"{name}{number}", name, part, depth + 1)

    left = hub.capacity
    for name in "abc":
        own = draw(st.integers(0, left // 2))
        left -= own
        grow(name, "national", own, 1)
    pools, agreements = [hub], []
    for owner in draw(st.sampled_from([(), ("a",), ("a", "b")])):
        more = build.pool(f"of-{owner}", owner, draw(st.integers(1, 2)), gpus_per_node=gpus)
        pools.append(replace(more, tier=draw(st.sampled_from([Tier.INSTITUTION, Tier.NATIONAL]))))
        below = [a.name for a in accounts if a.name.startswith(owner) and a.name != owner]
        quotas += [build.quota(name, 0, borrow=more.capacity, where=more.id) for name in below]
        for borrower in draw(st.sets(st.sampled_from("abc"), max_size=2)) - {owner}:
            deal = build.agreement(f"{owner}-{borrower}", owner, borrower, cap=gpus)
            agreements.append(replace(deal, pools=frozenset({more.id})))
    rules = replace(
        BARE,
        share_preemption=draw(st.sampled_from([True, True, False])),
        spill_after=draw(st.sampled_from([timedelta(0), timedelta(hours=1)])),
    )
    return build.policy(accounts, pools, quotas, agreements=tuple(agreements), rules=rules)


@st.composite
def crowds(draw: st.DrawFn) -> tuple[Policy, list[list[Any]]]:
    """A tree, and what happens in up to four waves: jobs come, and at times a run ends."""
    policy = draw(trees())
    above = {a.parent for a in policy.accounts}
    leaves = [a.name for a in policy.accounts if a.name not in above]
    hub = policy.pools[0]
    number, waves = 0, []
    for _ in range(draw(st.integers(1, 4))):
        wave = []
        for who in draw(st.lists(st.sampled_from(leaves), min_size=1, max_size=6)):
            number += 1
            nodes = draw(st.sampled_from([1, 1, 1, hub.node_count]))
            gpus = draw(st.integers(1, hub.gpus_per_node))
            background = draw(st.sampled_from([False] * 7 + [True]))
            job = build.job(
                f"j{number}", who, gpus, nodes, time_limit=30 * DAY, background=background
            )
            wave.append(job)
        wave += draw(st.lists(st.integers(0, 5), max_size=1))
        waves.append(wave)
    return policy, waves


def end_drained(world: World) -> None:
    """Let every victim end and come back, with its age."""
    for run in [run for run in world.runs.values() if run.draining]:
        world.apply(DropRun(run.id))
        world.apply(Put(requeued_job(run, None)))
        for other in [other for other in world.runs.values() if run.id in other.after]:
            more = {name: getattr(other, name) for name in other.__slots__}
            world.apply(Put(type(other)(**{**more, "after": other.after - {run.id}})))


def rounds_to_rest(policy: Policy, waves: list[list[Any]]) -> list[str]:
    """Play until nothing happens any more; return what moved, round by round, if it never does."""
    nodes = [n for p in policy.pools for n in build.nodes(p.id, p.node_count, p.gpus_per_node)]
    world, now, moved = World(policy, build.snapshot(nodes)), NOON, []
    for number in range(ROUNDS + len(waves)):
        for job in waves[number] if number < len(waves) else ():
            if not isinstance(job, int):
                world.apply(Put(job))
            elif world.runs:
                world.apply(DropRun(sorted(world.runs)[job % len(world.runs)]))
        result = plan(world, policy, now)
        world.advance(result)
        end_drained(world)
        now += 31 * MINUTE
        if number >= len(waves) and not result.starts:
            return []
        moved.append(f"{[s.job for s in result.starts]} for {[p.run for p in result.preempts]}")
    return moved


@settings(max_examples=150, deadline=None)
@given(crowds())
def test_r8_while_nothing_else_changes_preemption_comes_to_rest(crowd):
    """No run is preempted and restarted for ever: gangs, unequal sizes, starts in between."""
    policy, waves = crowd
    assert rounds_to_rest(policy, waves) == []


def test_r8_three_borrowers_do_not_go_round_in_a_circle():
    """Found by the property: `four` grew into what `other` freed, `one` took from it, and so on.

    `four` (4 GPUs) took from its sibling `one`, whose branch with `four` was then larger than
    `other`, who took 1 GPU back from it; now `one` was below `other`.
    """
    accounts = [
        build.account("national", None),
        build.account("filler", weight=7),
        build.account("c"),
        build.account("c0", "c"),
        build.account("c00", "c0", weight=1000),
        build.account("four", "c00"),
        build.account("c01", "c0", weight=3),
        build.account("one", "c01", weight=7),
        build.account("other", "c", weight=7),
    ]
    borrow = {"c0": 4, "c00": 4}
    rows = [build.quota(a.name, 0, borrow=borrow.get(a.name, 16)) for a in accounts[1:]]
    policy = build.policy(accounts, quotas=rows, rules=BARE)

    def job(name, who, gpus):
        return build.job(name, who, gpus, time_limit=30 * DAY)

    first = [job("j6", "filler", 1), job("j7", "one", 1), job("j11", "four", 4)]
    first.append(job("j12", "other", 7))
    then = [job("j13", "filler", 1), job("j15", "other", 1)]
    last = [job("j16", "other", 1), job("j17", "filler", 1), job("j18", "filler", 1)]
    assert rounds_to_rest(policy, [first, then, last]) == []
