"""XIDs as the kernel log has them: the second witness, for those that NVML does not announce.

Both count from the agent's start, so of one XID on one GPU the larger count is right, and
what both saw counts once. One XID may fill several lines, so those of a moment count as one.
Needs the right to read `/dev/kmsg` (CAP_SYSLOG, or root).
Source: dcgm-exporter #190 and DCGM #235 for XIDs that were missed; kernel's ABI/testing/dev-kmsg.
"""

import contextlib
import os
import re
import select
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from agents.node.lines import log
from scheduler.clock import Clock

KMSG = Path("/dev/kmsg")
_XID = re.compile(
    r"NVRM: Xid \(PCI:(?P<domain>[0-9a-f]+):(?P<bus>[0-9a-f]+):(?P<device>[0-9a-f]+)"
    r"(?:\.[0-9a-f])?\): (?P<number>\d{1,6})\b",
    re.IGNORECASE,
)
_PLACE = re.compile(r"([0-9a-f]+):([0-9a-f]+):([0-9a-f]+)", re.IGNORECASE)
_RECORD = 8192
_WAIT_SECONDS = 1.0
_MOMENT_SECONDS = 5.0

Place = tuple[int, int, int]


def place(bus_id: str) -> Place | None:
    """Return domain, bus and device of a PCI address, which NVML and the kernel spell otherwise."""
    found = _PLACE.search(bus_id)
    return None if found is None else (int(found[1], 16), int(found[2], 16), int(found[3], 16))


def xids(text: str) -> Iterator[tuple[Place, int]]:
    """Yield the XIDs that log lines tell of, with where the GPU is."""
    for found in _XID.finditer(text):
        where = int(found["domain"], 16), int(found["bus"], 16), int(found["device"], 16)
        yield where, int(found["number"])


class KernelLog:
    """A thread that reads what the kernel logs from now on."""

    def __init__(
        self, heard: Callable[[Place, int], None], clock: Clock, file: Path = KMSG
    ) -> None:
        self._heard, self._clock, self._file = heard, clock, file
        self._lately: dict[tuple[Place, int], float] = {}
        self._told = threading.Event()
        self._bell = os.eventfd(0, os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="kernel-log", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """End."""
        self._told.set()
        os.eventfd_write(self._bell, 1)
        self._thread.join(seconds)
        if not self._thread.is_alive():
            os.close(self._bell)

    def _run(self) -> None:
        try:
            descriptor = os.open(self._file, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            log.info("kernel_log_not_read", why=str(error))
            return
        try:
            self._from_its_end(descriptor)
        except OSError as error:
            log.warning("kernel_log_not_read", why=str(error))
        finally:
            os.close(descriptor)

    def _from_its_end(self, descriptor: int) -> None:
        with contextlib.suppress(OSError):  # What is no device has no end to go to.
            os.lseek(descriptor, 0, os.SEEK_END)
        while not self._told.is_set():
            # Without a time: on a machine that is well this thread is woken at its end alone.
            if descriptor not in select.select([descriptor, self._bell], [], [])[0]:
                continue
            try:
                record = os.read(descriptor, _RECORD)
            except (BlockingIOError, BrokenPipeError):
                continue  # Written over before it was read: the next one.
            for xid in xids(record.decode(errors="replace")):
                self._tell(xid)
            if not record:
                self._told.wait(_WAIT_SECONDS)

    def _tell(self, xid: tuple[Place, int]) -> None:
        now = self._clock.monotonic()
        before = self._lately.get(xid)
        self._lately[xid] = now
        if before is None or now - before > _MOMENT_SECONDS:
            self._heard(*xid)
