"""Starts the processes of an instance and starts each again when it ends.

It is a process of its own (`python -m scheduler.embedded.supervisor DIR`), the parent of
the others. A process that ends comes back after 1 s, 2 s, 4 s … up to a minute; one that
ran for a minute is forgiven. On SIGTERM it leaves the others alone: `down` ends them in
their order, and it must not be raced.
"""

import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import structlog

from scheduler.clock import Clock, SystemClock
from scheduler.embedded.checks import is_free
from scheduler.embedded.layout import Layout
from scheduler.embedded.processes import Record, Spec, note_exit, spawn, specs_from_json

_LONGEST_SECONDS = 60.0
_FORGIVEN_SECONDS = 60.0
_LOOK_SECONDS = 0.5

log = structlog.get_logger()


def back_off(ends_in_a_row: int) -> float:
    """Return the pause before the next start: 1 s doubled for each end, at most a minute."""
    return float(min(2.0 ** (ends_in_a_row - 1), _LONGEST_SECONDS))


@dataclass
class Child:
    """One process that should be there, and what is known about its past."""

    spec: Spec
    process: subprocess.Popen[bytes] | None = None
    record: Record | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    in_a_row: int = field(default=0)

    def look(self, layout: Layout, clock: Clock) -> None:
        """Note an end, or start the process where it is due."""
        now = clock.monotonic()
        if self.process is None:
            if now >= self.start_at and not self._must_wait():
                self._start(layout, now)
            return
        code = self.process.poll()
        if code is not None and self.record is not None:
            ran = now - self.started_at
            self.in_a_row = 1 if ran >= _FORGIVEN_SECONDS else self.in_a_row + 1
            self.start_at = now + back_off(self.in_a_row)
            self.record = note_exit(layout, self.record, code)
            self.process = None
            log.warning("process_ended", name=self.spec.name, code=code, ran_seconds=round(ran, 1))

    def _must_wait(self) -> bool:
        port = self.spec.after_port
        return self.record is None and port is not None and is_free(port)

    def _start(self, layout: Layout, now: float) -> None:
        exits, last = (self.record.exits, self.record.last_exit) if self.record else (0, None)
        self.process, self.record = spawn(layout, self.spec, exits, last)
        self.started_at = now
        log.info("process_started", name=self.spec.name, pid=self.process.pid, exits=exits)


def supervise(layout: Layout, specs: tuple[Spec, ...], stopping: Event, clock: Clock) -> None:
    """Keep the processes running, started in their order, until `stopping` is set."""
    children = [Child(spec) for spec in specs]
    while not stopping.is_set():
        for child in children:
            child.look(layout, clock)
        stopping.wait(_LOOK_SECONDS)


def main() -> None:
    """Supervise the instance in the data folder that is the only argument."""
    layout = Layout.of(Path(sys.argv[1]))
    stopping = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    supervise(layout, specs_from_json(layout.plan.read_text()), stopping, SystemClock())


if __name__ == "__main__":
    main()
