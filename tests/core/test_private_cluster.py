"""R11, sharing safety: what others are lent or do costs a tenant no more than the notice.

A tenant's jobs are played twice by the simulator, on a shared pool and on a cluster of as many
nodes as the tenant is guaranteed. The property holds, and is tested, where

- *the tenant's jobs take whole nodes*: parts of a node are packed beside other parts than on a
  cluster of its own, and no cell tells which (HiveD's virtual placement would);
- *they never wait on its own cluster, even if each ran longer by the notice*: a job that waits for
  one that itself came a notice late is a notice later than that, so notices would add up;
- *who else is guaranteed anything does not borrow*: what it borrowed while it had more is not
  taken from it once it has no more than its nominal (R8.2, by sums), in whosever cells it is;
- *nobody has waited `hold_after`*: what is promised to the aged is kept from all others (R12).

Whatever else others send does not matter, nor how the blocks are wired. What happens outside of
these conditions is shown at the end, one example each.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.core.model import JobId, Node, Tier
from scheduler.core.policy import Policy, Rules
from scheduler.sim.engine import Engine
from scheduler.sim.history import Work
from tests import build
from tests.build import DAY, MINUTE, NOON

GPUS = 4
NOTICE = timedelta(seconds=60)
RULES = Rules(hold_after=1000 * DAY, hold_gangs_after=1000 * DAY, min_runtime=timedelta(0))
TENANT = "t"
OTHERS = ("u", "v", "w")


class Setting(NamedTuple):
    """A shared pool: how many nodes each account is guaranteed, and the sizes of its blocks.

    Who is guaranteed nothing borrows; the others only if they are `borrowers`.
    """

    nominals: dict[str, int]
    blocks: tuple[int, ...]
    borrowers: frozenset[str] = frozenset()
    rules: Rules = RULES

    def policy(self) -> Policy:
        accounts = [build.account("national", None), *map(build.account, self.nominals)]
        pool = build.pool(nodes=sum(self.blocks), gpus_per_node=GPUS, tier=Tier.TEAM)
        rows = [
            build.quota(who, count * GPUS, borrow=self._most(who, pool.capacity))
            for who, count in self.nominals.items()
        ]
        return build.policy(accounts, [pool], rows, rules=self.rules)

    def _most(self, who: str, capacity: int) -> int:
        return capacity if who in self.borrowers or not self.nominals[who] else 0

    def nodes(self) -> list[Node]:
        return [
            build.node(f"hub-{b}-{n}", gpus=GPUS, block=f"block-{b}")
            for b, size in enumerate(self.blocks)
            for n in range(size)
        ]

    def private(self) -> "Setting":
        """Return a cluster of the tenant's own, of as many nodes as it is guaranteed."""
        count = self.nominals[TENANT]
        return Setting({TENANT: count}, (count,))


def first_starts(setting: Setting, works: list[Work]) -> dict[JobId, datetime]:
    """Play the jobs to their end; return when each was first at work."""
    found: dict[JobId, datetime] = {}
    for attempt in Engine(setting.policy(), setting.nodes()).run(works, NOON).attempts:
        # A lease that was taken away while its own victims still drained never got to work.
        if attempt.end_at > attempt.start_at:
            found[attempt.job] = min(attempt.start_at, found.get(attempt.job, attempt.start_at))
    return found


def lateness(setting: Setting, works: list[Work]) -> dict[JobId, timedelta]:
    """By how much the tenant's jobs start later than on a cluster of its own."""
    alone = first_starts(setting.private(), of_tenant(works))
    shared = first_starts(setting, works)
    return {name: shared.get(name, NOON + 1000 * DAY) - at for name, at in alone.items()}


def late(setting: Setting, works: list[Work]) -> dict[JobId, timedelta]:
    """Those that are later than by the notice."""
    return {name: by for name, by in lateness(setting, works).items() if by > NOTICE}


def of_tenant(works: list[Work]) -> list[Work]:
    return [row for row in works if row.job.account == TENANT]


def longer(row: Work) -> Work:
    """Return a job that runs longer by the notice."""
    job = replace(row.job, time_limit=row.job.time_limit + NOTICE)
    return replace(row, job=job, duration=row.duration + NOTICE)


def unhurried(setting: Setting, works: list[Work]) -> list[Work]:
    """Leave out the tenant's jobs that would wait on its own cluster, if each ran longer."""
    kept = works
    while True:
        mine = [longer(row) for row in of_tenant(kept)]
        alone = first_starts(setting.private(), mine)
        waiting = {row.job.id for row in mine if alone.get(row.job.id) != row.job.submitted_at}
        if not waiting:
            return kept
        kept = [row for row in kept if row.job.id not in waiting]


