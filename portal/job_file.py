"""A job as a YAML file: the fields of `/v1/jobs`, and the folder of its files beside them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from portal.format import parse_duration
from scheduler.wire.jobs import JobRequest

MOST_BYTES = 256 * 1024
_OURS = ("working_dir", "time_limit")
KNOWN = (*JobRequest.model_fields, *_OURS)


class BadJobFile(ValueError):  # noqa: N818  # what it is, in the words of its reader
    """The file is no job; the text names file, field, value and what to do."""


@dataclass(frozen=True, slots=True)
class JobFile:
    """What a file says of a job: fields of the request, and the folder that goes along."""

    fields: dict[str, Any]
    working_dir: Path | None


def read_job_file(path: Path) -> JobFile:
    """Return the job that a file describes. A relative `working_dir` is beside the file.

    Raises:
        BadJobFile: it cannot be read, is no YAML, or has a field that no job has.
    """
    fields = _mapping(path)
    unknown = sorted(str(name) for name in fields if name not in KNOWN)
    if unknown:
        known = ", ".join(sorted(KNOWN))
        raise BadJobFile(f"{path}: '{unknown[0]}' is not a field of a job; known are {known}")
    limit = fields.pop("time_limit", None)
    if limit is not None:
        fields["time_limit_seconds"] = _seconds(path, str(limit))
    folder = fields.pop("working_dir", None)
    if folder is None:
        return JobFile(fields, None)
    place = path.parent / str(folder)
    if not place.is_dir():
        raise BadJobFile(f"{path}: working_dir: '{folder}' is no folder beside the file")
    return JobFile(fields, place)


def _mapping(path: Path) -> dict[str, Any]:
    try:
        text = path.read_bytes()
    except OSError as error:
        raise BadJobFile(f"{path}: {error.strerror or error}") from error
    if len(text) > MOST_BYTES:
        raise BadJobFile(f"{path}: {len(text):,} bytes; a job's file has at most {MOST_BYTES:,}")
    try:
        said = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise BadJobFile(f"{path}: it is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(said, dict):
        raise BadJobFile(f"{path}: a job is a mapping, such as 'entrypoint: python train.py'")
    return said


def _seconds(path: Path, text: str) -> int:
    try:
        length = parse_duration(text)
    except ValueError as error:
        raise BadJobFile(f"{path}: time_limit: {error}: try 90s, 30m, 2h or 7d") from error
    return int(length.total_seconds()) if length else 0
