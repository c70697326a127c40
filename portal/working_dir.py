"""A folder as a package, in the form in which Ray's own client uploads one."""

import hashlib
import io
import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from portal.client.hub import Hub

# What Ray's client leaves out too.
_LEFT_OUT = frozenset({".git", ".venv", "venv", "__pycache__", ".commonpool"})
# The earliest time a zip can hold: the same files always make the same bytes.
_ALWAYS = (1980, 1, 1, 0, 0, 0)


def upload(hub: Hub, folder: Path) -> str:
    """Upload a folder unless the hub has it already; return its URI for `working_dir`."""
    return upload_zip(hub, zipped(folder))


def upload_zip(hub: Hub, data: bytes) -> str:
    """Upload a zip unless the hub has it already; return its URI for `working_dir`."""
    name = f"_ray_pkg_{hashlib.sha256(data).hexdigest()[:16]}.zip"
    if hub.has_package(name):
        return f"gcs://{name}"
    return hub.put_package(name, data)


def zipped(folder: Path) -> bytes:
    """Return the folder's files as one zip. Links are followed, empty folders left out."""
    return _archive(
        (str(file.relative_to(folder)), file.read_bytes(), file.stat().st_mode & 0o777)
        for file in sorted(_files(folder))
    )


def zipped_files(contents: Mapping[str, bytes]) -> bytes:
    """Return files by name as one zip."""
    return _archive((name, data, 0o644) for name, data in sorted(contents.items()))


def _archive(entries: Iterable[tuple[str, bytes, int]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data, mode in entries:
            entry = zipfile.ZipInfo(name, _ALWAYS)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = mode << 16
            archive.writestr(entry, data)
    return buffer.getvalue()


def _files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in _LEFT_OUT]
        for name in names:
            file = Path(parent) / name
            if file.is_file():
                yield file
