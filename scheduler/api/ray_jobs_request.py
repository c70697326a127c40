"""Read a submission of Ray's client: pure, and nothing but `Refused` comes out of it.

Ray's own fields keep Ray's rules, but what Ray takes and fails on later is refused at
once. Ours ride in the metadata (`ray_jobs_metadata`).
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from scheduler.api import ray_jobs_metadata
from scheduler.api import ray_jobs_runtime_env as runtime_env
from scheduler.api.problems import validation_refused
from scheduler.api.ray_jobs_metadata import MAX_GPUS_PER_NODE
from scheduler.api.ray_jobs_runtime_env import meant, refuse, shown
from scheduler.errors import Refused
from scheduler.wire.jobs import JobRequest

MAX_ENTRYPOINT_BYTES = 64 * 1024
MAX_METADATA_BYTES = 64 * 1024
MAX_METADATA_KEYS = 200
MAX_MEMORY = 2**60
MAX_DEPTH = 64
_SUBMISSION_ID = re.compile(r"[A-Za-z0-9_-]{1,63}")
_SELECTOR = re.compile(
    r"!?[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?"
    r"|!?in\(\s*[A-Za-z0-9._-]+(\s*,\s*[A-Za-z0-9._-]+)*\s*\)"
)


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a submission asks for, and the uploaded packages it names."""

    request: JobRequest
    packages: tuple[str, ...] = ()


def parse(value: object) -> Parsed:
    """Return a submission as a request; a job that asks for no GPUs leaves them unset.

    Raises:
        Refused: 400 for what Ray's API forbids, 422 for our own fields; by name.
    """
    if not isinstance(value, dict):
        raise refuse("the body", value, "must be a JSON object")
    _check_depth(value)
    given = {name: part for name, part in value.items() if part is not None}
    for name in given:
        if name not in _FIELDS:
            step = meant(str(name), tuple(_FIELDS))
            raise refuse(str(name)[:80] or "''", name, "is not a field of a submission", step=step)
    if "entrypoint" not in given:
        raise refuse("entrypoint", "", "is missing", step="say which command to run")
    fields = {name: _FIELDS[name](name, part) for name, part in given.items()}
    env, packages = runtime_env.check(fields.pop("runtime_env", {}))
    job_id = fields.pop("job_id", None)
    fields["submission_id"] = fields.get("submission_id") or job_id
    ours = ray_jobs_metadata.ours(fields.get("metadata", {}))
    fields |= ours | ray_jobs_metadata.gang(ours, fields.get("entrypoint_num_gpus", 0))
    ray_jobs_metadata.check_together(fields)
    try:
        return Parsed(JobRequest(**fields, runtime_env=env), packages)
    except ValidationError as error:
        raise validation_refused(error.errors(include_url=False), JobRequest) from None


def _check_depth(value: object) -> None:
    """Refuse what would end a later reader's recursion, level by level and so without any."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for part in level for child in _children(part)]
        if not level:
            return
    raise refuse("the body", "", "is nested too deeply", limit=f"{MAX_DEPTH} levels")


def _children(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _entrypoint(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise _wrong_type(name, value, "a string")
    if not value.strip():
        raise refuse(name, value, "is empty", step="say which command to run")
    size = len(value.encode(errors="replace"))
    if size > MAX_ENTRYPOINT_BYTES:
        raise refuse(
            name,
            f"{size} bytes",
            f"is {size} bytes long",
            limit=f"{MAX_ENTRYPOINT_BYTES} bytes",
            step="put the script into the working_dir and name it here",
        )
    return value


def _submission_id(name: str, value: object) -> str | None:
    if not isinstance(value, str):
        raise _wrong_type(name, value, "a string")
    if value and not _SUBMISSION_ID.fullmatch(value):
        limit = "1 to 63 of A-Z a-z 0-9 _ -"
        raise refuse(name, value, f"may not be {value[:80]!r}", limit=limit)
    return value or None


def _metadata(name: str, value: object) -> dict[str, str]:
    texts = _text_map(name, value)
    if len(texts) > MAX_METADATA_KEYS:
        raise refuse(name, len(texts), f"has {len(texts)} keys", limit=str(MAX_METADATA_KEYS))
    size = sum(len(key) + len(text) for key, text in texts.items())
    if size > MAX_METADATA_BYTES:
        raise refuse(name, size, f"is {size} characters", limit=str(MAX_METADATA_BYTES))
    return texts


def _text_map(name: str, value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise _wrong_type(name, value, "an object")
    for key, text in value.items():
        if not isinstance(text, str):
            raise _wrong_type(f"{name}.{str(key)[:80]}", text, "a string")
    return value


def _selector(name: str, value: object) -> dict[str, str]:
    texts = _text_map(name, value)
    for key, text in texts.items():
        if not key or not _SELECTOR.fullmatch(text):
            field = f"{name}.{key[:80]}"
            limit = "x, !x, in(a,b) or !in(a,b)"
            raise refuse(field, text, f"may not be {text[:80]!r}", limit=limit)
    return texts


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong_type(name, value, "a number")
    if not 0 <= value <= MAX_MEMORY or math.isnan(value):
        raise refuse(name, value, f"may not be {shown(value)}", limit="0 or more, and finite")
    return float(value)


def _gpus(name: str, value: object) -> float:
    number = _number(name, value)
    if number != int(number):
        limit, step = "a whole number", "GPUs are leased whole: ask for 1"
        raise refuse(name, value, f"may not be {value}", limit=limit, step=step)
    if number > MAX_GPUS_PER_NODE:
        limit, step = f"{MAX_GPUS_PER_NODE} on one node", "ask for nodes by commonpool.nodes"
        raise refuse(name, value, f"may not be {value}", limit=limit, step=step)
    return number


def _memory(name: str, value: object) -> int:
    if isinstance(value, float) and value != int(_number(name, value)):
        raise _wrong_type(name, value, "a whole number of bytes")
    return int(_number(name, value))


def _resources(name: str, value: object) -> dict[str, float]:
    if not isinstance(value, dict):
        raise _wrong_type(name, value, "an object")
    for key in value:
        if key in {"CPU", "GPU", "memory"}:
            other = {"CPU": "num_cpus", "GPU": "num_gpus"}.get(key, key)
            raise refuse(f"{name}.{key}", key, f"is asked for by entrypoint_{other}")
    return {key: _number(f"{name}.{key[:80]}", amount) for key, amount in value.items()}


def _any(name: str, value: object) -> object:
    del name  # checked as a whole, by `ray_jobs_runtime_env`
    return value


_FIELDS: Mapping[str, Callable[[str, Any], Any]] = {
    "entrypoint": _entrypoint,
    "submission_id": _submission_id,
    "job_id": _submission_id,
    "runtime_env": _any,
    "metadata": _metadata,
    "entrypoint_num_cpus": _number,
    "entrypoint_num_gpus": _gpus,
    "entrypoint_memory": _memory,
    "entrypoint_resources": _resources,
    "entrypoint_label_selector": _selector,
}


def _wrong_type(name: str, value: object, wanted: str) -> Refused:
    words = {bool: "a boolean", int: "a number", float: "a number", str: "a string"}
    has = words.get(type(value), "a list" if isinstance(value, list) else "an object")
    return refuse(name, value, f"must be {wanted}, and is {'null' if value is None else has}")
