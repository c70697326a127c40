"""Orders x members on this machine -> what to do. Pure: no clock, no files, no processes.

Level-triggered: it looks at what is, and asking again after its actions were carried out asks
for nothing more. A member that was ever here is never begun again, an order with a lower
token is as if it had not been given, and a member without a keeper gets one, which ends it.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from scheduler.wire.launches import LaunchPhase


@dataclass(frozen=True, slots=True)
class Wanted:
    """An order, as far as it matters here; `expires` in seconds of uptime."""

    token: int
    expires: float


@dataclass(frozen=True, slots=True)
class Local:
    """A member that is or was here; `kept`: its keeper lives; `stopping`: it was told to end."""

    token: int
    expires: float
    phase: LaunchPhase
    kept: bool
    stopping: bool = False


@dataclass(frozen=True, slots=True)
class Begin:
    """Write the order down and start a keeper for it."""

    run: str


@dataclass(frozen=True, slots=True)
class Renew:
    """Let it go on for longer."""

    run: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Tell its keeper to end it."""

    run: str


@dataclass(frozen=True, slots=True)
class Rescue:
    """Start a keeper for what has none."""

    run: str


@dataclass(frozen=True, slots=True)
class Forget:
    """Drop what is kept of a fenced member: the hub has settled it."""

    run: str


Action = Begin | Renew | Stop | Rescue | Forget


def reconcile(
    wanted: Mapping[str, Wanted] | None,
    settled: Collection[str],
    local: Mapping[str, Local],
    now: float,
) -> tuple[Action, ...]:
    """Return what to do. `wanted` None: the hub has not said; members go on till they expire."""
    actions: list[Action] = []
    for run, member in sorted(local.items()):
        if member.phase is LaunchPhase.FENCED:
            actions += [Forget(run)] if run in settled else []
            continue
        if not member.kept:
            actions.append(Rescue(run))
        if wanted is not None and not member.stopping:
            actions += _of_member(run, member, wanted.get(run))
    for run, order in sorted((wanted or {}).items()):
        if run not in local and order.expires > now:
            actions.append(Begin(run))
    return tuple(actions)


def _of_member(run: str, member: Local, order: Wanted | None) -> list[Action]:
    if order is None:
        return [Stop(run)]
    newer = order.token > member.token or order.expires > member.expires
    return [Renew(run)] if order.token >= member.token and newer else []
