"""Reads a recording back, and says where one is damaged: the file, the byte, the line."""

import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from scheduler.core.decisions import Plan, Preempt, Reserve, Start
from scheduler.core.policy import Policy
from scheduler.core.snapshot import Event, Snapshot
from scheduler.errors import Refused
from scheduler.replay.codec import NotDecodable, decode
from scheduler.replay.recorder import VERSION

_GZIP_WINDOW = 31  # zlib's code for "a gzip header, the largest window"
_MOST_BYTES = 4 * 2**30  # of one line, unpacked: nothing real is so long


@dataclass(frozen=True, slots=True)
class Frame:
    """One cycle: what was heard before it, what it decided, and what of that was carried out.

    `decided` and `carried` hold no verdicts; `digest` is that of the plan with them. `carried`
    is None where the plan changed nothing.
    """

    cycle: int
    now: datetime
    events: tuple[Event, ...]
    digest: str
    decided: Plan
    carried: Plan | None


@dataclass(frozen=True, slots=True)
class Recording:
    """A whole world and the cycles that followed."""

    policy: Policy
    snapshot: Snapshot
    frames: tuple[Frame, ...]


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of the file, counted from 1, and the byte at which its gzip member begins."""

    number: int
    byte: int
    plain: Mapping[str, Any]


def read_recording(file: Path) -> Recording:
    """Return a recording.

    Raises:
        Refused: it cannot be read, or is damaged: where, and what is wrong there.
    """
    lines = _lines(file)
    first = next(lines, None)
    if first is None:
        _refuse(file, 1, 0, "is empty")
    policy, snapshot = _base(file, first)
    frames: list[Frame] = []
    for line in lines:
        try:
            _take(frames, line.plain, policy.revision)
        except (NotDecodable, KeyError, TypeError, ValueError) as error:
            _refuse(file, line.number, line.byte, f"is no cycle of a recording: {error}")
    return Recording(policy, snapshot, tuple(frames))


def _base(file: Path, line: _Line) -> tuple[Policy, Snapshot]:
    plain = line.plain
    if plain.get("commonpool") != "recording":
        _refuse(file, line.number, line.byte, "is not the first line of a recording")
    if plain.get("version") != VERSION:
        said = f"is of format {plain.get('version')}; this program reads format {VERSION}"
        _refuse(file, line.number, line.byte, said)
    try:
        return decode(plain["policy"], Policy), decode(plain["snapshot"], Snapshot)
    except (NotDecodable, KeyError) as error:
        _refuse(file, line.number, line.byte, f"holds no policy and snapshot: {error}")


def _take(frames: list[Frame], plain: Mapping[str, Any], revision: int) -> None:
    """Add a cycle, or what was carried out of the last one."""
    if "carried" not in plain:
        now = decode(plain["now"], datetime)
        events = _rows(plain, "events", Event)
        decided = _decided(plain, now, revision)
        frames.append(Frame(plain["cycle"], now, events, str(plain["digest"]), decided, None))
        return
    if not frames:
        raise ValueError(f"it says what was done in cycle {plain['cycle']}, which is not there")
    last = frames.pop()
    if last.cycle != plain["cycle"]:
        raise ValueError(f"it says what was done in cycle {plain['cycle']}, after {last.cycle}")
    done = plain["carried"]
    carried = last.decided if done is True else _decided(done, last.now, revision)
    frames.append(Frame(last.cycle, last.now, last.events, last.digest, last.decided, carried))


def _rows(plain: Mapping[str, Any], name: str, kind: Any) -> tuple[Any, ...]:  # noqa: ANN401
    rows: tuple[Any, ...] = decode(plain[name], tuple[kind, ...])
    return rows


def _decided(plain: Mapping[str, Any], now: datetime, revision: int) -> Plan:
    return Plan(
        now,
        revision,
        _rows(plain, "starts", Start),
        _rows(plain, "preempts", Preempt),
        _rows(plain, "reserves", Reserve),
    )


def _lines(file: Path) -> Iterator[_Line]:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise Refused(
            "Recording refused", f"{file} cannot be read: {error.strerror or error}", field="FILE"
        ) from error
    at, number = 0, 0
    while at < len(data):
        number += 1
        text, size = _member(file, data, number, at)
        try:
            plain = json.loads(text)
        except ValueError as error:
            _refuse(file, number, at, f"is not JSON: {error}")
        if not isinstance(plain, dict):
            _refuse(file, number, at, "is no JSON object")
        yield _Line(number, at, plain)
        at += size


def _member(file: Path, data: bytes, number: int, at: int) -> tuple[bytes, int]:
    """Return the content of the gzip member that begins there, and its packed length."""
    unpacked = zlib.decompressobj(wbits=_GZIP_WINDOW)
    try:
        text = unpacked.decompress(data[at:], _MOST_BYTES)
    except zlib.error as error:
        _refuse(file, number, at, f"is damaged: {error}")
    if not unpacked.eof:
        _refuse(file, number, at, "is cut off: the file ends in the middle of it")
    return text, len(data) - at - len(unpacked.unused_data)


def _refuse(file: Path, line: int, byte: int, said: str) -> NoReturn:
    raise Refused(
        title="Recording refused",
        detail=f"{file}, line {line} (at byte {byte}): {said}",
        field="FILE",
        next_step="what comes before that line is whole: `head -c BYTE` keeps it",
    )
