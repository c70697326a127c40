"""Input files as text, plain or gzip, and what is wrong with them, all told at once."""

import csv
import io
import re
import sys
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from math import isfinite
from pathlib import Path
from typing import NoReturn

from scheduler.errors import Fault, Refused
from scheduler.policy_text import not_utf8

WHOLE_FILE = "(the file)"
STANDARD_INPUT = Path("-")
LONGEST = timedelta(days=3660)
"""No time of a trace is longer: ten years, as in policies."""

_MOST_PROBLEMS = 20
_MOST_DIGITS = 15
_MOST = 10**9
# What programs print a number as: 90, 90.0, .5, 1.5e+03. More digits name no longer time.
_NUMBER = re.compile(
    r"[-+]?(?:\d{1,400}(?:\.\d{0,400})?|\.\d{1,400})(?:[eE][-+]?\d{1,4})?", re.ASCII
)
_GZIP = b"\x1f\x8b"
_GZIP_WINDOW = 31  # zlib's code for "a gzip header, the largest window"


class Problems:
    """What is wrong with one file. It is refused at the end, or once there is plenty to say."""

    def __init__(self, file: Path | str) -> None:
        self._file = file
        self._found: list[Fault] = []

    def add(self, line: int, field: str, reason: str) -> None:
        """Note a problem at a line, counted from 1; once, however often it is met.

        Raises:
            Refused: there are so many that the rest would tell nobody more.
        """
        fault = Fault(field, reason, line)
        if fault in self._found:
            return
        self._found.append(fault)
        if len(self._found) >= _MOST_PROBLEMS:
            self.refuse()

    def settle(self) -> None:
        """Let the file pass if nothing is wrong with it.

        Raises:
            Refused: something is.
        """
        if self._found:
            self.refuse()

    def refuse(self) -> NoReturn:
        """Raise what was found as `Refused`."""
        count = len(self._found)
        many = (
            f"the first {_MOST_PROBLEMS} problems"
            if count >= _MOST_PROBLEMS
            else f"{count} problems"
        )
        raise Refused(
            title=f"{self._file} is refused: {many}",
            detail=f"{self._file} is refused",
            faults=tuple(self._found),
            next_step="correct it and run the command again; nothing was simulated or written",
        )


def read_text(file: Path) -> str:
    """Return a file's text, unpacked where it is gzip, whatever its name says; `-` is stdin.

    Raises:
        Refused: it cannot be opened, is empty, damaged, cut short, or not UTF-8.
    """
    problems = Problems(file)
    try:
        data = sys.stdin.buffer.read() if file == STANDARD_INPUT else file.read_bytes()
    except OSError as error:
        told = f"{file} cannot be read: {error.strerror or error}"
        raise Refused("no such file", told, next_step="check the name") from error
    if data.startswith(_GZIP):
        data = _unpacked(data, problems)
    problems.settle()
    if not data.strip():
        problems.add(1, WHOLE_FILE, "is empty")
        problems.refuse()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problems.add(data.count(b"\n", 0, error.start) + 1, WHOLE_FILE, not_utf8(error))
        problems.refuse()


def _unpacked(packed: bytes, problems: Problems) -> bytes:
    """Return the content of all members; where the last is cut short, say after which line."""
    data = b""
    while packed:
        member = zlib.decompressobj(wbits=_GZIP_WINDOW)
        try:
            data += member.decompress(packed)
        except zlib.error as error:
            problems.add(data.count(b"\n") + 1, WHOLE_FILE, f"gzip data is damaged: {error}")
            return data
        if not member.eof:
            line = data.count(b"\n") + 1
            problems.add(line, WHOLE_FILE, "gzip data ends here too soon: the file is truncated")
            return data
        packed = member.unused_data.lstrip(b"\0")
    return data


def rows(text: str, delimiter: str, problems: Problems) -> Iterator[tuple[int, list[str]]]:
    """Yield each row that is not blank with the line it ends on; `|` separates without quotes."""
    stream = io.StringIO(text, newline="")
    if delimiter == "|":
        reader = csv.reader(stream, delimiter="|", quoting=csv.QUOTE_NONE, strict=True)
    else:
        reader = csv.reader(stream, delimiter=delimiter, strict=True)
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
    except csv.Error as error:
        problems.add(reader.line_num, WHOLE_FILE, f"is not CSV: {error}")


@dataclass(frozen=True, slots=True)
class Row:
    """One row by column. What cannot be read is noted, and a stand-in is returned."""

    line: int
    values: Mapping[str, str]
    problems: Problems

    def text(self, field: str) -> str:
        """Return what the field says, empty where it or its column is missing."""
        return self.values.get(field, "").strip()

    def needed(self, field: str) -> str:
        """Return what the field says; that it is empty is a problem."""
        text = self.text(field)
        if not text:
            self.wrong(field, "is empty")
        return text

    def wrong(self, field: str, reason: str) -> None:
        """Note a problem of this row."""
        self.problems.add(self.line, field, reason)

    def seconds(self, field: str, zero_is_fine: bool = False) -> timedelta:
        """Return a time in seconds; fractions down to a microsecond count."""
        text = self.text(field)
        value = _number(text)
        if value is None:
            self.wrong(field, f"{_shown(text)} is not a number of seconds such as 90, 0.5 or 1.5e3")
        elif value < 0:
            self.wrong(
                field,
                f"{text} is negative; it must be 0 or more"
                if zero_is_fine
                else f"{text} is negative; it must be more than 0",
            )
        elif value > LONGEST.total_seconds():
            self.wrong(field, f"{text} s is longer than {LONGEST.days} days")
        elif (read := timedelta(seconds=value)) or zero_is_fine:
            return read
        else:
            self.wrong(field, f"{text} is zero, to a microsecond; it must be more than 0")
        return timedelta(0)

    def count(self, field: str, least: int = 1) -> int:
        """Return a whole number of at least so much; `8.0` is one, as tables of floats say it."""
        text = self.text(field)
        value = _number(text)
        if value is None or value != int(value) or abs(value) >= _MOST:
            self.wrong(field, f"{_shown(text)} is not a whole number below {_MOST:,}")
        elif value < least:
            self.wrong(field, f"{text} is less than {least}, the least")
        else:
            return int(value)
        return max(1, least)


def _shown(text: str) -> str:
    return f"'{text[:40]}'" if text else "an empty field"


def _number(text: str) -> int | float | None:
    """Return a decimal number, perhaps with an exponent; none are underscores and infinities."""
    if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS:
        return int(text)
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return value if isfinite(value) else None