def work(number: int, who: str, gang: tuple[int, int], times: tuple[int, int]) -> Work:
    """Return a job of nodes x GPUs that comes so many minutes after NOON and runs to its limit."""
    at, minutes = times
    limit = MINUTE * minutes
    job = build.job(f"j{number}", who, gang[1], gang[0], time_limit=limit)
    return Work(replace(job, submitted_at=NOON + MINUTE * at), limit)


def sent(*rows: tuple[str, tuple[int, int], tuple[int, int]]) -> list[Work]:
    """Return jobs (who, nodes x GPUs, when and how long), numbered from 1 as they come."""
    ordered = sorted(rows, key=lambda row: row[2][0])
    return [work(number, *row) for number, row in enumerate(ordered, 1)]


@st.composite
def pools(draw: st.DrawFn) -> Setting:
    """Two others that may be guaranteed something and one that is not; blocks of any sizes."""
    nominals = {TENANT: draw(st.integers(1, 4)), "u": draw(st.integers(0, 3))}
    nominals |= {"v": draw(st.integers(0, 3)), "w": 0}
    left, blocks = sum(nominals.values()) + draw(st.integers(0, 2)), []
    while left:
        blocks.append(min(left, draw(st.sampled_from([1, 2, 2, 3, 9]))))
        left -= blocks[-1]
    return Setting(nominals, tuple(blocks))


GANGS = st.tuples(st.integers(1, 3), st.integers(1, GPUS))
WHOLE = st.tuples(st.integers(1, 4), st.just(GPUS))
TIMES = st.tuples(st.integers(0, 40), st.sampled_from([5, 10, 20, 45]))


def streams(who: st.SearchStrategy[str], gangs: Any) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.tuples(who, gangs, TIMES), max_size=14)


@settings(max_examples=100, deadline=None)
@given(pools(), streams(st.just(TENANT), WHOLE), streams(st.sampled_from(OTHERS), GANGS))
def test_r11_a_tenants_jobs_start_as_on_a_cluster_of_its_own_but_for_the_notice(
    setting, mine, others
):
    assert late(setting, unhurried(setting, sent(*mine, *others))) == {}


def test_r11_where_the_tenants_own_jobs_come_late_notices_add_up():
    """The first is late by one notice; the second waits for it, and then for whom it recalls."""
    shared = Setting({TENANT: 2, "w": 0}, (2,))
    lent = [("w", (1, GPUS), (0, 45))] * 2
    works = sent(*lent, (TENANT, (1, GPUS), (5, 10)), (TENANT, (2, GPUS), (15, 10)))
    assert lateness(shared, works) == {"j3": NOTICE, "j4": 2 * NOTICE}


def test_r11_what_an_account_within_its_nominal_has_borrowed_stays_until_its_limit():
    """R8.2 by sums: `v` borrowed the tenant's node while it had 9 GPUs; it has 6 of its 8 again.

    Its first job is on both nodes that it is guaranteed, so that it has no whole one to go to.
    """
    jobs = [("v", (2, 1), (0, 45)), ("v", (1, 3), (1, 10)), ("v", (1, GPUS), (2, 30))]
    works = sent(*jobs, (TENANT, (1, GPUS), (12, 10)))
    shared = Setting({TENANT: 1, "v": 2}, (3,), borrowers=frozenset({"v"}))
    assert lateness(shared, works) == {"j4": MINUTE * 20}
    assert lateness(shared._replace(borrowers=frozenset()), works) == {"j4": timedelta(0)}


def test_r11_parts_of_a_node_beside_what_is_lent_spread_until_their_limits():
    """Alone, both halves share a node. Here one is beside `w`, the other has begun a second node.

    The whole node that comes then is `u`'s: the tenant has what it is guaranteed, in parts.
    """
    halves = [(TENANT, (1, 2), (1, 20)), (TENANT, (1, 2), (2, 20))]
    works = sent(("w", (1, 2), (0, 45)), *halves, (TENANT, (1, GPUS), (3, 5)))
    by = lateness(Setting({TENANT: 2, "u": 1, "w": 0}, (3,)), works)
    assert by == {"j2": timedelta(0), "j3": timedelta(0), "j4": MINUTE * 18}


def test_r12_an_aged_job_may_have_a_tenants_node_until_a_limit():
    """`v`'s second job is within its nominal, but no whole node is its own: cells keep it out."""
    works = sent(("v", (2, 1), (0, 45)), ("v", (1, GPUS), (1, 60)), (TENANT, (1, GPUS), (10, 10)))
    shared = Setting({TENANT: 1, "v": 2}, (3,))
    assert lateness(shared, works) == {"j3": timedelta(0)}
    aged = replace(RULES, hold_after=MINUTE * 5, hold_gangs_after=MINUTE * 5)
    assert lateness(shared._replace(rules=aged), works) == {"j3": MINUTE * 35}
