"""What a simulation writes: looked at before it runs, and each file whole or not at all."""

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import typer

from scheduler.errors import Refused

STANDARD_OUTPUT = Path("-")
CHARTS = ("png", "html")
"""What `--compare` draws: the ends of its files' names."""


def chart_file(stem: Path, end: str) -> Path:
    """Return the file of a chart; a stem may have dots in it."""
    return stem.with_name(f"{stem.name}.{end}")


def check_outputs(trace: Path, files: Mapping[str, Path | None]) -> None:
    """Refuse what cannot be written before a long simulation rather than after it.

    `files` are by the option that names them.

    Raises:
        typer.BadParameter: a file has no folder, or would take the place of another.
    """
    taken = {_place(trace): "the trace itself"}
    for option, file in files.items():
        if file is None:
            continue
        if file == STANDARD_OUTPUT:
            place = file
        else:
            place = _place(file)
            folder = file.parent
            if not folder.is_dir() or not os.access(folder, os.W_OK) or file.is_dir():
                told = f"cannot write {file}: no such folder, or not ours to write"
                raise typer.BadParameter(told)
        if place in taken and not _is_device(place):
            raise typer.BadParameter(f"{option} {file} is {taken[place]}: name another file")
        taken[place] = f"what {option} writes"


def write_whole(file: Path, content: str | bytes) -> None:
    """Write a file, which has all of its content or stays as it was; `-` is standard output.

    Raises:
        Refused: it cannot be written.
    """
    if file == STANDARD_OUTPUT:
        sys.stdout.write(content if isinstance(content, str) else content.decode())
        return
    data = content.encode() if isinstance(content, str) else content
    place = _place(file)
    try:
        if _is_device(place):  # /dev/null and pipes have no room beside them
            place.write_bytes(data)
            return
        part = place.with_name(f"{place.name}.part")
        try:
            part.write_bytes(data)
            part.replace(place)
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise
    except OSError as error:
        told = f"{file} cannot be written: {error.strerror}"
        raise Refused("not written", told, next_step="make room, or name another file") from error


def _place(file: Path) -> Path:
    return Path(os.path.realpath(file))


def _is_device(place: Path) -> bool:
    return place.exists() and not place.is_file()
