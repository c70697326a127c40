"""Text that databases take: JSON can spell NUL, and PostgreSQL stores none."""

from collections.abc import Iterator
from typing import Any

import msgspec

_NUL = rb"\u0000"


def refuse_nul(raw: bytes) -> None:
    """Look for NUL in a JSON message that was found to be valid otherwise.

    Raises:
        msgspec.ValidationError: a string has it; with the place, as msgspec's own.
    """
    # JSON has no other spelling of it; behind a backslash it is only a backslash and digits.
    if _NUL not in raw:
        return
    for path, value in _strings(msgspec.json.decode(raw), "$"):
        if "\x00" in value:
            raise msgspec.ValidationError(f"Expected `str` without NUL - at `{path}`")


def _strings(value: Any, path: str) -> Iterator[tuple[str, str]]:  # noqa: ANN401  # JSON
    match value:
        case str():
            yield path, value
        case list():
            for place, item in enumerate(value):
                yield from _strings(item, f"{path}[{place}]")
        case dict():
            for name, item in value.items():
                yield from _strings(item, f"{path}.{name}")
