"""The audit log's chain: what a row says, how each seals the one before, how a break is told.

A row's hash covers its number, the hash before it and every word it says, as canonical JSON.
So a row that is changed, taken out or moved breaks the chain from there on, and whoever holds
a later hash, a checkpoint, sees also a tail that was cut off or a log that was written anew.

Source: Haber and Stornetta (1991), linking; Schneier and Kelsey (1998), audit logs on
untrusted machines. Who keeps the checkpoint elsewhere need not trust the database.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256
from typing import Any

GENESIS = "0" * 64
"""What stands in place of a hash before the first row."""

HIDDEN = "[not kept]"
# A version of what is hashed: another form must never give an old row's hash.
_FORM = "commonpool-audit-1"
# How far around a row its true place is looked for, where its own number does not fit.
_LOOK = 10_000
_SECRET_NAME = re.compile(
    r"(^|_)(token|secret|password|authorization|api_key|private_key)$", re.IGNORECASE
)
_SECRET = re.compile(r"cp_[a-z]+_[A-Za-z0-9_-]{20,}")
# What no database takes as text: NUL, and halves of surrogate pairs.
_NO_TEXT = re.compile("[\x00\ud800-\udfff]")


Values = Mapping[str, object]
"""What something was or is, as plain values."""


@dataclass(frozen=True, slots=True)
class Who:
    """Who did it, by which token or session, through which door, and for whom if for another."""

    actor: str
    source: str
    session: str = ""
    on_behalf_of: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that was done, to be sealed into the chain.

    `object` is what it was done to, as `kind:id`; `about` names more of them to be found by.
    `before` and `after` are plain values; what looks like a secret in them is not kept.
    """

    at: datetime
    who: Who
    action: str
    object: str
    before: Values | None = None
    after: Values | None = None
    reason: str = ""
    decision: str = ""
    about: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a chain: the last row's number, and its hash. Kept elsewhere, a checkpoint."""

    sequence: int = 0
    hash: str = GENESIS


@dataclass(frozen=True, slots=True)
class Row:
    """A sealed entry, as it is stored: `before` and `after` are canonical JSON."""

    sequence: int
    at: datetime
    actor: str
    on_behalf_of: str
    session: str
    source: str
    action: str
    object: str
    before: str | None
    after: str | None
    reason: str
    decision: str
    previous: str
    hash: str

    @property
    def head(self) -> Head:
        """Return the chain's end, were this its last row."""
        return Head(self.sequence, self.hash)


def seal(entries: Iterable[Entry], head: Head) -> Iterator[Row]:
    """Yield the rows that continue a chain from its head."""
    for entry in entries:
        said = _said(entry)
        sequence, previous = head.sequence + 1, head.hash
        # The hash first, of the same words: a row that is made twice costs as much as its hash.
        sealed = _hash(sequence, _words_of(previous, said["at"], [said[n] for n in _WORDS]))
        row = Row(sequence=sequence, previous=previous, **said, hash=sealed)
        head = row.head
        yield row


def _said(entry: Entry) -> dict[str, Any]:
    who = entry.who
    texts = {
        "actor": who.actor,
        "on_behalf_of": who.on_behalf_of,
        "session": who.session,
        "source": who.source,
        "action": entry.action,
        "object": entry.object,
        "reason": entry.reason,
        "decision": entry.decision,
    }
    return {
        **{name: _clean(text) for name, text in texts.items()},
        "at": entry.at.astimezone(UTC),
        "before": None if entry.before is None else canonical(entry.before),
        "after": None if entry.after is None else canonical(entry.after),
    }


def hash_of(row: Row, sequence: int) -> str:
    """Return the hash that a row's words have at a place of the chain."""
    return _hash(sequence, _words(row))


def _words(row: Row) -> str:
    return _words_of(row.previous, row.at, [getattr(row, name) for name in _WORDS])


def _words_of(previous: str, at: datetime, words: list[str | None]) -> str:
    when = at.astimezone(UTC).isoformat(timespec="microseconds")
    return _text([previous, when, *words])


def _hash(sequence: int, words: str) -> str:
    return sha256(f'["{_FORM}",{sequence},{words}]'.encode()).hexdigest()


_WORDS = tuple(
    field.name for field in fields(Row) if field.name not in {"sequence", "at", "previous", "hash"}
)


def canonical(value: Values) -> str:
    """Return plain values as JSON with one spelling, without what looks like a secret."""
    return _text(_without_secrets(value))


def digest(value: Values) -> str:
    """Return a short id of plain values: equal values, equal id."""
    return sha256(_text(value).encode()).hexdigest()[:24]


