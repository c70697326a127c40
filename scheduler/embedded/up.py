"""`commonpool up`: check, prepare, start, and wait until every part really is ready."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from scheduler.clock import Clock, SystemClock
from scheduler.core.policy import Policy
from scheduler.embedded import checks, ready
from scheduler.embedded.down import take_down
from scheduler.embedded.instance import SUPERVISOR, Presence, alone, look
from scheduler.embedded.layout import Layout
from scheduler.embedded.narrator import Narrator
from scheduler.embedded.plan import HEAD_PORTS, Ports, node_names, shared_sites, specs
from scheduler.embedded.prepare import prepare
from scheduler.embedded.processes import Spec, read_record, spawn, specs_to_json, tail
from scheduler.embedded.trouble import Trouble
from scheduler.embedded.waiting import pause

_STEP_SECONDS = 180.0
_LOOK_SECONDS = 0.4
# Below the system's ephemeral ports (32768 and up) and beside the ports of private clusters.
_HEAD_FIRST, _HEAD_LAST = 11_000, 15_999
# From where dcgm-exporter listens on.
_EXPORTER_FIRST, _EXPORTER_LAST = 9_400, 9_999


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the caller of `up` asked for. Port 0 means any free one; portal None means none."""

    data: Path
    hub_port: int
    portal_port: int | None
    policy: Path | None = None
    force: bool = False


@dataclass(frozen=True, slots=True)
class Started:
    """An instance that runs. `fresh` is False where it ran before `up` was called."""

    layout: Layout
    hub: str
    portal: str | None
    people: tuple[str, ...]
    fresh: bool = True


@dataclass(frozen=True, slots=True)
class _Step:
    """Something to wait for, and the processes whose end would make waiting pointless."""

    words: str
    holds: Callable[[], bool]
    processes: tuple[str, ...]


def bring_up(wishes: Wishes, say: Narrator) -> Started:
    """Start an instance and return when it is ready; clean up when that fails.

    Raises:
        Trouble: a check failed, or a part did not become ready; nothing is left running.
    """
    layout = Layout.of(wishes.data)
    missing = checks.missing_extras(wishes.portal_port is not None)
    if missing:
        raise missing
    layout.make()
    with alone(layout):
        running = _already_up(layout)
        if running:
            return running
        ports_free = _first_failed(wishes)
        if ports_free:
            raise ports_free
        say.done(f"checked: {checks.free_memory() / 1024**3:.0f} GiB of memory free, ports free")
        policy = prepare(layout, wishes.policy)
        say.done("prepared the database, the policy and the tokens")
        with _cleaned_up(layout, say):
            return _start(layout, wishes, policy, say)


def _already_up(layout: Layout) -> Started | None:
    instance = look(layout)
    if instance.presence is Presence.PARTLY:
        missing = ", ".join(instance.missing()) or "its plan"
        raise Trouble(
            f"a part of the instance in {layout.data} runs, but not: {missing}",
            f"commonpool down --data {layout.data}, then commonpool up again",
        )
    if instance.presence is Presence.ABSENT:
        return None
    urls = layout.hub_url.read_text().split()
    people = tuple(sorted(_people(layout)))
    return Started(layout, urls[0], urls[1] if len(urls) > 1 else None, people, fresh=False)


def _people(layout: Layout) -> Iterator[str]:
    for file in layout.tokens.glob("*.token"):
        if file.read_text().startswith("cp_user_"):
            yield file.stem


def _first_failed(wishes: Wishes) -> Trouble | None:
    if wishes.hub_port:
        taken = checks.port_taken(wishes.hub_port, "hub", "--hub-port")
        if taken:
            return taken
    if wishes.portal_port:
        taken = checks.port_taken(wishes.portal_port, "portal", "--portal-port")
        if taken:
            return taken
    return None if wishes.force else checks.too_little_memory()


