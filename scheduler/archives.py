"""Is this zip safe to unpack at a site? Looked at before it is stored, never unpacked here.

Sites unpack with Python's `zipfile`, so the central directory is what counts: its names
must stay inside the folder, its declared sizes are what is written at most. The directory
is walked by hand first, because `ZipFile` itself builds an object per entry, and a package
of a million empty entries should cost a refusal and not the memory.
"""

import errno
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from scheduler.errors import Refused

_END = b"PK\x05\x06"
_END_SIZE = 22
_ZIP64_LOCATOR = b"PK\x06\x07"
_ZIP64_LOCATOR_SIZE = 20
_ENTRY = b"PK\x01\x02"
_ENTRY_SIZE = 46
_ENCRYPTED = 0x1
_FILE = b"PK\x03\x04"
_LONGEST_PATH = 4096
_LONGEST_NAME = 255
_SHOWN = 120
_NESTED = (".zip", ".whl", ".jar", ".egg")
_DRIVE = re.compile(r"^[A-Za-z]:")


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """What a package may hold. A high ratio alone is fine: small files of zeros exist."""

    entries: int = 50_000
    unpacked_bytes: int = 2 * 1024**3
    ratio: int = 100
    ratio_from_bytes: int = 256 * 1024**2


@dataclass(frozen=True, slots=True)
class _Totals:
    entries: int
    unpacked: int


def check_archive(path: Path, limits: ArchiveLimits) -> None:
    """Look a package over.

    Raises:
        Refused: 400, with the first reason found.
    """
    size = path.stat().st_size
    with path.open("rb") as file, _opened(file, size, limits) as archive:
        totals = _check_entries(archive, size, limits)
        _check_nested(archive, totals, size, limits)


@contextmanager
def _opened(file: IO[bytes], size: int, limits: ArchiveLimits) -> Iterator[zipfile.ZipFile]:
    try:
        _count_entries(file, size, limits)
        with zipfile.ZipFile(file) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, struct.error, ValueError, EOFError) as error:
        raise refused(f"it cannot be read as a zip ({error})") from error
    except OSError as error:
        # An offset before the start of the file; anything else is the disk's fault.
        if error.errno != errno.EINVAL:
            raise
        raise refused("it points outside itself") from error
    except (NotImplementedError, RuntimeError) as error:
        raise refused(f"it uses a feature of zip that is not supported ({error})") from error


def _count_entries(file: IO[bytes], size: int, limits: ArchiveLimits) -> None:
    """Walk the central directory without building anything."""
    tail_size = min(size, _END_SIZE + _ZIP64_LOCATOR_SIZE + 0xFFFF)
    file.seek(size - tail_size)
    tail = file.read(tail_size)
    at = tail.rfind(_END)
    if tail[-_END_SIZE:].startswith(_END) and tail.endswith(b"\0\0"):
        at = len(tail) - _END_SIZE
    if at < 0 or at + _END_SIZE > len(tail):
        raise refused("it is not a zip file")
    if tail[max(0, at - _ZIP64_LOCATOR_SIZE) : at].startswith(_ZIP64_LOCATOR):
        raise refused("it is a zip64 archive, which only packages far over the limits need")
    directory_size = struct.unpack_from("<L", tail, at + 12)[0]
    start = size - tail_size + at - directory_size
    if start < 0:
        raise refused("its directory is larger than the file")
    file.seek(start)
    _walk(file.read(directory_size), limits)
    file.seek(0)


def _walk(directory: bytes, limits: ArchiveLimits) -> None:
    at, entries = 0, 0
    while directory.startswith(_ENTRY, at) and at + _ENTRY_SIZE <= len(directory):
        entries += 1
        if entries > limits.entries:
            raise refused(f"it has more than {limits.entries} entries")
        at += _ENTRY_SIZE + sum(struct.unpack_from("<3H", directory, at + 28))
    if at != len(directory):
        raise refused("its directory is damaged")


def _check_entries(archive: zipfile.ZipFile, size: int, limits: ArchiveLimits) -> _Totals:
    unpacked = 0
    for entry in archive.infolist():
        problem = escape(entry.filename) or _kind(entry)
        if problem:
            raise refused(f"its entry {_shown(entry.filename)} {problem}")
        unpacked += entry.file_size
    _check_size(unpacked, size, limits)
    return _Totals(len(archive.infolist()), unpacked)


def _check_size(unpacked: int, size: int, limits: ArchiveLimits) -> None:
    if unpacked > limits.unpacked_bytes:
        raise refused(f"it would unpack to {unpacked} bytes, more than {limits.unpacked_bytes}")
    if unpacked > limits.ratio_from_bytes and unpacked > size * limits.ratio:
        raise refused(
            f"it would unpack to {unpacked} bytes, more than {limits.ratio} times its "
            f"{size} bytes: this looks like a zip bomb"
        )


def _check_nested(
    archive: zipfile.ZipFile, totals: _Totals, size: int, limits: ArchiveLimits
) -> None:
    """Count what archives inside would unpack to as well: programs do unpack them.

    Only sizes count here. Their names are not our business, and a broken archive may be
    some program's test data.
    """
    entries, unpacked = totals.entries, totals.unpacked
    for entry in archive.infolist():
        if not entry.filename.lower().endswith(_NESTED) or entry.is_dir():
            continue
        if entry.file_size > limits.ratio_from_bytes:
            raise refused(
                f"its entry {_shown(entry.filename)} is an archive of {entry.file_size} bytes, "
                f"more than {limits.ratio_from_bytes}"
            )
        inner = _measure(archive, entry, limits)
        entries, unpacked = entries + inner.entries, unpacked + inner.unpacked
        if entries > limits.entries:
            raise refused(f"with the archives inside it has more than {limits.entries} entries")
        _check_size(unpacked, size, limits)


def _measure(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, limits: ArchiveLimits) -> _Totals:
    with archive.open(entry) as inside:
        if inside.read(len(_FILE)) != _FILE:
            return _Totals(0, 0)
        try:
            with _opened(inside, entry.file_size, limits) as inner:
                sizes = [each.file_size for each in inner.infolist()]
        except Refused:
            return _Totals(0, 0)
    return _Totals(len(sizes), sum(sizes))


def escape(name: str) -> str:
    """Return how an entry's name leaves the folder it is unpacked into, or nothing.

    Backslashes count as separators: some tools unpack them as such.
    """
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or _DRIVE.match(name):
        return "has an absolute name"
    if ".." in parts:
        return "has '..' in its name and would leave the folder"
    if not name.strip("/\\") or "\0" in name:
        return "has an empty or impossible name"
    if _bytes(name) > _LONGEST_PATH or any(_bytes(part) > _LONGEST_NAME for part in parts):
        return "has a name that is too long"
    return ""


def _kind(entry: zipfile.ZipInfo) -> str:
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return "is a symbolic link; pack the file that it points to"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is neither a file nor a folder"
    if entry.flag_bits & _ENCRYPTED:
        return "is encrypted"
    return ""


def refused(reason: str) -> Refused:
    """Return the refusal of a package for what is in it."""
    return Refused(
        title="Package refused",
        detail=f"the package was refused: {reason}",
        status=400,
        field="package",
    )


def _shown(name: str) -> str:
    return repr(name[:_SHOWN])


def _bytes(name: str) -> int:
    return len(name.encode(errors="replace"))
