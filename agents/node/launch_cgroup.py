"""Where this machine's control groups are made, if the agent may make any: `launch_group.py`."""

from collections.abc import Iterator
from pathlib import Path

_MOUNTS = Path("/proc/self/mounts")
_OWN = Path("/proc/self/cgroup")
_ABOVE = "commonpool"
CGROUP, MARKS = "cgroup", "marks"


def above_of_this_machine() -> Path | None:
    """Return the control group that runs' own are made in, made now; None if there can be none."""
    found = next(_cgroup_v2(), None)
    if found is None:
        return None
    own = next(
        (
            line[3:].lstrip("/")
            for line in _OWN.read_text(encoding="utf-8").splitlines()
            if line.startswith("0::")
        ),
        "",
    )
    above = found / own / _ABOVE
    try:
        above.mkdir(exist_ok=True)
        (above / "cgroup.procs").open("ab").close()
    except OSError:
        return None
    return above


def _cgroup_v2() -> Iterator[Path]:
    for line in _MOUNTS.read_text(encoding="utf-8").splitlines():
        words = line.split()
        if words[2] == "cgroup2":
            yield Path(words[1])
