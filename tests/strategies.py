"""Whole small worlds for properties: a policy that its own checks accept, and a history.

A history is played by the planner itself, so that every world is one that could have come
about: runs with the class and the GPUs that they really got, draining ones, borrowed ones.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from scheduler.core.decisions import Plan, apply
from scheduler.core.events import apply_event
from scheduler.core.model import Job, PriorityClass, Run, RunState, Sector, Tier
from scheduler.core.plan import plan
from scheduler.core.policy import Policy, Rules
from scheduler.core.snapshot import DropJob, DropRun, Event, Put, Snapshot
from scheduler.core.world import World, requeued_job
from tests import build
from tests.build import HOUR, MINUTE, NOON

LEAVES = ("a1", "a2", "b1", "solo")
USERS = ("ann", "bob")
Step = tuple[str, Any]


@dataclass(frozen=True)
class Scene:
    """A world as it came about: the policy, what happened so far, and what time it is."""

    policy: Policy
    snapshot: Snapshot
    now: datetime

    def world(self) -> World:
        return World(self.policy, self.snapshot)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """A root, institutions `a` (teams a1, a2) and `b` (b1), and an outsider or team `solo`."""
    accounts = [
        build.account("national", None),
        build.account("a", weight=draw(st.integers(1, 3))),
        build.account("a1", "a"),
        build.account("a2", "a", weight=draw(st.integers(1, 2))),
        build.account("b"),
        build.account("b1", "b"),
        build.account("solo", sector=Sector.INDUSTRY),
    ]
    pools = [
        build.pool(
            "hub", "national", draw(st.integers(1, 3)), gpus_per_node=draw(st.sampled_from([2, 4]))
        )
    ]
    if draw(st.booleans()):
        pools.append(
            build.pool("hpc", "a", draw(st.integers(1, 2)), gpus_per_node=4, tier=Tier.INSTITUTION)
        )
    quotas = []
    for pool in pools:
        tops = ("a", "b", "solo") if pool.owner == "national" else ("a1", "a2")
        quotas += draw(_rows(pool.id, tops, pool.capacity, pool.capacity))
    agreements = []
    if len(pools) == 2 and draw(st.booleans()):
        cap = draw(st.integers(1, 8))
        agreements.append(
            build.agreement("lend", "a", Sector.INDUSTRY, pools=frozenset({pools[1].id}), cap=cap)
        )
    return build.policy(
        accounts,
        pools,
        quotas,
        agreements=tuple(agreements),
        users=(build.user("ann"), build.user("bob", max_gpus=draw(st.sampled_from([None, 3, 8])))),
        budgets=tuple(
            build.budget(f"grant-{who}", who, draw(st.sampled_from([4, 20])))
            for who in draw(st.sets(st.sampled_from(["a", "a1", "b"]), max_size=2))
        ),
        rules=Rules(
            half_life=draw(st.sampled_from([HOUR, timedelta(days=14)])),
            reserve_depth=draw(st.integers(0, 2)),
            spill_after=draw(st.sampled_from([timedelta(0), HOUR])),
        ),
    )


@st.composite
def _rows(draw: st.DrawFn, where: str, names: tuple[str, ...], nominal: int, home: int) -> Any:
    """Quota rows of siblings, and of those below them, that fit into their parent's."""
    rows = []
    for name in names:
        own = draw(st.integers(0, nominal)) if nominal else 0
        kept = draw(st.sampled_from([0, 0, min(own, home)]))
        nominal, home = nominal - own, home - kept
        rows.append(build.quota(name, own, own - kept, draw(st.sampled_from([0, 4, 12])), where))
        below = {"a": ("a1", "a2"), "b": ("b1",)}.get(name, ())
        rows += draw(_rows(where, below, own, kept)) if below else []
    return rows


def jobs(number: int) -> st.SearchStrategy[Job]:
    """A job of any account, mostly small and mostly preemptible."""
    return st.builds(
        _job,
        st.just(number),
        st.sampled_from(LEAVES),
        st.sampled_from([(1, 1), (1, 2), (1, 2), (1, 4), (2, 1), (2, 2), (3, 2), (2, 4)]),
        st.sampled_from([*PriorityClass, PriorityClass.STANDARD]),
        st.sampled_from([1, 1, 2, 5]),
        st.tuples(st.sampled_from(USERS), st.sampled_from([True, True, True, False])),
    )


def _job(
    number: int,
    who: str,
    gang: tuple[int, int],
    priority: PriorityClass,
    hours: int,
    rest: tuple[str, bool],
) -> Job:
    user, preemptible = rest
    return build.job(
        f"j{number}",
        who,
        gang[1],
        gang[0],
        user=user,
        priority=priority,
        time_limit=HOUR * hours,
        preemptible=preemptible or priority is PriorityClass.BACKGROUND,
    )


