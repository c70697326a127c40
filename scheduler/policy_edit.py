"""Change single rows of a policy's text, and leave everything else as its people wrote it.

Comments, order and spelling stay: rows are put where they belong in the text itself. What
comes out is read again and held against what was meant, so a text that is laid out in a way
that this cannot edit is refused, never damaged.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from scheduler.errors import Refused
from scheduler.policy_text import Document

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Put:
    """A row for a section: in place of the one with the same `by` fields, or at its end."""

    section: str
    row: Row
    by: tuple[str, ...]

    def is_same(self, other: Row) -> bool:
        """Return whether a row of the text is the one to be replaced."""
        return all(other.get(name) == self.row.get(name) for name in self.by)


def edited(text: str, puts: Sequence[Put]) -> str:
    """Return the text with rows put in.

    Raises:
        Refused: the text is laid out so that rows cannot be put in.
    """
    for put in puts:
        meant = _meant(Document().parse(text), put)
        text = _put(text, put)
        try:
            came_out = Document().parse(text)
        except yaml.YAMLError as error:
            raise _cannot(put) from error
        if came_out != meant:
            raise _cannot(put)
    return text


def rows_of(text: str, section: str) -> list[dict[str, Any]]:
    """Return a section's rows as plain values."""
    found = Document().parse(text).get(section) or []
    return [dict(row) for row in found]


def _meant(raw: dict[str, Any], put: Put) -> dict[str, Any]:
    rows = list(raw.get(put.section) or [])
    place = next((i for i, row in enumerate(rows) if put.is_same(row)), len(rows))
    rows[place : place + 1] = [dict(put.row)]
    return {**raw, put.section: rows}


def _put(text: str, put: Put) -> str:
    written = _flow(put.row)
    node: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    section = next((value for key, value in node.value if key.value == put.section), None)
    if section is None:
        return f"{text.rstrip()}\n\n{put.section}:\n  - {written}\n"
    if not isinstance(section, yaml.SequenceNode):
        raise _cannot(put)
    place = _place(text, put)
    if place is not None:
        item = section.value[place]
        return text[: item.start_mark.index] + written + text[_end(text, item) :]
    return _append(text, section, written)


def _place(text: str, put: Put) -> int | None:
    rows = rows_of(text, put.section)
    return next((i for i, row in enumerate(rows) if put.is_same(row)), None)


def _append(text: str, section: yaml.SequenceNode, written: str) -> str:
    if section.flow_style:
        close = section.end_mark.index - 1
        inside = text[:close].rstrip()
        comma = "" if not section.value else "," if not inside.endswith(",") else ""
        return f"{inside}{comma}{' ' if section.value else ''}{written}{text[close:]}"
    last = _end(text, section.value[-1])
    line_end = text.find("\n", last)
    at = len(text) if line_end < 0 else line_end
    indent = " " * section.start_mark.column
    return f"{text[:at]}\n{indent}- {written}{text[at:]}"


def _end(text: str, node: yaml.Node) -> int:
    """Return where a node's own text ends: a block's mark stands only where the next one begins."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(text, last[1] if isinstance(last, tuple) else last)
    return len(text[: node.end_mark.index].rstrip())


def _flow(row: Row) -> str:
    """Return a row on one line, as people write most rows of a policy."""
    said = _dumped(row, as_it_is=True)
    if _NEXT_LINE in said:
        said = _dumped(row, as_it_is=False)
    # Dates need no quotes here: a policy's reader takes them as text (`policy_text.Document`).
    return _DATE.sub(r"\1", said.strip())


def _dumped(row: Row, *, as_it_is: bool) -> str:
    return yaml.safe_dump(
        dict(row), default_flow_style=True, sort_keys=False, width=10**9, allow_unicode=as_it_is
    )


_NEXT_LINE = "\x85"
"""PyYAML writes this letter as it is, and reads it as the end of a line."""
_DATE = re.compile(r"'(\d{4}-\d{2}-\d{2}(?:T\d{2}:\d{2}:\d{2}Z)?)'")


def _cannot(put: Put) -> Refused:
    return Refused(
        title="The policy's text cannot be edited",
        detail=f"a row of {put.section} cannot be put into the policy's text as it is laid out",
        status=409,
        field=put.section,
        next_step="Write the change by hand: commonpool request create policy FILE",
    )
