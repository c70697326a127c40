"""Whose process is on a GPU: the run that has it leased, or somebody it was not leased to.

In this order: the run that the process says it is of, held against the GPUs of that run's
lease; its control group; the pod that Kubernetes gave the GPU to. A process is never
believed against its control group, and what cannot be known is told as such.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf

from agents.node.origins import Origin, Origins, Seen
from agents.node.samples import Gpu, GpuSample, Process

_RUN_OF_POD = re.compile(r"(cp-[a-z0-9]+-[0-9]+)-")
_JOB_OF_RUN = re.compile(r"cp-(.+)-[0-9]+")
_SERVERS = ("nvidia-cuda-mps", "nvidia-persiste")
"""Servants of the driver, as the kernel shortens their names: nobody's use of a GPU."""


class Standing(StrEnum):
    """What a process on a GPU is to us."""

    LEASED = "leased"
    FOREIGN = "foreign"
    UNKNOWN = "unknown"


class By(StrEnum):
    """What tells a process's run."""

    LEASE = "lease"
    CGROUP = "cgroup"
    POD = "pod"


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod that Kubernetes gave a GPU to."""

    namespace: str
    name: str
    container: str = ""

    def __str__(self) -> str:
        """Return it as kubectl writes it."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Holder:
    """A process on a GPU, and whose it is. `why` is told where it is not its GPU's run.

    `guest`: its run sits on a lease that another run leaves idle.
    """

    gpu: Gpu
    pid: int
    standing: Standing
    run: str = ""
    by: By | None = None
    pod: Pod | None = None
    said_job: str = ""
    why: str = ""
    guest: bool = False

    @property
    def job(self) -> str:
        """The job that the run is an attempt at."""
        found = _JOB_OF_RUN.fullmatch(self.run)
        return self.said_job or (found[1] if found else "")


@dataclass(frozen=True, slots=True)
class Rights:
    """What is known of who may use which GPU.

    `leases`: the UUIDs of each run's lease here, as the hub tells it; None where it does
    not, and then a run's own word about its lease counts. They are as of `leases_at`, in seconds
    since the machine started: of a process that began later they do not know. `pods`: by the
    GPU's UUID.
    """

    leases: Mapping[str, frozenset[str]] | None = None
    leases_at: float = inf
    pods: Mapping[str, Pod] = field(default_factory=dict)


def holders(
    samples: Iterable[GpuSample], rights: Rights, origins: Origins | Seen
) -> tuple[Holder, ...]:
    """Return every process on these GPUs with whose it is, looked up in /proc once each."""
    found = tuple(
        judged(sample.gpu, process.pid, origins.of(process.pid), rights, device)
        for sample, process, device in _processes(samples)
    )
    return tuple(holder for holder in found if holder is not None)


def in_pods(samples: Iterable[GpuSample], origins: Origins | Seen) -> frozenset[tuple[str, str]]:
    """Return the devices on which processes of pods are, with their pods' uids."""
    return frozenset(
        (device, origin.pod_uid)
        for _, process, device in _processes(samples)
        if (origin := origins.of(process.pid)) is not None and origin.pod_uid
    )


def _processes(samples: Iterable[GpuSample]) -> Iterator[tuple[GpuSample, Process, str]]:
    """Yield each process with the UUID of what it has: a GPU, or a slice of one."""
    for sample in samples:
        slices = {mig.gpu_instance: mig.uuid for mig in sample.mig}
        for process in sample.processes or ():
            of_slice = (
                slices.get(process.gpu_instance) if process.gpu_instance is not None else None
            )
            yield sample, process, of_slice or sample.gpu.uuid


def judged(
    gpu: Gpu, pid: int, origin: Origin | None, rights: Rights, device: str = ""
) -> Holder | None:
    """Say whose process this is; None for a servant of the driver, which is nobody's.

    `device` is the UUID that Kubernetes knows: of a slice, where the process has only that.
    """
    if origin is None:
        why = "no such process is seen from here: it ended, or the agent lacks the host's pids"
        return Holder(gpu, pid, Standing.UNKNOWN, why=why)
    if origin.name.startswith(_SERVERS):
        return None
    pod = rights.pods.get(device or gpu.uuid) if origin.pod_uid else None
    run, by = _run(origin, pod)
    why = _objection(gpu, run, origin, rights)
    if why == "" and run:
        mine = Standing.LEASED
        return Holder(gpu, pid, mine, run, by, pod, origin.job, guest=origin.guest)
    if why == "" and pod is None and not origin.readable and not _is_free(gpu, origin, rights):
        why = "its environment may not be read: the agent needs CAP_SYS_PTRACE"
        return Holder(gpu, pid, Standing.UNKNOWN, why=why)
    whose = f"pod {pod}" if pod else f"a process of no run ({origin.name})"
    return Holder(gpu, pid, Standing.FOREIGN, run, by, pod, origin.job, why or whose)


def _run(origin: Origin, pod: Pod | None) -> tuple[str, By | None]:
    """Return the run of a process, and what tells it; the kernel's word is in `_objection`."""
    if origin.run:
        return origin.run, By.LEASE
    if origin.cgroup_run:
        return origin.cgroup_run, By.CGROUP
    of_pod = _RUN_OF_POD.match(pod.name) if pod else None
    return (of_pod[1], By.POD) if of_pod else ("", None)


def _objection(gpu: Gpu, run: str, origin: Origin, rights: Rights) -> str:
    """Say why a run's process may not be on this GPU; empty if it may, or is of no run."""
    if not run:
        return ""
    if origin.cgroup_run and origin.cgroup_run != run:
        return f"it says {run} and runs in the control group of {origin.cgroup_run}"
    if rights.leases is not None:
        leased = rights.leases.get(run)
        if leased is not None:
            return "" if gpu.uuid in leased else f"the lease of {run} is not on this GPU"
        if origin.started < rights.leases_at:
            return f"{run} has no lease on this node"
    if origin.run and origin.gpus is not None and gpu.index not in origin.gpus:
        return f"the lease of {run} is not on this GPU"
    return ""


def _is_free(gpu: Gpu, origin: Origin, rights: Rights) -> bool:
    """Return whether it is known that nobody had this GPU leased when a process began."""
    if rights.leases is None or origin.started >= rights.leases_at:
        return False
    return all(gpu.uuid not in leased for leased in rights.leases.values())
