"""Two institutions that share a hub, and how to ask the planner about them."""

from scheduler.core.decisions import Plan
from scheduler.core.explain import Reason
from scheduler.core.model import Sector
from scheduler.core.plan import plan
from scheduler.core.policy import Policy
from scheduler.core.snapshot import Snapshot
from scheduler.core.world import World
from tests import build
from tests.build import NOON

TREE = [
    build.account("national", None),
    build.account("a"),
    build.account("b"),
    build.account("guest", sector=Sector.INDUSTRY),
]
HALVES = [build.quota("a", 8, borrow=8), build.quota("b", 8, borrow=8)]
"""Two institutions, 8 GPUs each of a hub of 16, that lend all of it to each other."""

SHARED = build.policy(TREE, quotas=HALVES)
ALL_BUSY = {"hub-1": range(8), "hub-2": range(8)}


def decide(policy: Policy, snapshot: Snapshot, now=NOON) -> Plan:
    return plan(World(policy, snapshot), policy, now)


def started(result: Plan) -> list[str]:
    return [start.job for start in result.starts]


def reasons(result: Plan, job: str) -> dict[str | None, Reason]:
    """Why a job waits, by pool."""
    hold = next(h for h in result.holds if h.job == job)
    return {verdict.pool: verdict.reason for verdict in hold.verdicts}
