"""Read one long string out of a JSON object as it arrives, without ever holding all of it."""

import json
import re

# The longest beginning that splits no escape; a surrogate pair is one escape.
_WHOLE = re.compile(
    r'(?:[^"\\]+|\\[^u]|\\u[dD][89abAB]..\\u....|\\u(?![dD][89abAB])....'
    r"|\\u....(?=[^\\]|\\[^u]))*",
    re.DOTALL,
)


class JsonText:
    """Decodes the value of `key` in `{"<key>": "<text>"}` piece by piece.

    Source: Ray answers `/logs` with the whole file as one JSON string (notes/ray.md §1.2).
    """

    def __init__(self, key: str) -> None:
        self._start = re.compile(rf'"{key}"\s*:\s*"')
        self._waiting = ""
        self._inside = False
        self._done = False

    def feed(self, piece: str) -> str:
        """Return the text that is certain after this piece."""
        if self._done:
            return ""
        self._waiting += piece
        if not self._inside:
            start = self._start.search(self._waiting)
            if start is None:
                return ""
            self._waiting, self._inside = self._waiting[start.end() :], True
        whole = _WHOLE.match(self._waiting)
        end = whole.end() if whole else 0
        raw, self._waiting = self._waiting[:end], self._waiting[end:]
        self._done = self._waiting.startswith('"')
        return str(json.loads(f'"{raw}"', strict=False))
