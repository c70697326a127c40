"""The setting of a simulation: a policy with the trace's tenants, nodes, and jobs with gangs.

Where only rules are given, the cluster is one pool of like nodes that the root of a flat
tree owns: each tenant is a leaf of weight 1, has nothing guaranteed and may borrow all, so
that the rules alone decide who is next. A whole policy brings its own pools and quotas,
and each tenant of the trace must be one of its leaves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil

from scheduler.core import hardware
from scheduler.core.model import (
    Account,
    AccountName,
    Gpu,
    Job,
    Node,
    NodeId,
    Pool,
    PoolId,
    PriorityClass,
    Quota,
    Sector,
    Shape,
    Site,
    SiteId,
    Tier,
    User,
)
from scheduler.core.policy import Policy
from scheduler.errors import Refused
from scheduler.sim.history import Work
from scheduler.sim.rulebook import Rulebook
from scheduler.sim.source import Problems
from scheduler.sim.trace import Trace

_YEARS = 7000
_LONGEST_STORY = timedelta(days=365 * _YEARS)  # a datetime ends with the year 9999
_SITE = SiteId("cluster")


@dataclass(frozen=True, slots=True)
class Cluster:
    """Like nodes, as `--nodes` and `--gpus-per-node` say."""

    nodes: int
    gpus_per_node: int


@dataclass(frozen=True, slots=True)
class Setting:
    """All that an engine needs to know; `begins_at` is the trace's second 0."""

    begins_at: datetime
    policy: Policy
    nodes: tuple[Node, ...]
    works: tuple[Work, ...]

    @property
    def gpus(self) -> int:
        """Return the GPUs of all nodes."""
        return sum(len(node.gpus) for node in self.nodes)


def set_up(
    trace: Trace,
    cluster: Cluster | None,
    book: Rulebook | Policy,
    limits: Sequence[timedelta],
) -> Setting:
    """Return the setting in which the trace is replayed.

    Raises:
        Refused: no cluster is given, or another than the policy's; a tenant is not in the
            policy; a job is larger than the cluster; the story would not end in history.
    """
    if isinstance(book, Policy):
        policy = _whole(book, trace, cluster)
    elif cluster is None:
        told = "rules alone say nothing of nodes: --nodes and --gpus-per-node are needed"
        raise Refused("no cluster", told, next_step="for example --nodes 80 --gpus-per-node 8")
    else:
        policy = _filled(book, trace, cluster)
    _check_story(trace, limits)
    return Setting(trace.begins_at, policy, tuple(nodes_of(policy)), _works(trace, policy, limits))


def gang(gpus: int, nodes: int | None, gpus_per_node: int) -> tuple[int, int]:
    """Return a job's nodes and GPUs on each, on nodes of `gpus_per_node`.

    Where the trace says on how many nodes it ran and that divides, so it runs here too.
    Else it takes the fewest nodes, evenly: 12 GPUs on nodes of 8 are 2 x 6. What does not
    divide is rounded up, for a gang is like on all its nodes: 15 GPUs are 2 x 8.
    """
    if nodes is not None and gpus % nodes == 0 and gpus // nodes <= gpus_per_node:
        return nodes, gpus // nodes
    fewest = ceil(gpus / gpus_per_node)
    return fewest, ceil(gpus / fewest)


def _filled(book: Rulebook, trace: Trace, cluster: Cluster) -> Policy:
    tenants = sorted({job.tenant for job in trace.jobs})
    root = "cluster"
    while root in tenants:
        root += "-"
    pool = Pool(
        id=PoolId("cluster"),
        site=_SITE,
        tier=Tier.INSTITUTION,
        owner=AccountName(root),
        gpu_model="H100",
        gpus_per_node=cluster.gpus_per_node,
        node_count=cluster.nodes,
    )
    top = Account(AccountName(root), None, Sector.ACADEMIC)
    leaves = [Account(AccountName(name), top.name, Sector.ACADEMIC) for name in tenants]
    return Policy(
        revision=1,
        sites=(Site(_SITE, "the simulated cluster"),),
        accounts=(top, *leaves),
        users=tuple(User(name) for name in sorted({job.user for job in trace.jobs})),
        pools=(pool,),
        quotas=tuple(Quota(leaf.name, pool.id, 0, 0, pool.capacity) for leaf in leaves),
        agreements=(),
        tiers=book.tiers,
        hardware=hardware.TABLE,
        rules=book.rules,
    )


