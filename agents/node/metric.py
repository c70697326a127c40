"""Metrics as the agent makes them: a name with its help, its kind and its series.

Shaped as those of prometheus_client, whose registries take them; loading that library would
cost this small process five MiB of servers, mail and TLS. `of_this_process` has the names that
every exporter of Prometheus's has.
"""

import os
import resource
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol


class Sample(NamedTuple):
    """One series at one moment."""

    name: str
    labels: Mapping[str, str]
    value: float
    timestamp: None = None
    exemplar: None = None
    native_histogram: None = None


class Metric:
    """A name with all its series. A counter's name is without the `_total` of its series."""

    __slots__ = ("documentation", "name", "samples", "type", "unit")

    def __init__(self, name: str, documentation: str, kind: str) -> None:
        self.name, self.documentation, self.type = name, documentation, kind
        self.unit, self.samples = "", list[Sample]()

    def add_sample(self, name: str, labels: Mapping[str, str], value: float) -> None:
        """Add a series."""
        self.samples.append(Sample(name, labels, value))


class Collector(Protocol):
    """Has something to say whenever it is asked."""

    def collect(self) -> Iterable[Metric]:
        """Return all that there is to say now."""
        ...


_STAT = Path("/proc/self/stat")
_OPEN = Path("/proc/self/fd")
_SYSTEM = Path("/proc/stat")


class ThisProcess:
    """What this process costs its machine."""

    def __init__(self) -> None:
        self._tick, self._page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
        lines = _SYSTEM.read_text(encoding="ascii").splitlines()
        self._booted = next(float(line.split()[1]) for line in lines if line.startswith("btime "))

    def collect(self) -> Iterator[Metric]:
        """Yield it, as the kernel counts. Source: proc(5)."""
        # A name may have spaces and brackets of its own, and ends with the last bracket.
        words = _STAT.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        at = dict(zip(_FIELDS, words, strict=False))
        started = self._booted + float(at["starttime"]) / self._tick
        used = (float(at["utime"]) + float(at["stime"])) / self._tick
        resident = float(at["rss"]) * self._page
        most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        yield _gauge("virtual_memory_bytes", "Virtual memory in bytes.", float(at["vsize"]))
        yield _gauge("resident_memory_bytes", "Resident memory in bytes.", resident)
        yield _gauge("start_time_seconds", "When the process started, since the epoch.", started)
        cpu = Metric("process_cpu_seconds", "User and system CPU time in seconds.", "counter")
        cpu.add_sample("process_cpu_seconds_total", {}, used)
        yield cpu
        yield _gauge("open_fds", "Open file descriptors.", sum(1 for _ in _OPEN.iterdir()))
        yield _gauge("max_fds", "The most file descriptors that may be open.", most)


# Of /proc/PID/stat from the third on, as far as they are used.
_FIELDS = (
    *("state", "ppid", "pgrp", "session", "tty", "tpgid", "flags", "minflt", "cminflt", "majflt"),
    *("cmajflt", "utime", "stime", "cutime", "cstime", "priority", "nice", "threads", "itreal"),
    *("starttime", "vsize", "rss"),
)


def _gauge(name: str, text: str, value: float) -> Metric:
    made = Metric(f"process_{name}", text, "gauge")
    made.add_sample(made.name, {}, value)
    return made