def _text(value: object) -> str:
    return _ENCODER.encode(value)


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, frozenset | set):
        return sorted(str(one) for one in value)
    return str(value)


# Kept: `json.dumps` makes one for each call, and every submission makes three.
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=_plain)


def _without_secrets(value: object) -> object:
    match value:
        case Mapping():
            return {
                str(name): HIDDEN if _names_secret(str(name)) else _without_secrets(one)
                for name, one in value.items()
            }
        case str():
            return _hidden(value)
        case list() | tuple():
            return [_without_secrets(one) for one in value]
        case _:
            return value


@lru_cache(maxsize=1_024)
def _names_secret(name: str) -> bool:
    return _SECRET_NAME.search(name) is not None


def _hidden(text: str) -> str:
    # Most words hold none, and a look for three letters is a tenth of the pattern's.
    return _SECRET.sub(HIDDEN, text) if "cp_" in text else text


def _clean(text: str) -> str:
    shown = _hidden(text)
    if shown.isascii() and "\x00" not in shown:
        return shown
    return _NO_TEXT.sub("\N{REPLACEMENT CHARACTER}", shown)


class Wrong(StrEnum):
    """What may be wrong with a chain."""

    CHANGED = "changed"
    MISSING = "missing"
    REORDERED = "reordered"


@dataclass(frozen=True, slots=True)
class Broken:
    """The first place at which a chain does not hold, and why, in a sentence."""

    sequence: int
    wrong: Wrong
    sentence: str


class Chain:
    """Follows a chain row by row, from a head that is trusted.

    With `start` None the first row's own word is taken for what was before it.
    """

    def __init__(self, start: Head | None, checkpoint: Head | None = None) -> None:
        self.head = start
        self.count = 0
        self._checkpoint = checkpoint

    def follow(self, rows: Iterable[Row]) -> Broken | None:
        """Take the next rows; return the first that does not hold."""
        for row in rows:
            broken = self._broken(row)
            if broken is not None:
                return broken
            self.head, self.count = row.head, self.count + 1
        return None

    def ends(self, stored: Head | None) -> Broken | None:
        """Compare the end with the stored head, and with the checkpoint, for what was cut off."""
        last = self.head or Head()
        for known, who in ((stored, "its head"), (self._checkpoint, "the checkpoint")):
            if known is not None and known.sequence > last.sequence:
                told = (
                    f"the log ends with row {last.sequence}, and {who} says {known.sequence}: "
                    f"{_rows(last.sequence + 1, known.sequence)} taken out"
                )
                return Broken(last.sequence + 1, Wrong.MISSING, told)
        if stored is not None and stored != last:
            told = f"row {last.sequence} has another hash than the log's head says"
            return Broken(last.sequence, Wrong.CHANGED, told)
        return None

    def _broken(self, row: Row) -> Broken | None:
        before = self.head or Head(row.sequence - 1, row.previous)
        expected = before.sequence + 1
        if row.sequence > expected:
            gap = _rows(expected, row.sequence - 1)
            told = f"after row {before.sequence} comes row {row.sequence}: {gap} taken out"
            return Broken(expected, Wrong.MISSING, told)
        if row.sequence < expected:
            told = f"row {row.sequence} comes after row {before.sequence}"
            return Broken(row.sequence, Wrong.REORDERED, told)
        if hash_of(row, row.sequence) != row.hash:
            return _changed(row)
        if row.previous != before.hash:
            told = (
                f"row {row.sequence} was not written after what is row {before.sequence} now: "
                "one of the two was put in another's place"
            )
            return Broken(row.sequence, Wrong.REORDERED, told)
        return self._against_checkpoint(row)

    def _against_checkpoint(self, row: Row) -> Broken | None:
        known = self._checkpoint
        if known is None or known.sequence != row.sequence or known.hash == row.hash:
            return None
        told = (
            f"row {row.sequence} has another hash than the checkpoint says: this row, or one "
            "before it, was changed and the rest written anew"
        )
        return Broken(row.sequence, Wrong.CHANGED, told)


def _rows(first: int, last: int) -> str:
    return f"row {first} was" if first == last else f"rows {first} to {last} were"


def _changed(row: Row) -> Broken:
    """Tell a row that is another's from one whose words were changed."""
    number = row.sequence
    near = range(max(1, number - _LOOK), number + _LOOK)
    words = _words(row)
    place = next((at for at in near if _hash(at, words) == row.hash), None)
    if place is not None:
        told = f"what is row {number} now was written as row {place}"
        return Broken(number, Wrong.REORDERED, told)
    told = f"what row {number} says does not give its hash: it was changed after it was written"
    return Broken(number, Wrong.CHANGED, told)
