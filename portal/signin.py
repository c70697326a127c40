"""The embedded demo sign-in: people are the user tokens that lie in a folder.

Whoever can open the portal can be any of them, so it is for one person's machine. Sites',
nodes' and administrators' tokens may lie in the same folder; they are never offered.
"""

from dataclasses import dataclass, field
from pathlib import Path

from portal.config import PortalSettings

USER_TOKEN = "cp_user_"  # noqa: S105  # how every user token starts, not one of them


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody the portal can speak for. `token_file` is None where no file holds the token."""

    name: str
    token: str = field(repr=False)
    token_file: Path | None = None


def people(settings: PortalSettings) -> tuple[Person, ...]:
    """Return who may be chosen, by name; read anew each time, since tokens are replaced."""
    if settings.portal_token is not None:
        return (Person("you", settings.portal_token.get_secret_value()),)
    if settings.portal_tokens is None or not settings.portal_tokens.is_dir():
        return ()
    files = sorted(settings.portal_tokens.glob("*.token"))
    found = ((file, _read(file)) for file in files)
    return tuple(
        Person(file.stem, token, file.absolute())
        for file, token in found
        if token.startswith(USER_TOKEN)
    )


def _read(file: Path) -> str:
    """Return the file's token; empty for a file that is not ours to read or no text."""
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
