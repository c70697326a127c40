"""What a job may bring along: Ray's runtime environment, as far as a shared site can allow it.

An allow-list, because Ray accepts and ignores what it does not know, and because some of
what it knows reads the site's own disk (`file://`), or replaces the isolation that the
site relies on (`container`, `py_executable`).
"""

import difflib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from scheduler.errors import Refused

ALLOWED = (
    "working_dir",
    "py_modules",
    "pip",
    "uv",
    "conda",
    "env_vars",
    "excludes",
    "config",
)
MAX_BYTES = 256 * 1024
MAX_ENV_BYTES = 128 * 1024
MAX_MODULES = 100
_MANY = 10**20
PACKAGE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,118}")
_PACKAGE = re.compile(rf"gcs://({PACKAGE_NAME.pattern})")
_HTTPS = re.compile(r"https://[!-~]{1,2000}")
_ENV_NAME = re.compile(r"[^=\0\s]{1,255}")
_CONDA_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,119}")
_OURS = re.compile(r"COMMONPOOL_.*|RAY_AUTH_.*|RAY_ADDRESS")
_REASONS = {
    "container": "the site decides how a run is isolated",
    "image_uri": "the site decides which image a run uses",
    "py_executable": "the site decides how a run's Python is started",
    "worker_process_setup_hook": "it runs code in workers before the run's limits are in place",
    "java_jars": "Java workers are not supported",
    "mpi": "MPI launching is not supported; ask for nodes by metadata 'commonpool.nodes'",
    "nsight": "profilers that wrap workers are not supported",
    "rocprof_sys": "profilers that wrap workers are not supported",
}
_SCHEMES = {
    "file": "it would read the site's own disk; upload the folder with --working-dir PATH",
    "local": "it would read the site's own disk; upload the folder with --working-dir PATH",
    "http": "a download without TLS can be changed on its way; use https://",
}


def refuse(field: str, value: object, detail: str, *, limit: str = "", step: str = "") -> Refused:
    """Return the refusal of one field of a submission, as Ray's client prints it (400)."""
    return Refused(
        title="Submission refused",
        detail=f"{field} {detail}",
        status=400,
        field=field,
        value=shown(value),
        limit=limit or None,
        next_step=step or None,
    )


def shown(value: object) -> str:
    """Return a value as a refusal shows it, whatever it is: short, and never an error itself."""
    match value:
        case str():
            return value[:200]
        case int() if abs(value) >= _MANY:
            return "a very large number"
        case int() | float() | None:
            return str(value)
        case _:
            return "a list" if isinstance(value, list) else "an object"


def meant(name: str, known: Sequence[str]) -> str:
    """Return "did you mean …?" where one of the known names is close, else nothing."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean '{close[0]}'?" if close else ""


def check(value: object) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return a runtime environment that a site may carry out, and the packages it names.

    Null entries are dropped. Packages are returned by name, as uploaded: `_ray_pkg_….zip`.

    Raises:
        Refused: 400, by the name of the field.
    """
    if not isinstance(value, dict):
        raise refuse("runtime_env", value, "must be an object")
    env = {name: part for name, part in value.items() if part is not None}
    for name in env:
        if name not in ALLOWED:
            raise _unknown(name)
    if len(json.dumps(env)) > MAX_BYTES:
        raise refuse("runtime_env", "", "is too large", limit=f"{MAX_BYTES} bytes as JSON")
    names: list[str] = []
    for name, part in env.items():
        names.extend(_CHECKS[name](f"runtime_env.{name}", part))
    return env, tuple(dict.fromkeys(names))


def _unknown(name: str) -> Refused:
    reason = _REASONS.get(name, "is not a known field")
    return refuse(
        f"runtime_env.{name}"[:200],
        name,
        f"is not allowed: {reason}" if name in _REASONS else reason,
        limit=", ".join(ALLOWED),
        step=meant(name, ALLOWED),
    )


def _uri(field: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, str):
        raise refuse(field, value, "must be a string")
    if not value:
        return ()
    package = _PACKAGE.fullmatch(value)
    if package:
        return (package[1],)
    if _HTTPS.fullmatch(value):
        return ()
    scheme = value.partition("://")[0] if "://" in value else ""
    reason = _SCHEMES.get(scheme, "only an uploaded package or an https:// address can be used")
    shown = f"'{value[:120]}'"
    raise refuse(field, value, f"may not be {shown}: {reason}", limit="gcs://… or https://…")


def _modules(field: str, value: object) -> tuple[str, ...]:
    modules = _strings(field, value, MAX_MODULES)
    found = [_uri(f"{field}.{place}", module) for place, module in enumerate(modules)]
    return tuple(name for names in found for name in names)


def _strings(field: str, value: object, most: int = 10_000) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise refuse(field, value, "must be a list of strings")
    if len(value) > most:
        raise refuse(field, len(value), f"has {len(value)} entries", limit=f"{most}")
    return value


def _excludes(field: str, value: object) -> tuple[str, ...]:
    _strings(field, value)
    return ()


def _env_vars(field: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise refuse(field, value, "must be an object of strings")
    for name in value:
        if not _ENV_NAME.fullmatch(name):
            raise refuse(field, name, f"has {name[:60]!r}, which names no variable")
        if _OURS.fullmatch(name):
            step = "choose another name"
            raise refuse(f"{field}.{name[:80]}", name, "is set by Commonpool itself", step=step)
    size = sum(len(name) + len(text) for name, text in value.items())
    if size > MAX_ENV_BYTES:
        raise refuse(field, size, f"is {size} characters", limit=f"{MAX_ENV_BYTES}")
    return ()


def _installer(field: str, value: object) -> tuple[str, ...]:
    """Check pip's and uv's: a list of requirements, or an object whose `packages` is one."""
    packages = value.get("packages", []) if isinstance(value, Mapping) else value
    if isinstance(packages, str):
        # A path: Ray's client replaces it by the file's lines before it sends.
        raise refuse(field, packages, "must be a list: a file's name is a path on the site's disk")
    _strings(field, packages)
    return ()


def _conda(field: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str) and not _CONDA_NAME.fullmatch(value):
        raise refuse(field, value, "must be an environment's name or its content, not a path")
    if not isinstance(value, str | dict):
        raise refuse(field, value, "must be an environment's name or an object")
    return ()


def _object(field: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, dict):
        raise refuse(field, value, "must be an object")
    return ()


_CHECKS: Mapping[str, Callable[[str, object], tuple[str, ...]]] = {
    "working_dir": _uri,
    "py_modules": _modules,
    "pip": _installer,
    "uv": _installer,
    "conda": _conda,
    "env_vars": _env_vars,
    "excludes": _excludes,
    "config": _object,
}
