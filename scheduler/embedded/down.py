"""`commonpool down`: end every process in its order, then prove that none is left."""

import signal
import subprocess
import sys

from scheduler.embedded.instance import SUPERVISOR
from scheduler.embedded.layout import Layout
from scheduler.embedded.narrator import Narrator
from scheduler.embedded.processes import Record, belonging, records, signal_all, stop
from scheduler.embedded.trouble import Trouble
from scheduler.embedded.waiting import until

# What ends first: who would restart, who looks on, who works, what they work on, who remembers.
_ORDER = (SUPERVISOR, "portal", "site", "nodes", "ray", "hub")
_GRACE_SECONDS = {"site": 15.0, "ray": 15.0, "hub": 15.0}
_OTHER_GRACE_SECONDS = 5.0
_FENCE_SECONDS = 60.0
_SWEEP_SECONDS = 10.0


def take_down(layout: Layout, say: Narrator) -> int:
    """End the instance and return how many processes it had.

    Raises:
        Trouble: processes are left that could not be killed; they are named.
    """
    known = records(layout)
    found = len(belonging(layout))
    for record in sorted(known.values(), key=_place):
        with say.waiting(f"{record.name} to end"):
            word = stop(record, _GRACE_SECONDS.get(_kind(record), _OTHER_GRACE_SECONDS))
            if _kind(record) == "site":
                _fence(layout, record.name.removeprefix("site-"), say)
        if word != "gone":
            say.done(f"{record.name} {word}")
    _sweep(layout, say)
    for name in known:
        (layout.run / f"{name}.json").unlink(missing_ok=True)
    layout.hub_url.unlink(missing_ok=True)
    return found


def _kind(record: Record) -> str:
    return record.name.split("-", 1)[0]


def _place(record: Record) -> tuple[int, str]:
    kind = _kind(record)
    return (_ORDER.index(kind) if kind in _ORDER else 0, record.name)


def _fence(layout: Layout, site: str, say: Narrator) -> None:
    """End what the site still runs; the agent tells the hub of it when it is started again."""
    if not layout.site(site).exists():
        return
    argv = [sys.executable, "-m", "scheduler.main", "site-agent", "stop-all"]
    argv += ["--data", str(layout.site(site))]
    try:
        done = subprocess.run(  # noqa: S603  # our own command line, no shell
            argv, capture_output=True, text=True, timeout=_FENCE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        say.note(f"runs of {site} did not end within {_FENCE_SECONDS:.0f} s; killing them")
        return
    for line in done.stdout.splitlines() + done.stderr.splitlines():
        say.note(f"{site}: {line}")


def _sweep(layout: Layout, say: Narrator) -> None:
    """Kill whatever still belongs to the instance, and say so.

    Raises:
        Trouble: something survives that.
    """
    left = belonging(layout)
    if left:
        say.note(f"ending {len(left)} leftover processes")
        signal_all(left, signal.SIGKILL)
    if not until(lambda: not belonging(layout), _SWEEP_SECONDS):
        names = "\n".join(f"{p.pid} {' '.join(p.cmdline())[:120]}" for p in belonging(layout))
        raise Trouble("processes are left that could not be killed", "end them by hand", names)
