"""A token in a file: read at each use, so that it can be replaced while an agent runs."""

from pathlib import Path


class TokenUnreadable(Exception):  # noqa: N818  # a state, told by its name
    """A token file is missing, unreadable or empty; the message names it."""


def read_token(file: Path) -> str:
    """Return the secret in a token file, without the white space around it.

    Raises:
        TokenUnreadable: the file cannot be read, or is empty.
    """
    try:
        token = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise TokenUnreadable(f"token file {file}: {error}") from error
    if not token:
        raise TokenUnreadable(f"token file {file} is empty")
    return token