def steps(rounds: int = 3) -> st.SearchStrategy[list[Step]]:
    """What happens: each round jobs come, a cycle plans, and some runs end or nodes fail.

    At the end more jobs come, of which no cycle knows yet.
    """
    submit = st.tuples(st.just("submit"), jobs(0))
    index = st.integers(0, 5)
    happening = st.one_of(
        st.tuples(st.just("wait"), st.integers(1, 90)),
        st.tuples(
            st.sampled_from(["end", "end", "cancel", "stop", "toggle", "lend", "lend", "recall"]),
            index,
        ),
    )
    burst = st.lists(submit, min_size=2, max_size=6)
    turn = st.tuples(burst, st.lists(happening, max_size=3)).map(
        lambda parts: [*parts[0], ("plan", None), *parts[1]]
    )
    return st.tuples(st.lists(turn, min_size=1, max_size=rounds), burst).map(
        lambda parts: [*(step for turn in parts[0] for step in turn), *parts[1]]
    )


@st.composite
def scenes(draw: st.DrawFn, rounds: int = 3) -> Scene:
    """A world after a random history."""
    return play(draw(policies()), draw(steps(rounds)))


def start(policy: Policy) -> Scene:
    """The beginning: all nodes up, nothing submitted."""
    nodes = [
        build.node(f"{pool.id}-{n}", pool.id, pool.gpus_per_node, block=f"block-{n // 2}")
        for pool in policy.pools
        for n in range(pool.node_count)
    ]
    return Scene(policy, build.snapshot(nodes), NOON)


def moments(policy: Policy, history: list[Step]) -> Iterator[tuple[Scene, Event | Plan | None]]:
    """Yield the scene before each thing that happens, and what happens: an event or a plan.

    The last one is the end, where nothing more happens.
    """
    scene = start(policy)
    for number, (what, value) in enumerate(history, start=1):
        if what == "plan":
            decided = plan(scene.world(), policy, scene.now)
            yield scene, decided
            scene = replace(scene, snapshot=apply(scene.snapshot, decided))
        elif what == "wait":
            scene = replace(scene, now=scene.now + MINUTE * value)
        else:
            for event in _events(scene, what, value, number):
                yield scene, event
                scene = replace(scene, snapshot=apply_event(scene.snapshot, event))
    yield scene, None


def play(policy: Policy, history: list[Step]) -> Scene:
    """Let a history happen, and return where it leads."""
    return [scene for scene, _ in moments(policy, history)][-1]


def _events(scene: Scene, what: str, value: Any, number: int) -> list[Event]:
    snapshot = scene.snapshot
    if what == "submit":
        name = build.job(f"j{number}").id
        return [Put(replace(value, id=name, sequence=number, submitted_at=scene.now))]
    if what == "toggle":
        names = sorted(snapshot.nodes)
        node = snapshot.nodes[names[value % len(names)]]
        return [Put(replace(node, usable=not node.usable, why_unusable="XID 79"))]
    if what == "cancel":
        waiting = sorted(snapshot.jobs)
        return [DropJob(waiting[value % len(waiting)])] if waiting else []
    return _of_run(scene, what, value) if snapshot.runs else []


def _of_run(scene: Scene, what: str, value: Any) -> list[Event]:
    snapshot = scene.snapshot
    run = snapshot.runs[sorted(snapshot.runs)[value % len(snapshot.runs)]]
    told = {"stop": _stopped, "lend": _lent, "recall": _recalled}.get(what)
    return _ended(run, snapshot) if told is None else told(run, snapshot, scene.now)


def _ended(run: Run, snapshot: Snapshot) -> list[Event]:
    ended: list[Event] = [DropRun(run.id)]
    if run.draining:
        ended.append(Put(requeued_job(run, None)))
    # Who waited for it waits no longer.
    ended += [
        Put(replace(other, after=other.after - {run.id}))
        for other in snapshot.runs.values()
        if run.id in other.after
    ]
    return ended


def _stopped(run: Run, _: Snapshot, now: datetime) -> list[Event]:
    # Who ends already is given no more time.
    return [Put(replace(run, state=RunState.STOPPING, stop_at=run.stop_at or now))]


def _lent(run: Run, _: Snapshot, now: datetime) -> list[Event]:
    """A run is found to do nothing, and its lease is lent (R18)."""
    if run.state is not RunState.LEASED or run.draining or run.shape.background or run.over:
        return []
    return [Put(replace(run, state=RunState.RUNNING, started_at=now, lent=True))]


def _recalled(run: Run, snapshot: Snapshot, now: datetime) -> list[Event]:
    """It works again: whoever sits on its lease is told to leave."""
    if not run.lent:
        return []
    leave = (guest for guest in snapshot.runs.values() if guest.over == run.id)
    told = {"state": RunState.STOPPING, "draining": True, "stop_at": now + MINUTE}
    return [Put(replace(run, lent=False)), *(Put(replace(guest, **told)) for guest in leave)]
