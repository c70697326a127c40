"""A policy's text as plain values, each with the line that it stands on.

Anchors and aliases are refused: a policy is read by people, and a few of them can unfold
into gigabytes.
"""

import re
from dataclasses import dataclass
from typing import Any

import yaml

from scheduler.core.policy_found import Path

MAX_CHARACTERS = 4_000_000
MAX_DEPTH = 20
_MAX_DIGITS = 40  # of a whole number: 1e26 FLOP has 27
# What YAML 1.1 and 1.2 read alike. 0777 and 1:30 are 511 and 90 to the one only.
_WHOLE = re.compile(r"[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F_]+)", re.ASCII)
# Half of a UTF-16 pair, and what PostgreSQL stores in no text.
_NO_CHARACTER = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True, order=True)
class PolicyProblem:
    """One thing that is wrong, at a line (from 1) of the file."""

    line: int
    field: str
    reason: str

    def __str__(self) -> str:
        """Return one line for people."""
        return f"line {self.line}: {self.field}: {self.reason}"


def not_utf8(error: UnicodeDecodeError) -> str:
    """Return which byte of a file is no text, and how to make it some."""
    byte = error.object[error.start]
    return f"is not UTF-8 text (byte 0x{byte:02x}): convert it, with iconv -t UTF-8 for example"


def decoded(data: bytes) -> str | PolicyProblem:
    """Return a file's text, or where it is none; a byte order mark is passed over."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return PolicyProblem(line, "(the file)", not_utf8(error))


def syntax_problem(error: yaml.YAMLError) -> PolicyProblem:
    """Say in one line why a text is not YAML, at its line."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    reason = getattr(error, "problem", None) or str(error).splitlines()[0]
    line = mark.line + 1 if mark else 1
    begun = getattr(error, "context_mark", None)
    if begun and begun.line + 1 != line:
        context = getattr(error, "context", None) or "while parsing what"
        reason += f", {context} begun in line {begun.line + 1}"
    if "'\\t'" in reason:
        reason += ": indent with spaces"
    return PolicyProblem(line, "(the file)", f"not YAML: {reason}")


class Document:
    """Plain values of a YAML text, and the line that each of them stands on."""

    def __init__(self) -> None:
        self.problems: list[PolicyProblem] = []
        self._lines: dict[Path, int] = {}

    def parse(self, text: str) -> Any:  # noqa: ANN401  # what a YAML file holds
        """Return the plain value; dates stay text, so that the schema sees what was written."""
        if len(text) > MAX_CHARACTERS:
            raise yaml.YAMLError(f"longer than {MAX_CHARACTERS:,} characters")
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise _at(event, "anchors and aliases are not allowed in a policy")
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise _at(event, "nested too deeply")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        return {} if node is None else self._value(node, ())

    def problem(self, path: Path, reason: str) -> PolicyProblem:
        """Return a problem at the line of `path`, or of the nearest thing around it."""
        known = path
        while known and known not in self._lines:
            known = known[:-1]
        return PolicyProblem(self._lines.get(known, 1), _field(path), reason)

    def _value(self, node: yaml.Node, path: Path) -> object:
        self._lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*path, i)) for i, item in enumerate(node.value)]
        if node.tag.endswith((":timestamp", ":str")):
            return _text(node)
        return _plain(node)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, object]:
        values: dict[str, object] = {}
        for key, item in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _at(key, "a list or mapping cannot be the name of a field")
            name = _text(key)
            at = (*path, name)
            if name in values:
                told = f"is written twice, first in line {self._lines[at]}"
                again = PolicyProblem(key.start_mark.line + 1, _field(at), told)
                self.problems.append(again)
                continue
            self._lines[at] = key.start_mark.line + 1
            values[name] = self._value(item, at)
        return values


def _text(node: yaml.Node) -> str:
    text = str(node.value)
    if found := _NO_CHARACTER.search(text):
        told = f"the text has U+{ord(found[0]):04X}, which is no character: leave it out"
        raise _at(node, told)
    return text


def _plain(node: yaml.Node) -> object:
    """Return a number, truth value or nothing."""
    whole = node.tag.endswith(":int")
    if whole and len(node.value) > _MAX_DIGITS:
        raise _at(node, f"a number of {len(node.value):,} digits is larger than any here")
    try:
        value: object = yaml.constructor.SafeConstructor().construct_object(node)
    except (ValueError, LookupError) as error:  # what a tag says that stands before it
        kind = node.tag.rpartition(":")[2]
        raise _at(node, f"'{node.value}' is not what its tag says ({kind})") from error
    if whole and not _WHOLE.fullmatch(node.value):
        told = f"{node.value} is {value} to some readers of YAML and not to others"
        raise _at(node, f"{told}: write plain digits, without a zero before them")
    return value


def _at(event: yaml.Event | yaml.Node, problem: str) -> yaml.MarkedYAMLError:
    error = yaml.MarkedYAMLError(problem=problem)
    error.problem_mark = event.start_mark  # type: ignore[assignment]  # the stubs know two Marks
    return error


def _field(path: Path) -> str:
    """Return `quotas[3].nominal` for `("quotas", 3, "nominal")`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "(the file)"
