"""Which faults take a node out of work, and what brings it back (R19).

Two kinds of facts come from a node: what is so now (a GPU that waits for a row remap), and
what happened (an XID). The first is judged as it stands; the second by a table of rules in
`xids.py`, with the last day's history for those that matter only when they repeat.

Source: scheduling.md R19; notes/nvml_prometheus.md §2.1 and §2.2.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum

PROBE = timedelta(minutes=5)
"""How long a node must have been without any finding before it returns by itself."""
HISTORY = timedelta(hours=24)
"""How far back repeats are counted."""


class Action(IntEnum):
    """What a finding asks for; the larger contains the smaller."""

    IGNORE = 0
    TELL = 1  # the job that runs there: its application has failed, the node has not
    CORDON = 2  # no new work; what runs may finish
    DRAIN = 3  # and what runs is requeued elsewhere
    REBOOT = 4  # and the machine needs more than a reset


class Clears(StrEnum):
    """What a cordon waits for, beside `PROBE` without findings."""

    FACTS = "facts"  # nothing else
    RESTART = "restart"  # the agent began anew: a reset makes it let go of the driver
    WORD = "word"  # an operator's `commonpool node resume`


@dataclass(frozen=True, slots=True)
class GpuFacts:
    """What a node says of a GPU; None where its driver does not say."""

    index: int
    healthy: bool = True
    why_unhealthy: str = ""
    ecc_uncorrected: int | None = None
    remap_pending: bool | None = None
    remap_failed: bool | None = None
    recovery_action: int | None = None


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What a node says of itself. `sampler` is `ok`, `starting`, or why it is blind."""

    gpus: tuple[GpuFacts, ...]
    sampler: str = "ok"


@dataclass(frozen=True, slots=True)
class XidEvent:
    """An XID that came `count` times on a GPU. `user` had the lease there; empty: nobody."""

    at: datetime
    gpu: int
    xid: int
    count: int = 1
    user: str = ""


@dataclass(frozen=True, slots=True)
class Repeat:
    """From `times` within `HISTORY` on, a rule asks for more; by so many `users`, if given."""

    times: int
    action: Action
    users: int = 0


@dataclass(frozen=True, slots=True)
class XidRule:
    """What an XID means, what it asks for, and what an operator should do about it."""

    xid: int
    means: str
    action: Action
    todo: str
    source: str
    clears: Clears = Clears.RESTART
    repeat: Repeat | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """Why a node may not work, in one sentence, and what to do."""

    action: Action
    why: str
    todo: str
    clears: Clears
    gpu: int | None = None


@dataclass(frozen=True, slots=True)
class Cordon:
    """A node that takes no new work. `by` is `health`, or the operator who said so.

    `clean_since` is from when nothing was found any more; None while something is.
    """

    action: Action
    why: str
    by: str
    at: datetime
    clears: Clears
    until: datetime | None = None
    clean_since: datetime | None = None


HEALTH = "health"


def standing(facts: NodeFacts) -> list[Finding]:
    """Return what is wrong with a node as it stands."""
    found = [finding for gpu in facts.gpus for finding in _gpu_findings(gpu)]
    if facts.sampler not in _SEEING:
        todo = "look at the node agent's log, and at nvidia-smi on the node"
        found.append(Finding(Action.CORDON, _BLIND[facts.sampler], todo, Clears.FACTS))
    return found


_SEEING = frozenset({"ok", "starting"})
_BLIND = {
    "stuck": "a call into its GPU driver does not come back",
    "no_driver": "its GPU driver is not loaded",
    "driver_replaced": "its GPU driver was replaced under the node agent",
    "ended": "its node agent no longer reads the GPUs",
}


def _gpu_findings(gpu: GpuFacts) -> list[Finding]:
    found, name = [], f"GPU {gpu.index}"
    if gpu.remap_failed:
        why = f"{name} could not remap a row of its memory"
        found.append(Finding(Action.DRAIN, why, "replace the GPU", Clears.WORD, gpu.index))
    if gpu.remap_pending:
        why = f"{name} waits for a reset to remap a row of its memory"
        found.append(Finding(Action.CORDON, why, "reset the GPU", Clears.FACTS, gpu.index))
    if gpu.ecc_uncorrected:
        why = f"{name} has {gpu.ecc_uncorrected} uncorrectable memory errors since its reset"
        todo = "reset the GPU; replace it where the errors come back"
        found.append(Finding(Action.CORDON, why, todo, Clears.FACTS, gpu.index))
    if gpu.recovery_action:
        action, todo = _RECOVERY.get(gpu.recovery_action, _UNKNOWN_RECOVERY)
        why = f"{name}: the driver asks to {todo}"
        found.append(Finding(action, why, todo, Clears.FACTS, gpu.index))
    return found


