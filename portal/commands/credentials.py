"""What `commonpool login` keeps: a token per hub, in one file that only its owner reads."""

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_MODE = 0o600


@dataclass(frozen=True, slots=True)
class Kept:
    """A login: `expires_at` is ISO text, for people to read."""

    token: str
    user: str
    id: str
    expires_at: str


def file() -> Path:
    """Return the file, by the XDG base directories."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "commonpool" / "credentials.json"


def find(hub: str) -> Kept | None:
    """Return the login at a hub, or None."""
    found = _read()["hubs"].get(_key(hub))
    try:
        return None if found is None else Kept(**found)
    except TypeError:  # of another version, or edited by hand: as if there were none
        return None


def last_hub() -> str | None:
    """Return the hub of the latest login that was not ended."""
    last = _read()["last"]
    return last if isinstance(last, str) else None


def keep(hub: str, kept: Kept) -> Path:
    """Store a login; return the file."""
    read = _read()
    return _write({"last": _key(hub), "hubs": {**read["hubs"], _key(hub): asdict(kept)}})


def forget(hub: str) -> None:
    """Remove the login at a hub."""
    read = _read()
    rest = {each: kept for each, kept in read["hubs"].items() if each != _key(hub)}
    last = read["last"] if read["last"] in rest else next(iter(rest), None)
    _write({"last": last, "hubs": rest})


def _key(hub: str) -> str:
    return hub.rstrip("/")


def _read() -> dict[str, Any]:
    nothing: dict[str, Any] = {"last": None, "hubs": {}}
    try:
        found = json.loads(file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return nothing
    if not isinstance(found, dict) or not isinstance(found.get("hubs"), dict):
        return nothing
    return nothing | found


def _write(content: Mapping[str, Any]) -> Path:
    """Replace the file whole, so that another command never reads half of it."""
    target = file()
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _MODE), "w") as out:
        json.dump(content, out, indent=1)
    new.replace(target)
    return target
