"""Faults that somebody wants simulated GPUs to have: `commonpool node inject`, and who reads it.

A file per node, in a folder of this machine. There is no door for it in the hub, so nobody
can do this from elsewhere, and no agent of real GPUs ever looks.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

FALLEN_OFF_THE_BUS = 79
"""After this XID nothing can be read of a GPU. Source: NVIDIA's XID catalogue."""


@dataclass(frozen=True, slots=True)
class Injected:
    """What was injected into a node since its file began: counters never go back."""

    xids: Mapping[str, int] = field(default_factory=dict)
    """How often, by `GPU:XID`."""
    lost: tuple[int, ...] = ()
    """GPUs that nothing can be read of."""
    foreign: tuple[int, ...] = ()
    """GPUs with a process on them that has no lease."""

    def with_xid(self, gpu: int, xid: int) -> "Injected":
        """Return this with one more XID, and the GPU lost where the XID means that."""
        key = f"{gpu}:{xid}"
        lost = {*self.lost, gpu} if xid == FALLEN_OFF_THE_BUS else {*self.lost}
        counted = {**self.xids, key: self.xids.get(key, 0) + 1}
        return replace(self, xids=counted, lost=tuple(sorted(lost)))

    def with_foreign(self, gpu: int) -> "Injected":
        """Return this with a process without a lease on a GPU."""
        return replace(self, foreign=tuple(sorted({*self.foreign, gpu})))

    def repaired(self) -> "Injected":
        """Return this with all GPUs well; what was counted stays counted."""
        return Injected(xids=self.xids)


def file_of(folder: Path, node: str) -> Path:
    """Return where a node's faults are kept."""
    return folder / f"{node}.faults.json"


def begin(folder: Path, nodes: Iterable[str]) -> None:
    """Make the files of nodes that have none: without one there is no such simulated node here.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for node in nodes:
        file = file_of(folder, node)
        if not file.exists():
            save(file, Injected())


def load(file: Path) -> Injected:
    """Return what is injected; nothing where there is no file, or half of one."""
    try:
        found = json.loads(file.read_text())
        return Injected(dict(found["xids"]), tuple(found["lost"]), tuple(found["foreign"]))
    except (OSError, ValueError, TypeError, KeyError):
        return Injected()


def save(file: Path, injected: Injected) -> None:
    """Keep it, so that a reader sees the old file or the new one."""
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps(asdict(injected)))
    fresh.replace(file)
