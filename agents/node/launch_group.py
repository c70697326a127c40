"""What holds a run's processes together: a control group of its own, else its marks.

A control group (cgroup v2, where the agent may make one) holds whatever a program does: forks,
sessions and titles change nothing. Without one, the run's mark, its log and its descent have to
do, as `agents.site.processes` finds them; both are looked at, so that a process that root moved
out of the group is found too. Source: cgroups(7), Linux's cgroup-v2.rst (`cgroup.kill`).
"""

import contextlib
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

from agents.site import processes


class Group:
    """The processes of one run on this machine."""

    def __init__(self, run: str, above: Path | None) -> None:
        """Hold a run in a group below `above`; None: by its marks alone."""
        self._run = run
        self._path = None if above is None else above / run

    def make(self) -> None:
        """Make the control group, if that is how it is held."""
        if self._path is not None:
            self._path.mkdir(parents=True, exist_ok=True)

    def entered(self, command: Sequence[str]) -> list[str]:
        """Return a command that runs another one inside of the group from its first moment on."""
        if self._path is None:
            return list(command)
        enter = 'echo $$ > "$0"/cgroup.procs && exec "$@"'
        return ["/bin/sh", "-c", enter, str(self._path), *command]

    def kill(self, leader: int, created: int) -> bool:
        """Kill all there is now; return whether there was anything.

        `leader` is the process that was started, `created` when. Only False, on a later look,
        says that nothing is left.
        """
        held = self._held()
        if held and self._path is not None:
            with contextlib.suppress(OSError):
                (self._path / "cgroup.kill").write_text("1", encoding="ascii")
        sessions = {leader: created} if leader else None
        pids = processes.of_run(self._run, sessions) | frozenset(_below(os.getpid())) | held
        for pid in sorted(pids, reverse=True):
            processes.send(pid, signal.SIGKILL)
        return bool(pids)

    def _held(self) -> frozenset[int]:
        """Return the pids in the control group; 0 stands for one of another pid namespace."""
        if self._path is None:
            return frozenset()
        try:
            text = (self._path / "cgroup.procs").read_text(encoding="ascii")
        except FileNotFoundError:
            return frozenset()
        return frozenset(int(pid) for pid in text.split() if int(pid))

    def remove(self) -> None:
        """Remove the control group, which is empty."""
        if self._path is not None:
            with contextlib.suppress(OSError):  # A zombie may keep it for a moment.
                self._path.rmdir()


def _below(pid: int) -> Iterator[int]:
    """Yield what descends from a process: orphans of the run come to the keeper."""
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = file.read_text(encoding="ascii").split()
        except OSError:
            continue
        for child in children:
            yield int(child)
            yield from _below(int(child))
