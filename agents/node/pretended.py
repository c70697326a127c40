"""How busy a simulated GPU is: as busy as the processes of the run that has it.

The programs on simulated nodes are real processes of this machine, with their lease in
their environment. One that computes has busy GPUs, one that sleeps has idle ones, with the
memory and power that an idle context takes (notes/nvml_prometheus.md §2.4); without a run a
GPU rests. So idleness can be tried out without a GPU. Ray's own servants are not work.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agents.node.origins import GUEST, JOB, MARK, NODES

_SERVANT = re.compile(
    rb"/ray/|ray\.scripts|/bin/ray\b|^ray::(IDLE|JobSupervisor)|raylet|gcs_server|ray\.util\.client|^ray-dashboard"
)
IDLE_CORES = 0.03
"""An interpreter that sleeps takes less than this part of a core."""
_GENERATIONS, _ASKED_TWICE = 64, 2
_TICKS = os.sysconf("SC_CLK_TCK")
_Variables = Mapping[bytes, str]


@dataclass(frozen=True, slots=True)
class Work:
    """A run on this machine: where its lease is, and how many cores it kept busy lately."""

    run: str
    job: str
    pid: int
    gpus: Mapping[str, frozenset[int]]
    """By node."""
    cores: float
    guest: bool = False


@dataclass(frozen=True, slots=True)
class _Process:
    pid: int
    parent: int
    started: int
    ticks: int

    @property
    def key(self) -> tuple[int, int]:
        """What names it for ever: pids come again."""
        return self.pid, self.started


class Programs:
    """Looks at this machine's processes and says what each run's do."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        # What each process said of itself, and how often it was asked: see `_variables_of`.
        self._said: dict[tuple[int, int], tuple[_Variables, int]] = {}
        self._ticks: dict[tuple[int, int], int] = {}
        self._looked_at: float | None = None

    def look(self, now: float) -> tuple[Work, ...]:
        """Return the runs on this machine; `now` is in seconds of any clock that runs on."""
        processes = {process.pid: process for process in self._processes()}
        alive = {process.key for process in processes.values()}
        self._said = {key: said for key, said in self._said.items() if key in alive}
        own = {pid: self._variables_of(process) for pid, process in processes.items()}
        members: dict[str, list[_Process]] = {}
        leases: dict[str, tuple[int, _Variables]] = {}
        for pid in sorted(processes):
            run = _run_of(pid, processes, own)
            if run and not self._is_servant(pid):
                members.setdefault(run, []).append(processes[pid])
                if NODES in own[pid]:
                    leases.setdefault(run, (pid, own[pid]))
        works = tuple(
            Work(
                run,
                said.get(JOB, ""),
                pid,
                leases_of(said[NODES]),
                self._cores(members[run], now),
                GUEST in said,
            )
            for run, (pid, said) in leases.items()
        )
        self._ticks = {process.key: process.ticks for process in processes.values()}
        self._looked_at = now
        return works

    def _cores(self, members: Sequence[_Process], now: float) -> float:
        """Return how many cores these kept busy since the last look; 0 at the first."""
        if self._looked_at is None or now <= self._looked_at:
            return 0.0
        spent = sum(process.ticks - self._ticks.get(process.key, 0) for process in members)
        return spent / _TICKS / (now - self._looked_at)

    def _variables_of(self, process: _Process) -> _Variables:
        """Return what a process's environment says, as it was when the process was young.

        A new one is asked twice, for between its fork and its exec it has its parent's; later
        it may have written its title over it.
        """
        said, asked = self._said.get(process.key, ({}, 0))
        if asked < _ASKED_TWICE:
            said = _variables(self._proc / str(process.pid)) or said
            self._said[process.key] = said, asked + 1
        return said

    def _is_servant(self, pid: int) -> bool:
        return _SERVANT.search(_bytes(self._proc / str(pid) / "cmdline")) is not None

    def _processes(self) -> Iterator[_Process]:
        for name in os.listdir(self._proc):  # noqa: PTH208  # a Path for each is half of the look
            if name.isdecimal():
                text = _bytes(self._proc / name / "stat")
                if b")" in text:
                    # The name stands in brackets and may hold anything, brackets too.
                    fields = text[text.rindex(b")") + 2 :].split()
                    ticks = int(fields[11]) + int(fields[12])
                    yield _Process(int(name), int(fields[1]), int(fields[19]), ticks)


def _run_of(
    pid: int, processes: Mapping[int, _Process], own: Mapping[int, _Variables]
) -> str | None:
    """Return the run that a process, or the nearest of its ancestors that says so, is of."""
    for _ in range(_GENERATIONS):
        if pid not in processes:
            return None
        if MARK in own[pid]:
            return own[pid][MARK]
        pid = processes[pid].parent
    return None


def leases_of(nodes: str) -> Mapping[str, frozenset[int]]:
    """Return the GPUs that a run's `COMMONPOOL_NODES` names, by node; none if it cannot say."""
    try:
        return {str(e["node"]): frozenset(int(g) for g in e["gpus"]) for e in json.loads(nodes)}
    except (ValueError, TypeError, KeyError):
        return {}


def _variables(folder: Path) -> _Variables:
    found = {}
    for entry in _bytes(folder / "environ").split(b"\0"):
        name, equals, value = entry.partition(b"=")
        if equals and name in {MARK, JOB, NODES, GUEST}:
            found[name] = value.decode(errors="replace")
    return found


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:  # Gone since, or another person's.
        return b""
