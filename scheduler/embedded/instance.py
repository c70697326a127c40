"""What is there of an instance: nothing, all of it, or a part that needs a `down` first."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from scheduler.embedded.layout import Layout
from scheduler.embedded.plan import LOOPBACK
from scheduler.embedded.processes import Record, Spec, belonging, records, specs_from_json
from scheduler.embedded.trouble import Trouble

SUPERVISOR = "supervisor"
_PORT = "--exporter-port"


class Presence(StrEnum):
    """How much of an instance runs."""

    ABSENT = "absent"
    UP = "up"
    PARTLY = "partly up"


@dataclass(frozen=True, slots=True)
class Instance:
    """The processes that should be there, and the records of those that were started."""

    specs: tuple[Spec, ...]
    records: dict[str, Record]
    presence: Presence

    def missing(self) -> tuple[str, ...]:
        """Return the names of processes that should run and do not."""
        wanted = [SUPERVISOR, *(spec.name for spec in self.specs)]
        return tuple(
            name for name in wanted if name not in self.records or not self.records[name].is_alive
        )


def look(layout: Layout) -> Instance:
    """Return what is there now."""
    planned, known = plan_of(layout), records(layout)
    instance = Instance(planned, known, Presence.UP)
    if planned and not instance.missing():
        return instance
    alive = any(record.is_alive for record in known.values()) or bool(belonging(layout))
    return Instance(planned, known, Presence.PARTLY if alive else Presence.ABSENT)


def plan_of(layout: Layout) -> tuple[Spec, ...]:
    """Return the processes of the last start; none where there was none."""
    try:
        return specs_from_json(layout.plan.read_text())
    except (OSError, ValueError, KeyError):
        return ()


def metrics_urls(layout: Layout) -> tuple[str, ...]:
    """Return where the node agents of the last start serve `/metrics`."""
    argvs = [spec.argv for spec in plan_of(layout)]
    at = [argv[argv.index(_PORT) + 1] for argv in argvs if _PORT in argv]
    return tuple(f"http://{LOOPBACK}:{port}/metrics" for port in at)


@contextmanager
def alone(layout: Layout) -> Iterator[None]:
    """Keep every other `up` and `down` of the folder out meanwhile.

    Raises:
        Trouble: another one is at work there.
    """
    with (layout.run / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Trouble(
                f"another commonpool up or down is at work in {layout.data}",
                "wait for it, then try again",
            ) from error
        yield