def _whole(policy: Policy, trace: Trace, cluster: Cluster | None) -> Policy:
    parents = {account.parent for account in policy.accounts}
    leaves = {account.name for account in policy.accounts if account.name not in parents}
    missing = sorted({job.tenant for job in trace.jobs} - leaves)
    if missing:
        raise Refused(
            title="tenants without an account",
            detail=f"{len(missing)} of the tenants of {trace.file} have no leaf account in the"
            " policy",
            field="accounts",
            value=", ".join(missing),
            next_step="add an account of that name, with nothing below it, for each of them",
        )
    has = sum(pool.node_count for pool in policy.pools)
    most = max((pool.gpus_per_node for pool in policy.pools), default=0)
    if not has:
        raise Refused("no pools", "the policy has no pools to run anything in", field="pools")
    if cluster is not None and (cluster.nodes, cluster.gpus_per_node) != (has, most):
        raise Refused(
            "another cluster",
            f"the policy's pools have {has} nodes of up to {most} GPUs, and the command line"
            f" says {cluster.nodes} x {cluster.gpus_per_node}",
            next_step="leave --nodes and --gpus-per-node out: a whole policy says it",
        )
    return policy


def _check_story(trace: Trace, limits: Sequence[timedelta]) -> None:
    """Refuse what could not be told within the years that a date can name."""
    longest = zip(trace.jobs, limits, strict=True)
    seconds = sum(max(job.duration, limit).total_seconds() for job, limit in longest)
    last = trace.jobs[-1].submit.total_seconds()
    if last + seconds > _LONGEST_STORY.total_seconds():
        raise Refused("too long", f"{trace.file} holds more than {_YEARS} years of run time")


def nodes_of(policy: Policy) -> list[Node]:
    """Return every node of the pools, all of them up."""
    built = []
    for pool in policy.pools:
        digits = len(str(pool.node_count))
        for number in range(1, pool.node_count + 1):
            name = f"{pool.id}-{number:0{digits}}"
            gpus = tuple(Gpu(i, f"{name}-{i}") for i in range(pool.gpus_per_node))
            built.append(Node(NodeId(name), pool.id, gpus))
    return built


def _works(trace: Trace, policy: Policy, limits: Sequence[timedelta]) -> tuple[Work, ...]:
    most = max(pool.gpus_per_node for pool in policy.pools)
    shapes: dict[tuple[int, int], Shape] = {}
    problems = Problems(trace.file)
    works = []
    for sequence, (job, limit) in enumerate(zip(trace.jobs, limits, strict=True)):
        size = gang(job.gpus, job.nodes, most)
        if size not in shapes:
            shapes[size] = Shape(*size)
        if not _fits_somewhere(size, policy):
            has = ", ".join(f"{pool.node_count} x {pool.gpus_per_node}" for pool in policy.pools)
            told = f"{job.gpus} GPUs need {size[0]} nodes with {size[1]}; the cluster has {has}"
            problems.add(job.line, "gpus", f"{told}: leave the job out, or have more nodes")
        works.append(
            Work(
                Job(
                    id=job.id,
                    user=job.user,
                    account=AccountName(job.tenant),
                    shape=shapes[size],
                    priority=PriorityClass.STANDARD,
                    submitted_at=trace.begins_at + job.submit,
                    sequence=sequence,
                    time_limit=limit,
                    name=job.name,
                ),
                job.duration,
            )
        )
    problems.settle()
    return tuple(works)


def _fits_somewhere(size: tuple[int, int], policy: Policy) -> bool:
    nodes, gpus = size
    return any(nodes <= pool.node_count and gpus <= pool.gpus_per_node for pool in policy.pools)
