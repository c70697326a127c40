"""Where a process comes from, as /proc tells: its run, its control group, its pod.

The run's mark is looked for in the process's environment and in its ancestors', because a
worker of Ray may write its title over its own. `RAY_JOB_ID` is not looked at: Ray starts
workers before they have a job, and those keep `ffffffff`.
Sources: notes on Ray 2.60; Ray PRs #30883 and #49994; proc(5), cgroups(7).
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

MARK, JOB, NODES = b"COMMONPOOL_RUN", b"COMMONPOOL_JOB", b"COMMONPOOL_NODES"
GUEST = b"COMMONPOOL_GUEST"
_RUN = r"cp-[a-z0-9]+-[0-9]+"
_OF_RUN = re.compile(rf"commonpool[-/]({_RUN})(?=\.scope|\.slice|/|$)")
_OF_POD = re.compile(r"pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12})")
_GENERATIONS = 64
_STAT_BYTES = 2048
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Origin:
    """What a process says of itself, and what the kernel says of it."""

    name: str = ""
    run: str = ""
    """The run that it says it is of."""
    job: str = ""
    gpus: frozenset[int] | None = None
    """The GPUs of this node that it says its run has leased; None: it does not say."""
    guest: bool = False
    """Whether it says that its run sits on a lease that another one leaves idle."""
    cgroup_run: str = ""
    pod_uid: str = ""
    readable: bool = True
    """Whether its environment may be read at all."""
    started: float = 0.0
    """When it began, in seconds since the machine did."""


class Origins:
    """Looks processes up in /proc, each once: a pid and its start name one process for ever."""

    def __init__(self, node: str, proc: Path = Path("/proc")) -> None:
        self._node, self._proc = node, proc
        self._known: dict[tuple[int, int], Origin] = {}
        self._asked: set[tuple[int, int]] = set()

    def of(self, pid: int) -> Origin | None:
        """Return where a process comes from, or None if there is none of that pid here."""
        stat = self._stat(pid)
        if stat is None:
            return None
        key = (pid, stat.started)
        self._asked.add(key)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._look(pid, stat)
        return known

    def seen(self) -> "Seen":
        """Return what looks each process up once, for one look at them all."""
        return Seen(self)

    def forget_others(self) -> None:
        """Forget every process that was not asked for since the last call."""
        self._known = {key: self._known[key] for key in self._asked if key in self._known}
        self._asked = set()

    def _look(self, pid: int, stat: "_Stat") -> Origin:
        said, readable = self._said(pid)
        cgroup = _text(self._proc / str(pid) / "cgroup")
        of_run, of_pod = _OF_RUN.search(cgroup), _OF_POD.search(cgroup)
        return Origin(
            name=stat.name,
            run=said.get(MARK, ""),
            job=said.get(JOB, ""),
            gpus=leased_here(said.get(NODES, ""), self._node),
            guest=GUEST in said,
            cgroup_run=of_run[1] if of_run else "",
            pod_uid=of_pod[1].replace("_", "-") if of_pod else "",
            readable=readable,
            started=stat.started / _TICKS,
        )

    def _said(self, pid: int) -> tuple[Mapping[bytes, str], bool]:
        """Return our variables from the nearest environments that speak of one run."""
        said: dict[bytes, str] = {}
        readable = True
        for ancestor in self._line(pid):
            try:
                environment = _variables((self._proc / str(ancestor) / "environ").read_bytes())
            except FileNotFoundError:
                break
            except OSError:
                readable = readable and ancestor != pid
                continue
            run = environment.get(MARK)
            if run is not None and said.get(MARK, run) == run:
                said = {**environment, **said}
                if NODES in said:
                    break
        return said, readable

    def _line(self, pid: int) -> Iterator[int]:
        """Yield a process and its ancestors, without the first process of all."""
        for _ in range(_GENERATIONS):
            yield pid
            stat = self._stat(pid)
            if stat is None or stat.parent <= 1:
                return
            pid = stat.parent

    def _stat(self, pid: int) -> "_Stat | None":
        # Of all that an agent reads of processes, this alone is read again and again.
        try:
            file = os.open(f"{self._proc}/{pid}/stat", os.O_RDONLY)
        except OSError:
            return None
        try:
            said = os.read(file, _STAT_BYTES)
        except OSError:  # Gone since.
            return None
        finally:
            os.close(file)
        # The name stands in brackets and may hold anything, brackets too.
        head, bracket, tail = said.rpartition(b")")
        if not bracket:
            return None
        fields = tail.split(None, 20)
        name = head.partition(b"(")[2].decode(errors="replace")
        return _Stat(name, int(fields[1]), int(fields[19]))


class Seen:
    """Processes as of one look: whoever asks again is told the same, without a look."""

    def __init__(self, origins: Origins) -> None:
        self._origins = origins
        self._found: dict[int, Origin | None] = {}

    def of(self, pid: int) -> Origin | None:
        """Return where a process comes from, or None if there is none of that pid here."""
        if pid not in self._found:
            self._found[pid] = self._origins.of(pid)
        return self._found[pid]


@dataclass(frozen=True, slots=True)
class _Stat:
    name: str
    parent: int
    started: int


def leased_here(nodes: str, node: str) -> frozenset[int] | None:
    """Return the GPUs that a run's `COMMONPOOL_NODES` names on `node`; None if it cannot say."""
    try:
        return frozenset(
            int(gpu)
            for entry in json.loads(nodes)
            if entry["node"] == node
            for gpu in entry["gpus"]
        )
    except (ValueError, TypeError, KeyError):
        return None


def _variables(environ: bytes) -> dict[bytes, str]:
    found = {}
    for entry in environ.split(b"\0"):
        name, equals, value = entry.partition(b"=")
        if equals and name in {MARK, JOB, NODES, GUEST}:
            found[name] = value.decode(errors="replace")
    return found


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:  # Gone since.
        return ""
