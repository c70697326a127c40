"""A systemd of its own in namespaces on this machine: pids, mounts, control groups.

Commonpool is under /opt/commonpool there, as its units expect it, with a user of that name; /run,
/var/lib and what is written below /etc are thrown away. Nothing outside is changed, and all of it
ends with its first process. Needs root, and control groups of version 2.
"""

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

from tests.agents.node_launcher.hosts import cgroup_root
from tests.infra.programs import ROOT
from tests.waiting import until

SYSTEMD = Path("/lib/systemd/systemd")
UNITS = ROOT / "infra" / "systemd"
UID = 64_321

_SETUP = """\
set -e
mount --make-rprivate /
umount -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
for place in /run /var/lib /opt /lib/systemd/system; do
  mount -t tmpfs -o mode=755 tmpfs $place
done
mkdir /run/etc /run/etc/new /run/etc/work
mount -t overlay -o lowerdir=/etc,upperdir=/run/etc/new,workdir=/run/etc/work overlay /etc
mkdir -p /opt/commonpool/python /opt/commonpool/packages /opt/commonpool/source
mount --bind {python} /opt/commonpool/python
mount --bind {packages} /opt/commonpool/packages
mount --bind {source} /opt/commonpool/source
cp -r {folder}/opt/. /opt/commonpool
ln -s /opt/commonpool/python/bin/python3 /opt/commonpool/bin/python3
ln -s python3 /opt/commonpool/bin/python
cp -r {folder}/etc/. /etc
echo 'commonpool:x:{uid}:{uid}::/nonexistent:/usr/sbin/nologin' >> /etc/passwd
echo 'commonpool:x:{uid}:' >> /etc/group
for name in video render; do
  grep -q "^$name:" /etc/group || echo "$name:x:$(({uid} + ${{#name}})):" >> /etc/group
done
# Among themselves: what systemd mounts for a unit it mounts in a process aside.
mount --make-rshared /
container=test exec {systemd} --system --unit=test.target --log-target=null --show-status=false
"""
# The machine's own units are not there: of what ours ask for only the names, without any work.
_TARGETS = ("test", "basic", "sysinit", "shutdown", "network-online", "multi-user")
_TARGET = "[Unit]\nDescription=What a test starts\nDefaultDependencies=no\n"
# Python and its packages may lie in a home folder that is closed to the units' users, so there is
# a virtual environment as an installation has one: a run's PYTHONPATH is its own.
_PROGRAM = """\
#!/bin/sh
export LD_LIBRARY_PATH="/opt/commonpool/python/lib:$LD_LIBRARY_PATH"
exec /opt/commonpool/bin/python3 -m {module} "$@"
"""
_ENVIRONMENT = "home = /opt/commonpool/python/bin\ninclude-system-site-packages = false\n"
_PACKAGES = f"lib/python3.{sys.version_info.minor}/site-packages"


def why_not() -> str:
    """Say why no systemd can be run here; empty if one can."""
    if os.geteuid() != 0:
        return "namespaces need root"
    if not SYSTEMD.exists():
        return "no systemd here: apt-get install systemd"
    missing = [name for name in ("unshare", "nsenter", "systemctl") if not shutil.which(name)]
    if missing:
        return f"not here: {', '.join(missing)}"
    return "" if cgroup_root() else "no control groups of version 2 that may be written to"


@dataclass
class Booted:
    """A systemd that runs; `pid` is its own, as this machine counts."""

    pid: int

    def systemctl(self, *words: str) -> str:
        """Ask it something, or tell it; return what it says."""
        inside = ["nsenter", "-t", str(self.pid), "-m", "-p"]
        told = subprocess.run(
            [*inside, "systemctl", "--no-pager", *words],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert told.returncode == 0, f"systemctl {' '.join(words)}: {told.stderr or told.stdout}"
        return told.stdout.strip()

    def inside(self, *command: str) -> str:
        """Run a command among its mounts and pids."""
        words = ["nsenter", "-t", str(self.pid), "-m", "-p", *command]
        return subprocess.run(
            words, capture_output=True, text=True, timeout=60, check=True
        ).stdout.strip()

    def show(self, unit: str, name: str) -> str:
        """Return a property of a unit."""
        return self.systemctl("show", "--value", "-p", name, unit)


@contextmanager
def booted(folder: Path, files: dict[str, str]) -> Iterator[Booted]:
    """Boot one with our units, and with `files` by their paths below /opt/commonpool or /etc."""
    modules = {"commonpool": "scheduler.main", "ray": "ray.scripts.scripts"}
    files |= {f"opt/bin/{name}": _PROGRAM.format(module=of) for name, of in modules.items()}
    places = "/opt/commonpool/source\n/opt/commonpool/packages\n"
    files |= {"opt/pyvenv.cfg": _ENVIRONMENT, f"opt/{_PACKAGES}/commonpool.pth": places}
    files |= {f"etc/systemd/system/{name}.target": _TARGET for name in _TARGETS}
    files |= {f"etc/systemd/system/{unit.name}": unit.read_text() for unit in UNITS.iterdir()}
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
        (folder / name).chmod(0o755 if name.startswith("opt/bin/") else 0o644)
    setup = _SETUP.format(
        folder=folder,
        python=sys.base_prefix,
        packages=sysconfig.get_paths()["purelib"],
        source=ROOT,
        systemd=SYSTEMD,
        uid=UID,
    )
    above = cgroup_root()
    assert above is not None
    group = above / f"cp-systemd-{token_hex(4)}"
    group.mkdir()
    namespaces = ("--fork", "--pid", "--mount", "--mount-proc", "--ipc", "--uts", "--cgroup")
    # In its group before the namespace is made: that group is then the root of what it sees.
    enter = f'echo $$ > {group}/cgroup.procs && exec unshare {" ".join(namespaces)} sh -c "$0"'
    starter = subprocess.Popen(
        ["sh", "-c", enter, setup], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        yield Booted(until(lambda: _first_process(starter), seconds=30))
    finally:
        _end(starter, group)


def _first_process(starter: subprocess.Popen[str]) -> int:
    """Return the pid of the systemd, once it has begun to answer."""
    if starter.poll() is not None:
        raise RuntimeError(f"it ended at once: {starter.stderr.read() if starter.stderr else ''}")
    children = Path(f"/proc/{starter.pid}/task/{starter.pid}/children").read_text().split()
    assert children, "not yet forked"
    (pid,) = map(int, children)
    Booted(pid).systemctl("is-active", "test.target")
    return pid


def _end(starter: subprocess.Popen[str], group: Path) -> None:
    """Kill the first process, and so all others of its namespace; remove their groups."""
    with suppress(OSError):
        (group / "cgroup.kill").write_text("1")
    with suppress(ProcessLookupError):
        starter.send_signal(signal.SIGKILL)
    starter.wait(30)
    if starter.stderr is not None:
        starter.stderr.close()
    until(lambda: _removed(group), seconds=30)


def _removed(group: Path) -> bool:
    for path, _, _ in os.walk(group, topdown=False):
        with suppress(OSError):  # As long as a process is left in it.
            Path(path).rmdir()
    return not group.exists()