def _start(layout: Layout, wishes: Wishes, policy: Policy, say: Narrator) -> Started:
    ports = _ports(wishes, policy)
    planned = specs(layout, policy, ports)
    for stale in layout.run.glob("*.json"):
        stale.unlink()
    layout.plan.write_text(specs_to_json(planned))
    urls = [ports.hub_url, *([ports.portal_url] if ports.portal_url else [])]
    layout.hub_url.write_text("\n".join(urls) + "\n")
    clock = SystemClock()
    since = clock.now()
    supervisor = (sys.executable, "-m", "scheduler.embedded.supervisor", str(layout.data))
    process, _ = spawn(layout, Spec(SUPERVISOR, supervisor))
    process.returncode = 0  # It outlives us: nobody waits for it, and Python need not warn.
    people = tuple(user.name for user in policy.users)
    for step in _steps(layout, policy, ports, since):
        _wait(layout, step, say, clock)
    return Started(layout, ports.hub_url, ports.portal_url, people)


def _ports(wishes: Wishes, policy: Policy) -> Ports:
    portal = wishes.portal_port
    heads, first = [], _HEAD_FIRST
    for site in shared_sites(policy):
        start = checks.free_block(HEAD_PORTS, first, _HEAD_LAST)
        heads.append((site, start))
        first = start + HEAD_PORTS
    return Ports(
        hub=wishes.hub_port or checks.any_port(),
        portal=checks.any_port() if portal == 0 else portal,
        heads=tuple(heads),
        exporters=tuple(zip((pool.id for pool in policy.pools), _exporters(policy), strict=True)),
    )


def _exporters(policy: Policy) -> range:
    count = len(policy.pools)
    first = checks.free_block(count, _EXPORTER_FIRST, _EXPORTER_LAST)
    return range(first, first + count)


def _steps(layout: Layout, policy: Policy, ports: Ports, since: datetime) -> Iterator[_Step]:
    """Yield what to wait for, in the order in which the parts become ready."""
    hub, admin = ports.hub_url, layout.token("admin")
    yield _Step(f"hub at {hub}", lambda: ready.answers(f"{hub}/readyz"), ("hub",))
    nodes = sum(len(node_names(policy, pool)) for pool in policy.pools)
    yield _Step(
        f"{nodes} simulated nodes report",
        lambda: ready.usable_nodes(hub, admin) >= nodes,
        ("hub", *(f"nodes-{pool.id}" for pool in policy.pools)),
    )
    sites = tuple(site.id for site in policy.sites)
    yield _Step(
        f"site agents connected: {', '.join(sites)}",
        lambda: ready.agents_connected(layout, sites, since),
        tuple(f"site-{site}" for site in sites),
    )
    if ports.portal_url is not None:
        alive = f"{ports.portal_url}/livez"
        yield _Step(f"portal at {ports.portal_url}", lambda: ready.answers(alive), ("portal",))
    for site, _ in ports.heads:
        yield _head_step(site, ports.head_url(site) or "")


def _head_step(site: str, url: str) -> _Step:
    words = f"shared Ray head of {site} (10 to 40 s on a small machine)"
    return _Step(words, lambda: ready.ray_is_alive(url), (f"ray-{site}",))


def _wait(layout: Layout, step: _Step, say: Narrator, clock: Clock) -> None:
    begun = clock.monotonic()
    with say.waiting(step.words):
        while not step.holds():
            for name in step.processes:
                _still_there(layout, name)
            if clock.monotonic() - begun > _STEP_SECONDS:
                raise _late(layout, step)
            pause(_LOOK_SECONDS)
    say.done(step.words, clock.monotonic() - begun)


def _still_there(layout: Layout, name: str) -> None:
    """Raise where a process ended during the start: waiting on would only hide why."""
    record = read_record(layout.run / f"{name}.json")
    if record is not None and record.exits:
        log = layout.log / f"{name}.log"
        what = f"{name} ended with exit code {record.last_exit} while it started"
        raise Trouble(what, f"see the whole log: {log}", tail(log))


def _late(layout: Layout, step: _Step) -> Trouble:
    log = layout.log / f"{step.processes[-1]}.log"
    what = f"not ready after {_STEP_SECONDS:.0f} s: {step.words}"
    return Trouble(what, f"see the whole log: {log}", tail(log))


@contextmanager
def _cleaned_up(layout: Layout, say: Narrator) -> Iterator[None]:
    """Leave no process behind when the start fails or is interrupted."""
    try:
        yield
    except BaseException as error:
        reason = "interrupted" if isinstance(error, KeyboardInterrupt) else "that failed"
        say.note(f"{reason}: stopping what was started")
        take_down(layout, say.quiet())
        raise
