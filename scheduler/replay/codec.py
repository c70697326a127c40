"""Core values as canonical JSON: one text for equal values, and every value back from its text.

What a field's type says is what is written: sets in order, instants in UTC, durations as
whole microseconds, and a tag only where a type is a union of several. A field that an older
text lacks has its default; one that is not known is refused.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, NewType, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
_Coder = Callable[[Any], Any]
_TAG = "is"
_PLAIN = (str, int, float, bool, NoneType)
_MICROSECOND = timedelta(microseconds=1)


class NotDecodable(ValueError):  # noqa: N818  # a state, told by its name
    """The text is JSON, but not of this value."""


def dumps(value: object, kind: Any) -> str:  # noqa: ANN401  # a type, or a union of types
    """Return the canonical text of a value of that type."""
    return text_of(encode(value, kind))


def text_of(plain: object) -> str:
    """Return the canonical text of plain JSON values."""
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(value: object, kind: Any) -> str:  # noqa: ANN401  # as above
    """Return the SHA-256 of a value's canonical text."""
    return hashlib.sha256(dumps(value, kind).encode()).hexdigest()


def encode(value: object, kind: Any) -> Any:  # noqa: ANN401  # plain JSON
    """Return a value of that type as plain JSON values."""
    return _coders(kind)[0](value)


def decode(plain: object, kind: type[T]) -> T:
    """Return the value of that type that plain JSON values stand for.

    Raises:
        NotDecodable: they stand for no such value.
    """
    try:
        read: _Coder = _coders(kind)[1]  # type: ignore[arg-type]  # mypy: a type may be unhashable
        value: T = read(plain)
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
        raise NotDecodable(f"{type(error).__name__}: {error}") from error
    return value


@cache
def _coders(kind: Any) -> tuple[_Coder, _Coder]:  # noqa: ANN401  # a type
    """Return how a type is written and read."""
    if isinstance(kind, NewType):
        return _coders(kind.__supertype__)
    if isinstance(kind, type):
        return _class(kind)
    if get_origin(kind) in {Union, UnionType}:
        return _union(get_args(kind))
    return _container(kind)


def _class(kind: Any) -> tuple[_Coder, _Coder]:  # noqa: ANN401
    if kind is datetime:
        return _instant, _read_instant
    if kind is timedelta:
        return _duration, _read_duration
    if issubclass(kind, Enum):
        return _enum_value, kind
    return _dataclass(kind) if is_dataclass(kind) else (_same, _checked(kind))


def _same(value: Any) -> Any:  # noqa: ANN401
    return value


def _checked(kind: type) -> _Coder:
    def read(plain: Any) -> Any:  # noqa: ANN401
        if kind is float and type(plain) is int:
            return float(plain)
        if type(plain) is not kind:
            raise TypeError(f"{plain!r} is no {kind.__name__}")
        return plain

    return read


def _enum_value(value: Enum) -> Any:  # noqa: ANN401
    return value.value


def _instant(value: datetime) -> str:
    return value.astimezone(UTC).isoformat()


def _read_instant(plain: str) -> datetime:
    value = datetime.fromisoformat(plain)
    if value.tzinfo is None:
        raise ValueError(f"{plain} names no zone")
    return value


def _duration(value: timedelta) -> int:
    return value // _MICROSECOND


def _read_duration(plain: int) -> timedelta:
    return timedelta(microseconds=_checked(int)(plain))


def _container(kind: Any) -> tuple[_Coder, _Coder]:  # noqa: ANN401
    origin, inner = get_origin(kind), get_args(kind)
    if origin is tuple and inner[-1] is not Ellipsis:
        parts = [_coders(part) for part in inner]
        return (
            lambda value: [c[0](one) for c, one in zip(parts, value, strict=True)],
            lambda plain: tuple(c[1](one) for c, one in zip(parts, plain, strict=True)),
        )
    if origin is frozenset:
        write, read = _coders(inner[0])
        return (
            lambda value: sorted(write(one) for one in value),
            lambda plain: frozenset(read(one) for one in plain),
        )
    if origin in {tuple, Sequence}:
        write, read = _coders(inner[0])
        return (
            lambda value: [write(one) for one in value],
            lambda plain: tuple(read(one) for one in plain),
        )
    if origin is Mapping:
        write, read = _coders(inner[1])
        return (
            lambda value: {str(key): write(one) for key, one in value.items()},
            lambda plain: {key: read(one) for key, one in plain.items()},
        )
    raise TypeError(f"no way is known to write {kind}")


def _union(kinds: tuple[Any, ...]) -> tuple[_Coder, _Coder]:
    """None and plain values stay as they are; what JSON cannot tell apart carries its name."""
    plain_kinds = tuple(k.__supertype__ if isinstance(k, NewType) else k for k in kinds)
    named = {k.__name__: _coders(k) for k in plain_kinds if k not in _PLAIN}
    if len(named) == 1 and all(k is NoneType for k in plain_kinds if k in _PLAIN):
        ((write_one, read_one),) = named.values()
        return (
            lambda value: None if value is None else write_one(value),
            lambda plain: None if plain is None else read_one(plain),
        )

    def write(value: Any) -> Any:  # noqa: ANN401
        found = named.get(type(value).__name__)
        if found is None:
            return value
        written = found[0](value)
        return {_TAG: type(value).__name__} | (
            written if isinstance(written, dict) else {"value": written}
        )

    def read(plain: Any) -> Any:  # noqa: ANN401
        if not isinstance(plain, dict):
            if type(plain) not in plain_kinds:
                raise TypeError(f"{plain!r} is none of {', '.join(k.__name__ for k in kinds)}")
            return plain
        rest = {key: one for key, one in plain.items() if key != _TAG}
        return named[plain[_TAG]][1](rest["value"] if [*rest] == ["value"] else rest)

    return write, read


def _dataclass(kind: Any) -> tuple[_Coder, _Coder]:  # noqa: ANN401
    hints = get_type_hints(kind)
    known: dict[str, Field[Any]] = {one.name: one for one in fields(kind)}
    # Looked up when first used: values may contain their like.
    names = tuple(known)

    def write(value: Any) -> Any:  # noqa: ANN401
        return {name: _coders(hints[name])[0](getattr(value, name)) for name in names}

    def read(plain: Any) -> Any:  # noqa: ANN401
        if not isinstance(plain, dict):
            raise TypeError(f"{plain!r} is no {kind.__name__}")
        if unknown := plain.keys() - known.keys():
            raise ValueError(f"{kind.__name__} has no {', '.join(sorted(unknown))}")
        missing = [n for n in names if n not in plain and _is_needed(known[n])]
        if missing:
            raise ValueError(f"{kind.__name__} lacks {', '.join(missing)}")
        return kind(**{name: _coders(hints[name])[1](one) for name, one in plain.items()})

    return write, read


def _is_needed(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING
