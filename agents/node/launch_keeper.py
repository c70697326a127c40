"""Keeps one member of a run: starts it once, watches it, and ends it. One small process each.

It is a process of its own because the promise that it keeps must outlast the agent's death: a
member whose grant is over is ended, whoever is there to ask for it. It never starts anything
twice: where something was started before, it can only end it. It says `fenced` once no process
of the run is left, which is looked for again after each kill.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

from agents.node.launch_files import Folder, Order, State, boot_id, uptime
from agents.node.launch_group import Group
from agents.site import processes
from scheduler.wire.launches import LaunchPhase

_LOOK_SECONDS = 0.2
_POLITE_SECONDS = 1.5
_PR_SET_CHILD_SUBREAPER = 36


class Keeper:
    """Keeps what one folder describes."""

    def __init__(self, folder: Folder, order: Order, group: Group) -> None:
        """Keep the member; `order` is what the folder says now."""
        self._folder, self._order, self._group = folder, order, group
        self._state = folder.state()
        self._pause = threading.Event()

    def keep(self) -> None:
        """Start it, unless it was started before; watch it; end it; confirm that."""
        if self._state is not None and self._state.phase is LaunchPhase.FENCED:
            return
        if self._state is None:
            why, polite = self._ended_before() or self._watched_from_the_start()
        else:
            why, polite = self._state.why or "its keeper was killed", False
        self._fence(why, polite=polite)

    def _watched_from_the_start(self) -> tuple[str, bool]:
        self._say(LaunchPhase.STARTING)  # Before the start: what may be there is never unsaid.
        try:
            self._start()
        except OSError as error:
            return f"cannot be started: {error}", False
        while (why := self._ended_before() or self._died()) is None:
            if self._current.phase is LaunchPhase.STARTING and _answers(self._order.probe):
                self._say(LaunchPhase.UP)
            self._pause.wait(_LOOK_SECONDS)
        return why

    @property
    def _current(self) -> State:
        return self._state or State(phase=LaunchPhase.STARTING)

    def _ended_before(self) -> tuple[str, bool] | None:
        """Say why it must not be there (any more), and whether it gets a moment to leave."""
        order = self._order = self._folder.order()
        if order.stop:
            return order.stop, True
        if order.boot != boot_id():
            return "the machine was restarted", False
        if uptime() >= order.expires:
            return "its lease expired: the hub did not renew it", False
        return None

    def _start(self) -> None:
        self._group.make()
        with self._folder.output.open("ab") as out:
            child = subprocess.Popen(  # noqa: S603  # the agent's own words, no shell of ours
                self._group.entered(self._order.command),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                env=dict(self._order.environment),
            )
        born = processes.created(child.pid) or 0
        self._state = State(phase=LaunchPhase.STARTING, pid=child.pid, created=born)
        self._folder.write_state(self._state)

    def _died(self) -> tuple[str, bool] | None:
        """Take in children that ended, orphans of the run too; say so if it is the one."""
        _reap()
        if processes.is_alive(self._current.pid, self._current.created):
            return None
        return f"Ray ended{self._folder.last_words()}", False

    def _fence(self, why: str, *, polite: bool) -> None:
        self._say(LaunchPhase.ENDING, why)
        pid, born = self._current.pid, self._current.created
        if polite and processes.is_alive(pid, born):
            processes.send(pid, signal.SIGTERM)
            until = uptime() + _POLITE_SECONDS
            while uptime() < until and processes.is_alive(pid, born):
                _reap()
                self._pause.wait(_LOOK_SECONDS)
        while self._group.kill(pid, born):
            _reap()
            self._pause.wait(_LOOK_SECONDS)
        self._group.remove()
        self._say(LaunchPhase.FENCED, why)

    def _say(self, phase: LaunchPhase, why: str = "") -> None:
        old = self._current
        self._state = State(phase=phase, why=why[:300], pid=old.pid, created=old.created)
        self._folder.write_state(self._state)


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def _answers(place: tuple[str, int]) -> bool:
    try:
        socket.create_connection(place, timeout=0.5).close()
    except OSError:
        return False
    return True


def main(path: str, above: str) -> int:
    """Keep the member in folder `path`, in a control group below `above` (empty: by marks).

    The lock was taken by whoever started this process, and is held by it alone now.
    """
    # Orphans of the run become our children: one more way to find them.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    folder = Folder(Path(path))
    order = folder.order()
    Keeper(folder, order, Group(order.run, Path(above) if above else None)).keep()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
