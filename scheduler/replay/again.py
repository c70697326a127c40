"""Plans a recording again, and says whether it comes out the same, to the byte."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from scheduler.core.decisions import Plan
from scheduler.core.plan import plan as decide
from scheduler.core.snapshot import Snapshot
from scheduler.core.world import World
from scheduler.errors import Refused
from scheduler.replay.codec import digest, text_of
from scheduler.replay.recorder import decisions
from scheduler.replay.recording import Frame, Recording


@dataclass(frozen=True, slots=True)
class Replayed:
    """One cycle, planned again. `difference` is the first one, in words; None: identical."""

    cycle: int
    now: datetime
    plan: Plan
    difference: str | None = None


def replay(recording: Recording) -> Iterator[Replayed]:
    """Yield each cycle as it comes out now; read a plan's verdicts before the next one.

    After a difference it goes on with what was carried out then, as the hub did.

    Raises:
        Refused: a line speaks of what no line before it knows.
    """
    with _in_order("its first line"):
        world = World(recording.policy, recording.snapshot)
    for frame in recording.frames:
        with _in_order(f"cycle {frame.cycle}"):
            for event in frame.events:
                world.apply(event)
        again = decide(world, recording.policy, frame.now)
        same = digest(again, Plan) == frame.digest
        yield Replayed(frame.cycle, frame.now, again, None if same else _difference(frame, again))
        if frame.carried is not None:
            with _in_order(f"cycle {frame.cycle}"):
                world.advance(frame.carried)


@contextmanager
def _in_order(where: str) -> Iterator[None]:
    """Tell a recording that was altered, or put together of several, by where it breaks off."""
    try:
        yield
    except (LookupError, ValueError, OverflowError) as error:
        told = f"{where} of the recording does not go with the rest: {type(error).__name__} {error}"
        then = "replay an unaltered file, as the hub wrote it"
        raise Refused("Recording refused", told, field="FILE", next_step=then) from error


def _difference(frame: Frame, again: Plan) -> str:
    """Name the first decision that came out otherwise."""
    then, now = decisions(frame.decided), decisions(again)
    for kind in ("starts", "preempts", "reserves"):
        found = _first(kind, then[kind], now[kind])
        if found is not None:
            return found
    return "the decisions are the same, but a verdict of a waiting job is another"


def _first(kind: str, then: Sequence[object], now: Sequence[object]) -> str | None:
    for number in range(max(len(then), len(now))):
        old = text_of(then[number]) if number < len(then) else "none"
        new = text_of(now[number]) if number < len(now) else "none"
        if old != new:
            return f"{kind}, number {number + 1}: recorded {old}; now {new}"
    return None


def last_state(recording: Recording) -> tuple[Snapshot, datetime | None]:
    """Return the world as the last cycle saw it, and when that was; None without any cycle."""
    at: datetime | None = None
    with _in_order("a line"):
        world = World(recording.policy, recording.snapshot)
        for number, frame in enumerate(recording.frames, start=1):
            for event in frame.events:
                world.apply(event)
            at = frame.now
            if frame.carried is not None and number < len(recording.frames):
                world.advance(frame.carried)
    return world.snapshot(), at
