"""Writes each cycle's input down: a whole world now and then, and what happened in between.

A file is lines of JSON, each line a gzip member of its own, so that a file whose writer
died is whole up to its last line, and `zcat` reads it. The first line is the policy and
the snapshot; each cycle adds what was heard since, `now`, and what was decided (verdicts
only in the digest). Size and number of files are bounded; the oldest go first.

It is called by the cycle loop and never ends it: where the disk refuses, recording stops
and the log says so.
"""

import gzip
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

import structlog

from scheduler.core.decisions import Plan, Preempt, Reserve, Start
from scheduler.core.policy import Policy
from scheduler.core.snapshot import Event, Snapshot
from scheduler.core.world import World
from scheduler.replay.codec import digest, encode, text_of

log = structlog.get_logger("replay")

VERSION = 1
SUFFIX = ".jsonl.gz"
_MOST_EVENTS = 100_000  # heard between two plans; beyond it a whole world is shorter


class Recorder:
    """Records cycles into a folder. The three calls are made in the order of a cycle."""

    def __init__(
        self, folder: Path, cycles: int = 500, max_bytes: int = 64 * 2**20, files: int = 20
    ) -> None:
        """Keep at most `files` files, each of so many cycles and about so many bytes."""
        self._folder = folder
        self._cycles = cycles
        self._max_bytes = max_bytes
        self._files = files
        self._world: World | None = None
        self._heard: list[Event] = []
        self._file: Path | None = None
        self._bytes = 0
        self._decided: Plan | None = None
        self._cycle = 0
        self._broken = False

    def heard(self, events: Iterable[Event]) -> None:
        """Note what the world was told; it is written with the next plan."""
        if self._world is None:
            return  # the next plan writes the whole world anyway
        self._heard.extend(events)
        if len(self._heard) > _MOST_EVENTS:
            self._forget()

    def planned(self, world: World, plan: Plan) -> None:
        """Write down a cycle, before the plan is carried out; another world is a new file."""
        if self._broken:
            return
        try:
            if world is not self._world or self._is_full():
                self._begin(world, plan.now)
            self._cycle += 1
            self._write(_frame(self._cycle, self._heard, plan))
        except OSError as error:
            self._give_up(error)
            return
        self._heard = []
        self._decided = plan

    def carried_out(self, plan: Plan) -> None:
        """Write down that the plan, or what still held of it, was carried out on the world."""
        decided = self._decided
        if self._broken or self._file is None or decided is None:
            return
        whole = (plan.starts, plan.preempts) == (decided.starts, decided.preempts)
        done = True if whole else decisions(plan)
        try:
            self._write({"cycle": self._cycle, "carried": done})
        except OSError as error:
            self._give_up(error)
        self._decided = None

    def _forget(self) -> None:
        self._world, self._heard = None, []

    def _is_full(self) -> bool:
        return self._cycle >= self._cycles or self._bytes >= self._max_bytes

    def _begin(self, world: World, now: datetime) -> None:
        """Begin a file with the whole world, and let the oldest go."""
        self._folder.mkdir(parents=True, exist_ok=True)
        old = sorted(self._folder.glob(f"cycles-*{SUFFIX}"))
        for file in old[: max(0, len(old) - self._files + 1)]:
            file.unlink(missing_ok=True)
        self._file = _new_file(self._folder, now)
        self._world, self._heard, self._cycle, self._bytes = world, [], 0, 0
        self._write(base(world.policy, world.snapshot()))

    def _write(self, plain: object) -> None:
        if self._file is None:
            raise OSError("the recording has no file")
        data = member(plain)
        # Opened anew each time: nothing is left open, whatever becomes of the hub.
        with self._file.open("ab") as file:
            file.write(data)
        self._bytes += len(data)

    def _give_up(self, error: OSError) -> None:
        self._broken = True
        self._forget()
        log.warning("recording_stopped", folder=str(self._folder), error=str(error))


def _new_file(folder: Path, now: datetime) -> Path:
    """Make a file that was not there, for its owner only: it names people and their work."""
    stamp = f"{now:%Y%m%dT%H%M%S}.{now.microsecond:06}"
    for number in range(1000):
        file = folder / f"cycles-{stamp}-{number:03}{SUFFIX}"
        try:
            file.touch(mode=0o600, exist_ok=False)
        except FileExistsError:
            continue
        return file
    raise OSError(f"{folder} has a thousand recordings of one instant")


def base(policy: Policy, snapshot: Snapshot) -> object:
    """Return a recording's first line."""
    return {
        "commonpool": "recording",
        "version": VERSION,
        "policy": encode(policy, Policy),
        "snapshot": encode(snapshot, Snapshot),
    }


def _frame(cycle: int, heard: Sequence[Event], plan: Plan) -> object:
    return {
        "cycle": cycle,
        "now": encode(plan.now, datetime),
        "events": encode(heard, Sequence[Event]),
        "digest": digest(plan, Plan),
        **decisions(plan),
    }


def decisions(plan: Plan) -> dict[str, list[object]]:
    """Return what a plan decides, without verdicts, as plain JSON values."""
    return {
        "starts": encode(plan.starts, Sequence[Start]),
        "preempts": encode(plan.preempts, Sequence[Preempt]),
        "reserves": encode(plan.reserves, Sequence[Reserve]),
    }


def member(plain: object) -> bytes:
    """Return one line as a gzip member; without a time in it, so that equal lines are equal."""
    return gzip.compress((text_of(plain) + "\n").encode(), compresslevel=6, mtime=0)
