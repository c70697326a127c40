"""Packages and logs on disk: what people upload, and what their runs print.

A package is kept once under the SHA-256 of its bytes (`packages/<sha256>`); who may use
it is the database's business. A log is one file per run (`logs/<job>/<run>.log`),
written by offset, so that an agent may send the same piece twice.
"""

import asyncio
import codecs
import errno
import fcntl
import hashlib
import os
import re
import tempfile
from collections.abc import AsyncIterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import IO

from scheduler.archives import ArchiveLimits, check_archive
from scheduler.errors import Refused, StorageUnavailable

_SHA256 = re.compile(r"[0-9a-f]{64}")
_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,119}")
_BUFFER = 1024 * 1024
_STORAGE_ERRORS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "the hub may not write to its folder",
    errno.EPERM: "the hub may not write to its folder",
    errno.EIO: "the disk reports an I/O error",
}


class LogGap(Exception):  # noqa: N818  # a state, told by its name
    """A piece of log that starts after the end of what is stored; send from `next_offset`."""

    def __init__(self, next_offset: int) -> None:
        super().__init__(f"the log is stored up to byte {next_offset}")
        self.next_offset = next_offset


class FileStore:
    """The hub's folder of packages and logs. `max_log_bytes` is kept per run, no more."""

    def __init__(
        self, root: Path, max_log_bytes: int, archive_limits: ArchiveLimits | None = None
    ) -> None:
        self._packages = root / "packages"
        self._logs = root / "logs"
        self._max_log_bytes = max_log_bytes
        self._archive_limits = archive_limits or ArchiveLimits()
        with _storage():
            self._packages.mkdir(parents=True, exist_ok=True)
            self._logs.mkdir(parents=True, exist_ok=True)
        _sweep(self._packages)

    async def put_package(self, stream: AsyncIterable[bytes], limit: int) -> tuple[str, int]:
        """Check and store a package; return its SHA-256 and size, once both are on disk.

        Raises:
            Refused: 413 above `limit` bytes, 400 for an archive that is not safe to unpack.
            StorageUnavailable: it could not be written; nothing was kept.
        """
        with _storage(), _incoming(self._packages) as file:
            digest, size = await _receive(stream, file, limit)
            await asyncio.to_thread(self._keep, Path(file.name), file, digest)
        return digest, size

    def _keep(self, incoming: Path, file: IO[bytes], digest: str) -> None:
        check_archive(incoming, self._archive_limits)
        os.fsync(file.fileno())
        incoming.replace(self._packages / digest)
        _sync_folder(self._packages)

    def open_package(self, sha256: str) -> IO[bytes] | None:
        """Open a stored package for reading; None where there is none."""
        try:
            return self.package_path(sha256).open("rb")
        except FileNotFoundError:
            return None

    def package_path(self, sha256: str) -> Path:
        """Return where a package is or would be.

        Raises:
            ValueError: not a SHA-256.
        """
        if not _SHA256.fullmatch(sha256):
            raise ValueError("a package is named by its SHA-256")
        return self._packages / sha256

    async def append_log(self, job: str, run: str, offset: int, data: bytes) -> int:
        """Store a piece of a run's log; return where the next piece starts.

        What is stored already is skipped, so repeated and overlapping pieces change nothing.
        Above the limit one line says so, and the rest is taken and dropped. Not synced to the
        disk: after a power cut the agent is told the right offset and sends again.

        Raises:
            LogGap: the piece starts after the end of what is stored.
            StorageUnavailable: it could not be written.
        """
        return await asyncio.to_thread(self._append, self._log(job, run), offset, data)

    def _append(self, path: Path, offset: int, data: bytes) -> int:
        if offset < 0:
            raise ValueError("a log's offset is 0 or more")
        with _storage():
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
            try:
                return self._write(handle, offset, data)
            finally:
                os.close(handle)

    def _write(self, handle: int, offset: int, data: bytes) -> int:
        stored = os.fstat(handle).st_size
        if stored > self._max_log_bytes:
            return offset + len(data)
        if offset > stored:
            raise LogGap(stored)
        new = data[stored - offset :]
        if not new:
            return stored
        room = self._max_log_bytes - stored
        _write_at(handle, stored, new[:room])
        if len(new) <= room:
            return stored + len(new)
        _write_at(handle, self._max_log_bytes, self._marker())
        return offset + len(data)

    def _marker(self) -> bytes:
        return (
            f"\n[commonpool] the log is longer than {self._max_log_bytes} bytes; "
            "the rest was dropped\n"
        ).encode()

    async def read_log(
        self, job: str, runs: Sequence[str], offset: int, limit: int
    ) -> tuple[bytes, int]:
        """Return up to `limit` bytes from `offset` of a job's log, and the next offset.

        The log is that of all runs in order, with a line of ours before each later attempt.
        A piece never ends within a UTF-8 character, except where `limit` is too small for it.
        """
        return await asyncio.to_thread(self._read, job, tuple(runs), offset, limit)

    def _read(self, job: str, runs: Sequence[str], offset: int, limit: int) -> tuple[bytes, int]:
        pieces: list[bytes] = []
        skip, left = max(0, offset), max(0, limit)
        for number, run in enumerate(runs):
            if number:
                line = self._separator(job, runs[number - 1], run)
                piece = line[skip : skip + left]
                pieces.append(piece)
                skip, left = max(0, skip - len(line)), left - len(piece)
            piece, size = _slice(self._log(job, run), skip, left)
            pieces.append(piece)
            skip, left = max(0, skip - size), left - len(piece)
        data = b"".join(pieces)
        data = data[: whole_characters(data)] or data
        return data, max(0, offset) + len(data)

    def _separator(self, job: str, before: str, run: str) -> bytes:
        path = self._log(job, before)
        size = _size(path)
        last, _ = _slice(path, size - 1, 1) if size else (b"\n", 0)
        return (b"" if last == b"\n" else b"\n") + f"[commonpool] next attempt: {run}\n".encode()

    def read_run(self, job: str, run: str, offset: int, limit: int) -> bytes:
        """Return up to `limit` bytes of one run's log from `offset`; empty where there are none."""
        return _slice(self._log(job, run), offset, limit)[0]

    def run_log_size(self, job: str, run: str) -> int:
        """Return how many bytes of one run's log are stored."""
        return _size(self._log(job, run))

    def has_log(self, job: str, run: str, log_bytes: int) -> bool:
        """Return whether all `log_bytes` that the site has seen are here, or were dropped."""
        stored = self.run_log_size(job, run)
        return stored >= log_bytes or stored > self._max_log_bytes

    def log_size(self, job: str, runs: Sequence[str]) -> int:
        """Return the length of what `read_log` reads."""
        sizes = sum(self.run_log_size(job, run) for run in runs)
        lines = (self._separator(job, before, run) for before, run in pairwise(runs))
        return sizes + sum(map(len, lines))

    def _log(self, job: str, run: str) -> Path:
        if not (_ID.fullmatch(job) and _ID.fullmatch(run)):
            raise ValueError(f"not an id of a job and a run: {job!r}, {run!r}")
        return self._logs / job / f"{run}.log"


