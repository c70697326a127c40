"""The launcher of a node: what the hub's replies ask for, carried out by keepers.

Its steps are taken in the thread that reports: an order is on the disk before the next report
is made, so a report that does not list a run says for certain that nothing of it is there.
Keepers outlive this process; the next one finds them by their folders.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from agents.node.handover import Settings
from agents.node.launch_cgroup import CGROUP, MARKS, above_of_this_machine
from agents.node.launch_files import Folder, Order, State, boot_id, uptime
from agents.node.launch_ray import Asked, CannotLaunch, Machine, address_towards, order
from agents.node.launch_reconcile import (
    Action,
    Begin,
    Forget,
    Local,
    Renew,
    Rescue,
    Stop,
    Wanted,
    reconcile,
)
from agents.node.lines import log
from scheduler.wire.launches import LauncherReport, LaunchPhase, LaunchSeen

_NO_LONGER = "the hub no longer wants it here"
_MOST = 256


class Heard(msgspec.Struct, frozen=True):
    """One order, as it is read of the hub's reply; what a newer hub adds is passed over."""

    run: str
    token: int
    seconds: float
    member: int
    gpu_uuids: tuple[str, ...]
    cpus: int
    head: str = ""
    secret: str = ""


class Orders(msgspec.Struct, frozen=True):
    """All orders of a reply."""

    wanted: tuple[Heard, ...] = ()
    settled: tuple[str, ...] = ()


class Launcher:
    """Launches the members of runs that are leased on this machine."""

    def __init__(self, data: Path, scratch: Path, machine: Machine) -> None:
        """Keep folders below `data`; Ray's own files below `scratch`.

        Raises:
            CannotLaunch: another launcher has this folder.
            OSError: the folder cannot be made.
        """
        self._launches, self._scratch, self._machine = data / "launches", scratch, machine
        self._launches.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = _exclusive(data)
        self._above = above_of_this_machine()
        self._told: tuple[LaunchSeen, ...] = ()
        log.info("launcher_ready", group=self._kind, address=machine.address)

    @property
    def _kind(self) -> str:
        return MARKS if self._above is None else CGROUP

    def report(self) -> LauncherReport:
        """Return all that is here."""
        self._told = self._seen()
        return LauncherReport(group=self._kind, launches=self._told[:_MOST])

    def has_news(self) -> bool:
        """Return whether anything has moved since the last report."""
        return self._seen() != self._told

    def _seen(self) -> tuple[LaunchSeen, ...]:
        return tuple(
            _seen(wanted, folder.state())
            for folder in self._folders()
            if (wanted := folder.order())
        )

    def _folders(self) -> Iterator[Folder]:
        for path in sorted(self._launches.iterdir()):
            yield Folder(path)

    def obey(self, orders: Orders | None, sent_at: float) -> None:
        """Bring what is here to what should be; grants count from when the report was sent."""
        asked = {
            heard.run: Asked(
                heard.run,
                heard.token,
                sent_at + heard.seconds,
                heard.member,
                heard.gpu_uuids,
                heard.cpus,
                heard.head,
                heard.secret,
            )
            for heard in (orders.wanted if orders else ())
        }
        wanted = {run: Wanted(one.token, one.expires) for run, one in asked.items()}
        local = dict(self._local())
        settled = orders.settled if orders else ()
        for action in reconcile(wanted if orders else None, settled, local, uptime()):
            try:
                self._do(action, asked)
            except (OSError, CannotLaunch) as error:
                log.error("launch_step_failed", step=repr(action), why=str(error))

    def _local(self) -> Iterator[tuple[str, Local]]:
        for folder in self._folders():
            wanted, state = folder.order(), folder.state()
            lock = folder.lock()
            if lock is not None:
                os.close(lock)
            phase = state.phase if state else LaunchPhase.STARTING
            stopping = bool(wanted.stop)
            yield wanted.run, Local(wanted.token, wanted.expires, phase, lock is None, stopping)

    def _do(self, action: Action, asked: Mapping[str, Asked]) -> None:
        folder = Folder(self._launches / action.run)
        match action:
            case Begin(run):
                self._begin(folder, asked[run])
            case Rescue(run):
                log.warning("launch_without_keeper", run_id=run)
                self._keep(folder)
            case Renew(run):
                one = asked[run]
                self._change(folder, token=one.token, expires=one.expires)
            case Stop(run):
                log.info("launch_stopped", run_id=run, why=_NO_LONGER)
                self._change(folder, stop=_NO_LONGER)
            case Forget(run):
                self._forget(folder)
                log.info("launch_forgotten", run_id=run)

    def _begin(self, folder: Folder, one: Asked) -> None:
        taken = {port for other in self._folders() for port in other.order().ports}
        made = order(one, self._machine, self._scratch, taken)
        folder.path.mkdir(mode=0o700, exist_ok=True)
        _private(Path(made.scratch))
        folder.write_order(made)
        self._keep(folder)
        log.info("launch_begun", run_id=one.run, member=one.member, gpus=one.gpu_uuids)

    def _keep(self, folder: Folder) -> None:
        """Start a keeper that holds the lock from its first moment on, and is no child of ours."""
        lock = folder.lock()
        if lock is None:
            return
        keeper = (sys.executable, "-m", "agents.node.launch_keeper", str(folder.path.absolute()))
        above = "" if self._above is None else str(self._above)
        try:
            with (folder.path / "keeper.out").open("ab") as out:
                subprocess.run(  # noqa: S603  # our own program
                    ["/bin/sh", "-c", '"$@" &', "sh", *keeper, above],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    start_new_session=True,
                    pass_fds=(lock,),
                    check=True,
                )
        finally:
            os.close(lock)

    def _change(self, folder: Folder, **fields: object) -> None:
        folder.write_order(msgspec.structs.replace(folder.order(), **fields))

    def _forget(self, folder: Folder) -> None:
        if scratch := folder.order().scratch:
            shutil.rmtree(scratch, ignore_errors=True)
        shutil.rmtree(folder.path, ignore_errors=True)


def _seen(wanted: Order, state: State | None) -> LaunchSeen:
    phase = state.phase if state else LaunchPhase.STARTING
    is_up = phase is LaunchPhase.UP
    return LaunchSeen(
        run=wanted.run,
        token=wanted.token,
        phase=phase,
        why=state.why if state else "",
        head=wanted.head if is_up else "",
        api=wanted.api if is_up else "",
        secret=wanted.secret if is_up else "",
    )


def _private(folder: Path) -> None:
    """Make a folder that is ours alone; in a shared scratch folder someone may be there first.

    Raises:
        CannotLaunch: it belongs to someone else.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.is_symlink() or folder.lstat().st_uid != os.getuid():
        raise CannotLaunch(f"{folder} belongs to someone else: remove it")


def _exclusive(data: Path) -> int:
    handle = os.open(data / "launcher.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise CannotLaunch(f"{data} belongs to another launcher that runs") from error
    return handle


def launcher_of(settings: Settings) -> Launcher:
    """Return this machine's launcher.

    Raises:
        CannotLaunch: the machine lacks what that needs.
        OSError: its folder cannot be made.
    """
    hub = urlsplit(settings.hub)
    address = settings.launch_address or address_towards(hub.hostname or "", hub.port or 443)
    machine = Machine(settings.node, address, settings.ray, settings.object_store_bytes, boot_id())
    return Launcher(Path(settings.data), Path(settings.scratch), machine)