# NVML's field 230; a number that a newer driver adds is taken for a reset.
_RECOVERY = {
    1: (Action.CORDON, "reset the GPU"),
    2: (Action.REBOOT, "reboot the node"),
    3: (Action.DRAIN, "drain its peer-to-peer traffic"),
    4: (Action.DRAIN, "drain and reset the GPU"),
    5: (Action.DRAIN, "recover the IMEX domain"),
    6: (Action.DRAIN, "reset the GPU's bus"),
    7: (Action.REBOOT, "reboot the system"),
}
_UNKNOWN_RECOVERY = (Action.CORDON, "reset the GPU")


def happened(
    new: Sequence[XidEvent], past: Iterable[XidEvent], rules: dict[int, XidRule]
) -> list[Finding]:
    """Return what new XIDs ask for, in the light of the last day's on the same GPU."""
    history = [*past, *new]
    return [_finding(event, history, rules) for event in new]


def _finding(event: XidEvent, history: Sequence[XidEvent], rules: dict[int, XidRule]) -> Finding:
    rule = rules.get(event.xid, _unknown(event.xid))
    alike = [e for e in history if _is_alike(e, event)]
    times, users = sum(e.count for e in alike), {e.user for e in alike if e.user}
    action, more = rule.action, ""
    repeat = rule.repeat
    if repeat is not None and times >= repeat.times and len(users) >= repeat.users:
        action, more = max(action, repeat.action), f", {times} times in a day"
        if repeat.users:
            more += f", under {len(users)} people's jobs"
    why = f"GPU {event.gpu} reported XID {event.xid} ({rule.means}){more}"
    return Finding(action, why, rule.todo, rule.clears, event.gpu)


def _is_alike(one: XidEvent, other: XidEvent) -> bool:
    same = one.xid == other.xid and one.gpu == other.gpu
    return same and other.at - one.at <= HISTORY


def _unknown(xid: int) -> XidRule:
    # A code that nobody has described is not a reason to take eight GPUs away from people.
    return XidRule(xid, "not in the table", Action.TELL, "look it up in NVIDIA's catalogue", "")


def worst(findings: Iterable[Finding]) -> Finding | None:
    """Return the finding that asks for most; of equals the first."""
    return max(findings, key=lambda finding: finding.action, default=None)


def cordoned(
    known: Cordon | None, findings: Sequence[Finding], clean: bool, restarted: bool, now: datetime
) -> Cordon | None:
    """Return a node's cordon after a report; None: it may work.

    An operator's cordon stands. One of health grows with a worse finding, and starts to count
    clean time once nothing is found and every GPU is there; `watch` lifts it after `PROBE`.
    """
    found = worst(findings)
    if found is not None and found.action < Action.CORDON:
        found = None
    if known is None:
        return None if found is None else _from(found, now)
    if known.by != HEALTH:
        return known
    if found is not None and found.action > known.action:
        return _from(found, now)
    if restarted and known.clears is Clears.RESTART:
        known = replace(known, clears=Clears.FACTS)
    if found is not None or not clean:
        return replace(known, clean_since=None)
    return replace(known, clean_since=known.clean_since or now)


def _from(finding: Finding, now: datetime) -> Cordon:
    why = f"{finding.why}: {finding.todo}"
    return Cordon(finding.action, why, HEALTH, now, finding.clears)


def is_clean(facts: NodeFacts) -> bool:
    """Return whether a node is seen whole and well: a probe that it passes by working."""
    seen = facts.sampler == "ok" and all(gpu.healthy for gpu in facts.gpus)
    return seen and not standing(facts)


def is_over(cordon: Cordon, now: datetime) -> bool:
    """Return whether a cordon ends now by itself: its time is up, or its node was clean."""
    if cordon.until is not None and cordon.until <= now:
        return True
    if cordon.by != HEALTH or cordon.clears is not Clears.FACTS:
        return False
    return cordon.clean_since is not None and now - cordon.clean_since >= PROBE