def whole_characters(data: bytes) -> int:
    """Return how many of these bytes do not belong to a UTF-8 character that is cut off."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    decoder.decode(data[-4:])
    return len(data) - len(decoder.getstate()[0])


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _slice(path: Path, offset: int, limit: int) -> tuple[bytes, int]:
    """Return up to `limit` bytes from `offset`, and the file's size; nothing where it is absent."""
    try:
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            return os.pread(file.fileno(), limit, offset), size
    except FileNotFoundError:
        return b"", 0


def _write_at(handle: int, offset: int, data: bytes) -> None:
    while data:
        written = os.pwrite(handle, data, offset)
        offset, data = offset + written, data[written:]


async def _receive(stream: AsyncIterable[bytes], file: IO[bytes], limit: int) -> tuple[str, int]:
    digest, size, buffer = hashlib.sha256(), 0, bytearray()

    def flush() -> None:
        digest.update(buffer)
        file.write(buffer)
        buffer.clear()

    async for piece in stream:
        size += len(piece)
        if size > limit:
            raise _too_large(limit)
        buffer += piece
        if len(buffer) >= _BUFFER:
            await asyncio.to_thread(flush)
    await asyncio.to_thread(flush)
    file.flush()
    return digest.hexdigest(), size


def _too_large(limit: int) -> Refused:
    return Refused(
        title="Package too large",
        detail=f"the package is larger than {limit / 1024**2:g} MiB",
        status=413,
        field="package",
        limit=f"{limit} bytes",
        next_step="exclude what the job does not need (.rayignore, runtime_env 'excludes'), "
        "and fetch large data from within the job",
    )


@contextmanager
def _incoming(folder: Path) -> Iterator[IO[bytes]]:
    """Open a file to receive into; what is not moved away in the end is deleted."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".incoming-", delete=False) as file:
        try:
            # Held for as long as somebody receives: `_sweep` leaves locked files alone.
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file
        finally:
            Path(file.name).unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Delete what a hub that was killed had half received."""
    for path in folder.glob(".incoming-*"):
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _storage() -> Iterator[None]:
    """Turn what a full, read-only or broken disk says into `StorageUnavailable`."""
    try:
        yield
    except OSError as error:
        reason = _STORAGE_ERRORS.get(error.errno or 0)
        if reason is None:
            raise
        raise StorageUnavailable(f"{reason}; nothing was stored") from error
